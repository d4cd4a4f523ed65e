"""Weights that reach their layer through other nodes: trained, with the right gradient, or named.

Networks are generated: random chains of nodes stand between their constants and the places where those are used. The expected gradient of
every constant comes from central differences of the loss, computed by ONNX's reference evaluator on the model itself.
"""
import json
import sys

import numpy as np
import onnx
import pytest
from harness import Bundle, relative_error, spgraph
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

CLASSES, IMAGES = 4, (3, 2, 6, 6)


class Network:
    """A model that is being written."""

    def __init__(self, seed, dtype=np.float64):
        self.rng, self.dtype = np.random.default_rng(seed), np.dtype(dtype)
        self.nodes, self.tensors, self.count = [], {}, 0

    def name(self, base):
        self.count += 1
        return f"{base}.{self.count}"

    def node(self, op, *inputs, **attributes):
        out = self.name(op.lower())
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"/{out}", **attributes))
        return out

    def constant(self, values, base="weight"):
        name = self.name(base)
        values = np.asarray(values)
        self.tensors[name] = values.astype(self.dtype) if values.dtype == np.float64 else values
        return name

    def shared(self, values):
        """A constant that every node with the same needs reads, without a name of its own."""
        name = f"val_{int(values[0])}{len(values)}"
        self.tensors[name] = values.astype(self.dtype)
        return name

    def ints(self, *values):
        return self.constant(np.array(values, np.int64), "sizes")

    def draw(self, *shape):
        return self.rng.standard_normal(shape) * 0.5

    def weight(self, *shape, links=2):
        """A value of that shape, behind random links from constants of other shapes."""
        if links == 0:
            return self.constant(self.draw(*shape))
        link = self.rng.choice(LINKS)
        return link(self, shape, links - 1)

    def model(self, output):
        initializers = [numpy_helper.from_array(t, n) for n, t in self.tensors.items()]
        ports = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(self.dtype), s) for n, s in (("x", ["N", *IMAGES[1:]]), (output, ["N", CLASSES]))]
        graph = helper.make_graph(self.nodes, "chains", ports[:1], ports[1:], initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def transposed(net, shape, links):
    perm = net.rng.permutation(len(shape))
    before = [0] * len(shape)
    for to, of in enumerate(perm):
        before[of] = shape[to]
    return net.node("Transpose", net.weight(*before, links=links), perm=[int(p) for p in perm])


def reshaped(net, shape, links):
    return net.node("Reshape", net.weight(int(np.prod(shape)), links=links), net.ints(*shape))


def flattened(net, shape, links):
    return net.node("Reshape", net.weight(shape[0], int(np.prod(shape[1:])), links=links), net.ints(*shape))


def unsqueezed(net, shape, links):
    return net.node("Squeeze", net.weight(1, *shape, 1, links=links), net.ints(0, len(shape) + 1))


def identity(net, shape, links):
    return net.node("Identity", net.weight(*shape, links=links))


def scaled(net, shape, links):
    gain = net.constant(1 + 0.2 * net.draw(shape[0], *[1] * (len(shape) - 1)), "gain")
    return net.node("Mul", net.weight(*shape, links=links), gain)


def moved(net, shape, links):
    return net.node("Sub", net.weight(*shape, links=links), net.constant(net.draw(*shape), "offset"))


def standardized(net, shape, links):
    """Weight standardization: by mean and deviation of each output channel, times a gain."""
    w = net.weight(*shape, links=links)
    axes = list(range(1, len(shape))) or [0]
    mean = net.node("ReduceMean", w, axes=axes, keepdims=1)
    centred = net.node("Sub", w, mean)
    variance = net.node("ReduceMean", net.node("Mul", centred, centred), axes=axes, keepdims=1)
    deviation = net.node("Sqrt", net.node("Add", variance, net.constant(np.array(1e-3), "/eps")))
    gain = net.constant(1 + 0.2 * net.draw(shape[0], *[1] * (len(shape) - 1)), "gain")
    return net.node("Mul", net.node("Div", centred, deviation), gain)


def batch_normalized(net, shape, links):
    """The same as some exporters write it: BatchNormalization in training mode, on the weights, with constant ones and zeros."""
    rows = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if rows < 2:
        return net.weight(*shape, links=links)
    w = net.node("Reshape", net.weight(*shape, links=links), net.ints(1, shape[0], rows))
    fixed = [net.constant(np.full(shape[0], v), "/Constant_output") for v in (1.0, 0.0, 0.0, 1.0)]
    out = [net.name("normed") for _ in range(3)]
    net.nodes.append(helper.make_node("BatchNormalization", [w, *fixed], out, name=f"/{out[0]}", training_mode=1, epsilon=1e-3))
    return net.node("Reshape", out[0], net.ints(*shape))


def normalized_by_statistics(net, shape, links):
    """The same by a BatchNormalization for inference whose statistics are computed from the weights."""
    rows = int(np.prod(shape[1:])) if len(shape) > 1 else 1
    if rows < 2:
        return net.weight(*shape, links=links)
    w = net.node("Reshape", net.weight(*shape, links=links), net.ints(1, shape[0], rows))
    mean = net.node("ReduceMean", w, axes=[0, 2], keepdims=0)
    centred = net.node("Sub", w, net.node("ReduceMean", w, axes=[0, 2], keepdims=1))
    variance = net.node("ReduceMean", net.node("Mul", centred, centred), axes=[0, 2], keepdims=0)
    fixed = [net.shared(np.full(shape[0], v)) for v in (1.0, 0.0)]
    normed = net.node("BatchNormalization", w, *fixed, mean, variance, epsilon=1e-3)
    return net.node("Reshape", normed, net.ints(*shape))


def joined(net, shape, links):
    if shape[0] < 2:
        return net.weight(*shape, links=links)
    return net.node("Concat", net.weight(1, *shape[1:], links=links), net.weight(shape[0] - 1, *shape[1:], links=0), axis=0)


def sliced(net, shape, links):
    return net.node("Slice", net.weight(shape[0] + 2, *shape[1:], links=links), net.ints(1), net.ints(shape[0] + 1), net.ints(0))


def factored(net, shape, links):
    """A product of two thin matrices."""
    if len(shape) != 2:
        return net.weight(*shape, links=links)
    return net.node("MatMul", net.weight(shape[0], 2, links=links), net.weight(2, shape[1], links=0))


def low_precision(net, shape, links):
    return net.node("Cast", net.constant(net.draw(*shape).astype(np.float32)), to=helper.np_dtype_to_tensor_dtype(net.dtype))


LINKS = [transposed, reshaped, flattened, unsqueezed, identity, scaled, moved, standardized, batch_normalized, normalized_by_statistics, joined, sliced, factored, low_precision]


def network(seed, dtype=np.float64):
    net = Network(seed, dtype)
    channels = 3
    y = net.node("Conv", "x", net.weight(channels, 2, 3, 3), net.weight(channels, links=1), pads=[1, 1, 1, 1])
    y = net.node("Tanh", y)
    if seed % 2:
        # A branch with a gain of its own, and a bias for each position.
        branch = net.node("Conv", y, net.weight(channels, channels, 1, 1))
        branch = net.node("Mul", branch, net.constant(np.array([0.3]), "skip_gain"))
        y = net.node("Add", net.node("Add", y, branch), net.constant(net.draw(1, channels, 6, 6), "position"))
    y = net.node("Mul", y, net.constant(np.array(0.7), "/Constant_output"))
    y = net.node("Flatten", net.node("GlobalAveragePool", y))
    if seed % 3:
        y = net.node("Add", net.node("MatMul", y, net.weight(channels, CLASSES)), net.weight(CLASSES, links=1))
    else:
        y = net.node("Gemm", y, net.weight(CLASSES, channels), net.weight(CLASSES, links=1), transB=1)
    return net, net.model(y)


def loss(model, tensors, images, target):
    """Mean cross entropy of the model with these tensors in the place of its own."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for i, initializer in enumerate(changed.graph.initializer):
        if initializer.name in tensors:
            changed.graph.initializer[i].CopyFrom(numpy_helper.from_array(tensors[initializer.name], initializer.name))
    z = ReferenceEvaluator(changed).run(None, {"x": images})[0]
    z = z - z.max(axis=1, keepdims=True)
    return -(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))[np.arange(len(z)), target].mean()


def differences(model, name, tensor, images, target):
    """The gradient of the loss by central differences. What is stored as float32 is converted before it is used, and may as well be float64 here."""
    step, tensor = 1e-5, tensor.astype(np.float64)
    found = np.zeros(tensor.shape)
    for at in np.ndindex(tensor.shape):
        sides = []
        for sign in (1, -1):
            moved = tensor.copy()
            moved[at] += sign * step
            sides.append((moved[at], loss(model, {name: moved}, images, target)))
        found[at] = (sides[0][1] - sides[1][1]) / (sides[0][0] - sides[1][0])
    return found


@pytest.mark.parametrize("seed", range(32))
def test_every_constant_is_trained_or_named(seed, tmp_path):
    net, model = network(seed)
    onnx.checker.check_model(model)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, IMAGES[0])
    spgraph("rewrite", path, "-o", tmp_path / "bundle", "--batch", IMAGES[0], "--penalty", "none", "--split")
    bundle = Bundle(tmp_path / "bundle")
    found = bundle.gradients(bundle.graph("grad")(bundle.feeds(bundle.start(), images, target)))
    named = {c["name"] for c in json.loads(spgraph("inspect", path, "--json"))["constants"]}
    # A constant behind an Identity is known by the name of that: exporters write one where two parameters were equal.
    known = {n.output[0]: n.input[0] for n in net.nodes if n.op_type == "Identity"}
    found = {known.get(name, name): gradient for name, gradient in found.items()}
    floats = {n: t for n, t in net.tensors.items() if t.dtype != np.int64}
    for name, tensor in floats.items():
        expected = differences(model, name, tensor, images, target)
        size = np.linalg.norm(expected)
        if name in found:
            assert relative_error(found[name], expected) < 1e-6 or np.linalg.norm(found[name] - expected) < 1e-8, f"{name}: {found[name]} for {expected}"
            assert not name.startswith(("/", "val_")), f"{name} is a number of a formula, and is trained"
        else:
            assert name in named or size < 1e-8, f"{name} influences the loss (gradient {size:.2g}) and is neither trained nor named"
            assert name.startswith(("/", "val_")), f"{name} is not trained"


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_ones_and_zeros_that_normalizations_share_are_of_a_formula_in_each(layers, tmp_path):
    """As PyTorch's exporter writes GroupNorm: InstanceNormalization without parameters, and the layer's own gain and shift behind it."""
    net, y, own = Network(layers), "x", []
    for _ in range(layers):
        fixed = [net.shared(np.full(2, v)) for v in (1.0, 0.0)]
        y = net.node("InstanceNormalization", net.node("Conv", y, net.weight(2, 2, 1, 1, links=0)), *fixed)
        net.nodes[-1].name = f"/blocks.{len(own)}/norm/node_InstanceNormalization_{len(own)}"
        own += [net.constant(1 + net.draw(2, 1, 1), "gain"), net.constant(net.draw(2, 1, 1), "shift")]
        y = net.node("Add", net.node("Mul", y, own[-2]), own[-1])
    y = net.node("Gemm", net.node("Flatten", net.node("GlobalAveragePool", y)), net.weight(2, CLASSES, links=0))
    path = tmp_path / "model.onnx"
    onnx.save(net.model(y), path)
    told = json.loads(spgraph("inspect", path, "--json"))
    trained, fixed = {p["name"] for p in told["parameters"]}, {c["name"] for c in told["constants"]}
    assert trained == {n for n in net.tensors if not n.startswith("val_")} and set(own) < trained, trained
    assert {"val_12", "val_02"} == fixed & set(net.tensors), fixed


def test_a_table_that_each_layer_computes_counts_once(tmp_path):
    """Together they are far above the elements that are computed ahead in one model."""
    net, places = Network(0, np.float32), 256
    index = net.constant(np.arange(places) % 16, "places")
    index = net.node("Expand", index, net.node("Shape", net.node("Max", index)))
    y = net.node("Flatten", net.node("GlobalAveragePool", net.node("Conv", "x", net.weight(2, 2, 1, 1, links=0))))
    for _ in range(24):
        size = net.constant(np.array([places, places]), "sizes")
        rows = net.node("Unsqueeze", net.node("Expand", index, size), net.ints(2))
        columns = net.node("Transpose", rows, perm=[1, 0, 2])
        table = net.node("GatherND", net.weight(16, 16, links=0), net.node("Concat", rows, columns, axis=2))
        y = net.node("Add", y, net.node("Slice", net.node("ReduceMean", table, axes=[1], keepdims=0), net.ints(3), net.ints(5), net.ints(0)))
    y = net.node("Gemm", y, net.weight(2, CLASSES, links=0))
    path = tmp_path / "model.onnx"
    onnx.save(net.model(y), path)
    assert len(json.loads(spgraph("inspect", path, "--json"))["parameters"]) == 26


def test_the_constant_of_a_function_is_one_for_all_its_calls(tmp_path):
    net, y = Network(7), "x"
    gain = numpy_helper.from_array(1 + net.draw(2, 1, 1))
    body = [helper.make_node("Constant", [], ["gain"], value=gain), helper.make_node("Mul", ["input", "gain"], ["output"])]
    function = helper.make_function("own", "scale", ["input"], ["output"], body, [helper.make_opsetid("", 17)])
    for at in range(2):
        y = net.node("Conv", y, net.weight(2, 2, 1, 1, links=0))
        net.nodes.append(helper.make_node("scale", [y], [f"scaled.{at}"], name=f"/scale.{at}", domain="own"))
        y = net.node("Tanh", f"scaled.{at}")
    model = net.model(net.node("Gemm", net.node("Flatten", net.node("GlobalAveragePool", y)), net.weight(2, CLASSES, links=0)))
    # The same with an initializer, for the differences.
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    plain.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(gain), "gain"))
    for node in plain.graph.node:
        if node.domain:
            node.domain, node.op_type = "", "Mul"
            node.input.append("gain")
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / "model.onnx")
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, IMAGES[0])
    spgraph("rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--batch", IMAGES[0], "--penalty", "none", "--head", "keep", "--split")
    bundle = Bundle(tmp_path / "bundle")
    found = bundle.gradients(bundle.graph("grad")(bundle.feeds(bundle.start(), images, target)))
    (own,) = [name for name in found if name not in net.tensors]
    assert relative_error(found[own], differences(plain, "gain", numpy_helper.to_array(gain), images, target)) < 1e-6


if __name__ == "__main__":
    # `python test_constants.py SEED FILE`: one of the networks in float32, as tests/fixtures has them.
    onnx.save(network(int(sys.argv[1]), np.float32)[1], sys.argv[2])
