"""Model-local functions as no exporter writes them but ONNX allows: functions that call functions, attributes that refer to those of the function around,
defaults, one name in two domains, overloads, inputs handed through, the same names of values everywhere. What they mean is written here once more, in numpy and float64: ONNX
Runtime 1.32 and the inliner of onnx 1.23 each get some of them wrong, and not the same.
"""
import numpy as np
import onnx
import onnx.inliner
import pytest
from harness import relative_error, rewrite
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from test_traps import rewritten

BATCH, CHANNELS, CLASSES, OPSET = 3, 4, 3, 17
DOMAINS = ["local.one", "local.two"]


def referring(op, inputs, outputs, domain="", overload="", refers=(), **attributes):
    """A node with attributes that refer to those of the function it stands in: (own name, name there)."""
    node = helper.make_node(op, inputs, outputs, domain=domain, overload=overload, **attributes)
    for own, there in refers:
        node.attribute.append(AttributeProto(name=own, ref_attr_name=there, type=AttributeProto.FLOAT))
    return node


class Library:
    """Functions `(x) -> (y)` and `(x, w) -> (y, z)`, each made of nodes and of calls of those before it."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.functions = []
        for k in range(self.rng.integers(3, 7)):
            self.functions.append(self.function(k))

    def call(self, inputs, output, among, alpha):
        """A node that calls one of them; `alpha`: a number, the name of an attribute that is referred to, or none."""
        f = among[self.rng.integers(len(among))]
        refers = [("slope", alpha)] if isinstance(alpha, str) else []
        given = dict(slope=float(alpha)) if isinstance(alpha, float) else {}
        if isinstance(alpha, type(None)) and "slope" in f.attribute:
            given = dict(slope=0.4)  # it has no default
        outputs = [output, f"{output}.z"][: self.rng.integers(1, len(f.output) + 1)]
        wide = inputs[: len(f.input)] if self.rng.random() < 0.8 or len(f.input) == 1 else [*inputs[:1], *inputs[:1]]
        return referring(f.name, wide, outputs, domain=f.domain, overload=f.overload, refers=refers, **given)

    def function(self, k):
        rng, before = self.rng, self.functions
        # One name in two domains, or twice in one with overloads.
        name, domain, overload = f"block{k // 3}", DOMAINS[k % 2], ["", "", "wide"][k % 3]
        two = bool(rng.random() < 0.5)
        inputs = ["x", "w"] if two else ["x"]
        nodes, value = [], "x"
        for step in range(rng.integers(1, 4)):
            out = f"t{step}"
            kind = rng.integers(5)
            if kind == 0 and before:
                nodes.append(self.call([value, "x"], out, before, ["slope", 0.3, None][rng.integers(3)]))
            elif kind == 1:
                nodes.append(referring("LeakyRelu", [value], [out], refers=[("alpha", "slope")]))
            elif kind == 2 and two:
                nodes.append(helper.make_node("Mul", [value, "w"], [out]))
            elif kind == 3:
                nodes.append(helper.make_node("Constant", [], ["c"] if step == 0 else [f"c{step}"], value_float=float(rng.normal())))
                nodes.append(helper.make_node("Add", [value, nodes[-1].output[0]], [out]))
            else:
                nodes.append(helper.make_node("Tanh", [value], [out]))
            value = out
        # An input may be handed through, and a value given twice.
        outputs = [value, ["x", value][rng.integers(2)]] if two else [value]
        if len(set(outputs)) < len(outputs):
            nodes.append(helper.make_node("Identity", [value], ["again"]))
            outputs[1] = "again"
        elif len(outputs) == 2:
            nodes.append(helper.make_node("Identity", ["x"], ["through"]))
            outputs[1] = "through"
        imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in DOMAINS)]
        f = helper.make_function(domain, name, inputs, outputs, nodes, imports, overload=overload)
        if k % 2:
            f.attribute_proto.append(helper.make_attribute("slope", 0.2))
        else:
            f.attribute.append("slope")
        return f


def network(seed):
    library = Library(seed)
    rng, nodes = library.rng, []
    weights = {
        "conv.weight": rng.normal(0, 0.5, (CHANNELS, 3, 3, 3)), "gain": rng.normal(1, 0.2, (1, CHANNELS, 1, 1)),
        "fc.weight": rng.normal(0, 0.5, (CLASSES, CHANNELS)), "fc.bias": rng.normal(0, 0.5, CLASSES),
    }  # fmt: skip
    nodes.append(helper.make_node("Conv", ["images", "conv.weight"], ["t0"], pads=[1, 1, 1, 1]))
    for k in range(3):
        node = library.call([f"t{k}", "gain"], f"t{k + 1}", library.functions[-3:], 0.1 * (k + 1))
        node.name = ["", "", "call"][k]
        nodes.append(node)
    nodes += [
        helper.make_node("GlobalAveragePool", ["t3"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], transB=1),
    ]  # fmt: skip
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("images", ["N", 3, 5, 5]), ("logits", ["N", CLASSES]))]
    graph = helper.make_graph(nodes, "functions", ports[:1], ports[1:], [numpy_helper.from_array(w.astype(np.float32), n) for n, w in weights.items()])
    imports = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(d, 1) for d in DOMAINS)]
    return helper.make_model(graph, opset_imports=imports, functions=library.functions, ir_version=10)


class Evaluator:
    """What ONNX says of functions, in float64: a call's attributes, or the function's defaults; a reference to neither is none at all."""

    def __init__(self, model):
        self.functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self.graph = model.graph

    def logits(self, images, weights):
        values = {"images": images.astype(np.float64)} | {n: w.astype(np.float64) for n, w in weights.items()}
        return self.nodes(self.graph.node, values, {})["logits"]

    def nodes(self, nodes, values, attributes):
        for node in nodes:
            given = {a.name: attributes.get(a.ref_attr_name) if a.ref_attr_name else helper.get_attribute_value(a) for a in node.attribute}
            given = {n: v for n, v in given.items() if v is not None}
            inputs = [values[n] for n in node.input]
            if node.domain:
                f = self.functions[node.domain, node.op_type, node.overload]
                given = {a.name: a.f for a in f.attribute_proto} | given
                inner = self.nodes(f.node, dict(zip(f.input, inputs)), given)
                results = [inner[n] for n in f.output]
            else:
                results = [getattr(self, node.op_type)(*inputs, **given)]
            values.update(zip(node.output, results))
        return values

    def Conv(self, x, w, pads):
        x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        return sum(np.einsum("nchw,oc->nohw", x[:, :, i : i + 5, j : j + 5], w[:, :, i, j]) for i in range(3) for j in range(3))

    def LeakyRelu(self, x, alpha=0.01):
        return np.where(x < 0, alpha * x, x)

    def Tanh(self, x):
        return np.tanh(x)

    def Mul(self, a, b):
        return a * b

    def Add(self, a, b):
        return a + b

    def Constant(self, value_float):
        return np.float64(value_float)

    def Identity(self, x):
        return x

    def GlobalAveragePool(self, x):
        return x.mean((2, 3), keepdims=True)

    def Flatten(self, x):
        return x.reshape(len(x), -1)

    def Gemm(self, x, w, bias, transB):
        return x @ w.T + bias


def loss(logits, target):
    z = logits - logits.max(1, keepdims=True)
    return -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(len(target)), target].mean()


@pytest.mark.parametrize("seed", range(16))
def test_functions_are_what_they_say(seed, tmp_path):
    model = network(seed)
    onnx.checker.check_model(model)
    rng = np.random.default_rng(seed)
    images, target = rng.normal(size=(BATCH, 3, 5, 5)).astype(np.float32), rng.integers(0, CLASSES, BATCH)
    onnx.save(model, tmp_path / "model.onnx")
    bundle = rewrite(tmp_path / "model.onnx", tmp_path / "bundle", "--split", batch=BATCH)
    feeds = bundle.feeds(bundle.start(), images, target)
    reference, weights = Evaluator(model), {t.name: numpy_helper.to_array(t).astype(np.float64) for t in model.graph.initializer}
    assert relative_error(next(iter(bundle.graph("eval")(feeds).values())), reference.logits(images, weights)) < 1e-5
    gradients = bundle.gradients(bundle.graph("grad")(feeds))
    for name, weight in weights.items():
        if name not in gradients:
            assert name == "gain" and not any("gain" in n.input and n.op_type == "Mul" for n in onnx.inliner.inline_local_functions(model).graph.node)
            continue
        expected = np.zeros_like(weight)
        for at in np.ndindex(weight.shape):
            sides = []
            for sign in (1, -1):
                moved = weight.copy()
                moved[at] += sign * 1e-6
                sides.append(loss(reference.logits(images, weights | {name: moved}), target))
            expected[at] = (sides[0] - sides[1]) / 2e-6
        assert relative_error(gradients[name], expected) < 2e-4, name


def test_the_generator_writes_what_it_is_for():
    models = [network(seed) for seed in range(16)]
    functions = [f for m in models for f in m.functions]
    calls = [n for f in functions for n in f.node if n.domain]
    assert any(a.ref_attr_name for n in calls for a in n.attribute) and any(n.overload for n in calls) and any(f.attribute_proto for f in functions)
    assert any({f.name for f in m.functions if f.domain == DOMAINS[0]} & {f.name for f in m.functions if f.domain == DOMAINS[1]} for m in models)


def spoilt(what):
    model = network(1)
    f = model.functions[-1]
    if what == "calls itself":
        f.node.append(helper.make_node(f.name, list(f.input), ["unused"], domain=f.domain, overload=f.overload))
    elif what == "defined twice":
        model.functions.append(f)
    else:
        f.node.append(helper.make_node("Tanh", ["conv.weight"], ["unused"]))
    return model


@pytest.mark.parametrize("what", ["calls itself", "defined twice", "reads `conv.weight`"])
def test_functions_that_onnx_does_not_allow_are_refused(what, tmp_path):
    bundle, said = rewritten(spoilt(what), tmp_path)
    assert bundle is None and what in said, said
