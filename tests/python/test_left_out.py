"""What stands behind the scores and is not known is left out of the training, said, and still true in exports: generated members of the kind.

Right values come from numpy and ONNX Runtime: gradients of the cross-entropy in closed form, and outputs of the exported file with other weights.
"""
import itertools
import json
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, Bundle, relative_error
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

CLASSES, WIDTH, BATCH = 5, 12, 4
NAMES = [f"kind {k}" for k in range(CLASSES)]
ML = "ai.onnx.ml"


class Net:
    """Flatten and a linear layer, and whatever stands behind it."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.weight, self.bias = rng.normal(size=(WIDTH, CLASSES)).astype(np.float32), rng.normal(size=CLASSES).astype(np.float32)
        self.constants = {"fc.weight": self.weight, "fc.bias": self.bias}
        self.nodes, self.outputs = [], []
        self.add("Flatten", ["x"], "features")
        self.add("Gemm", ["features", "fc.weight", "fc.bias"], "z")

    def add(self, op, inputs, *outputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, list(outputs), name=f"node {len(self.nodes)}", **attributes))
        return outputs[0]

    def constant(self, name, value):
        self.constants[name] = np.asarray(value)
        return name

    def output(self, name, dtype=TensorProto.FLOAT, shape=("N", CLASSES)):
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def table(self, name):
        element = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        self.outputs.append(helper.make_value_info(name, helper.make_sequence_type_proto(element)))

    def model(self):
        images = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 2, 2])
        stored = [numpy_helper.from_array(v, n) for n, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "net", [images], self.outputs, stored)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3), helper.make_opsetid("com.example", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def likeliest(net, of="z"):
    net.add("TopK", [of, net.constant("k", np.array([2]))], "values", "indices")
    net.output("values", shape=("N", 2))
    net.output("indices", TensorProto.INT64, ("N", 2))
    return {"values": lambda z: -np.sort(-z, axis=1)[:, :2], "indices": lambda z: np.argsort(-z, axis=1)[:, :2]}


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def table(net):
    net.add("Softmax", ["z"], "p", axis=1)
    net.add("ZipMap", ["p"], "probabilities", domain=ML, classlabels_strings=NAMES)
    net.table("probabilities")
    return {"probabilities": softmax}


def number(net):
    net.add("ArgMax", ["z"], "number", axis=1, keepdims=0)
    net.output("number", TensorProto.INT64, ("N",))
    return {"number": lambda z: z.argmax(1)}


def code(net):
    """A number of its own for each class."""
    net.add("ArgMax", ["z"], "at", axis=1, keepdims=0)
    net.add("Gather", [net.constant("codes", np.arange(CLASSES) * 7 + 3), "at"], "code")
    net.output("code", TensorProto.INT64, ("N",))
    return {"code": lambda z: z.argmax(1) * 7 + 3}


def above(net):
    """Which scores are above the limit of their class."""
    net.add("Sigmoid", ["z"], "shares")
    net.add("Greater", ["shares", net.constant("limits", np.linspace(0.2, 0.8, CLASSES, dtype=np.float32))], "passed")
    net.add("Cast", ["passed"], "above", to=TensorProto.FLOAT)
    net.output("above")
    return {"above": lambda z: (1 / (1 + np.exp(-z)) > np.linspace(0.2, 0.8, CLASSES)).astype(np.float32)}


def called(net):
    """As skl2onnx writes a label."""
    net.add("ArgMax", ["z"], "best", axis=1, keepdims=1)
    net.add("ArrayFeatureExtractor", [net.constant("called", np.array(NAMES, object)), "best"], "row", domain=ML)
    net.add("Reshape", ["row", net.constant("flat", np.array([-1]))], "label")
    net.output("label", TensorProto.STRING, ("N",))
    return {"label": lambda z: np.array(NAMES)[z.argmax(1)]}


def gathered(net):
    net.add("ArgMax", ["z"], "likeliest", axis=1, keepdims=0)
    net.add("Gather", [net.constant("names", np.array(NAMES, object)), "likeliest"], "name")
    net.output("name", TensorProto.STRING, ("N",))
    return {"name": lambda z: np.array(NAMES)[z.argmax(1)]}


def branch(net):
    """A doubled score where the sum of the batch is positive."""
    inner = lambda op: helper.make_graph([helper.make_node(op, ["z"], ["r"])], op, [], [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)])
    net.add("ReduceSum", ["z"], "sum", keepdims=0)
    net.add("Greater", ["sum", net.constant("zero", np.float32(0))], "positive")
    net.add("If", ["positive"], "chosen", then_branch=inner("Relu"), else_branch=inner("Neg"))
    net.output("chosen")
    return {"chosen": lambda z: np.maximum(z, 0) if z.sum() > 0 else -z}


def foreign(net):
    net.add("Nms", ["z"], "boxes", domain="com.example")
    net.output("boxes", TensorProto.INT64, None)
    return {}


DECISIONS = [likeliest, table, number, code, above, called, gathered, branch, foreign]
# Made of operators that are known.
KNOWN = {number: "number", code: "code", above: "above"}


def members():
    return [list(some) for count in (1, 2) for some in itertools.combinations(DECISIONS, count)]


def run(*arguments):
    done = subprocess.run([str(a) for a in (BINARY, *arguments)], capture_output=True, text=True)
    assert "panicked" not in done.stderr, done.stderr
    return done


def rewritten(net, folder, *options):
    onnx.save(net.model(), folder / "model.onnx")
    return run("rewrite", folder / "model.onnx", "-o", folder / "bundle", "--penalty", "none", "--split", "--force", "--batch", BATCH, *options)


def chosen(decisions, scores="first"):
    """What has to be named where an output might say what another classifier finds."""
    return ["--output", "z" if scores != "none" or likeliest in decisions else "p"] if foreign in decisions else []


def check_gradients(bundle, net, images):
    state = bundle.start()
    labels = np.arange(BATCH, dtype=np.int64) % CLASSES
    x = images.reshape(BATCH, -1).astype(np.float64)
    p = softmax(x @ net.weight.astype(np.float64) + net.bias)
    error = (p - np.eye(CLASSES)[labels]) / BATCH
    found = bundle.gradients(bundle.graph("grad")(bundle.feeds(state, images, labels)))
    assert relative_error(found["fc.weight"], x.T @ error) < 1e-5
    assert relative_error(found["fc.bias"], error.sum(0)) < 1e-5


@pytest.mark.parametrize("scores", ["first", "last", "none"])
@pytest.mark.parametrize("decisions", members(), ids=lambda d: "+".join(f.__name__ for f in d))
def test_decisions_are_left_out_and_stay_true(tmp_path, decisions, scores):
    if scores == "none" and not any(d in (likeliest, table) for d in decisions):
        pytest.skip("nothing says which values are the scores")
    net, right = Net(), {}
    if scores == "first":
        net.output("z")
    for decision in decisions:
        right |= decision(net)
    if scores == "last":
        net.output("z")
    if foreign in decisions:
        # It might say what another classifier finds.
        done = rewritten(net, tmp_path, "--head", "keep")
        assert done.returncode == 1 and "`boxes` may be the classifier's, or say what it found" in done.stderr and "--output NAME" in done.stderr
    done = rewritten(net, tmp_path, "--head", "keep", *chosen(decisions, scores))
    assert done.returncode == 0, done.stderr
    left = [o.name for o in net.outputs if o.name not in ("z", *KNOWN.values())]
    for name in left:
        assert f"left out    {name}, behind " in done.stdout, (name, done.stdout)
    images = np.random.default_rng(1).normal(size=(BATCH, 3, 2, 2)).astype(np.float32)
    bundle = Bundle(tmp_path / "bundle")
    check_gradients(bundle, net, images)
    # Other weights, as from another runtime.
    rng = np.random.default_rng(2)
    weights = {s["name"]: rng.normal(size=s["shape"]).astype(np.float32) for s in bundle.state if s["role"] == "shared"}
    save_file(weights, tmp_path / "weights.safetensors")
    done = run("export", tmp_path / "bundle", "--weights", tmp_path / "weights.safetensors", "-o", tmp_path / "tuned.onnx")
    assert done.returncode == 0, done.stderr
    exported = onnx.load(tmp_path / "tuned.onnx")
    assert [o.name for o in exported.graph.output] == [o.name for o in net.outputs]
    z = images.reshape(BATCH, -1) @ weights["fc.weight"] + weights["fc.bias"]
    if foreign in decisions:
        # Nobody runs that one: the rest of the file.
        exported.graph.output.remove(next(o for o in exported.graph.output if o.name == "boxes"))
        exported.graph.node.remove(next(n for n in exported.graph.node if n.op_type == "Nms"))
        onnx.save(exported, tmp_path / "tuned.onnx")
        if not exported.graph.output:
            return
    session = onnxruntime.InferenceSession(tmp_path / "tuned.onnx", providers=["CPUExecutionProvider"])
    for port, value in zip(session.get_outputs(), session.run(None, {"x": images})):
        if port.name == "z":
            assert relative_error(value, z) < 1e-5
            continue
        if port.name == "probabilities":
            value = np.array([[row[name] for name in NAMES] for row in value])
        expected = right[port.name](z)
        assert relative_error(value, expected) < 1e-5 if expected.dtype.kind == "f" else (value == expected).all(), port.name


@pytest.mark.parametrize("decisions", members(), ids=lambda d: "+".join(f.__name__ for f in d))
def test_a_new_classifier_has_no_decisions_of_the_old_one(tmp_path, decisions):
    net = Net()
    net.output("z")
    for decision in decisions:
        decision(net)
    done = rewritten(net, tmp_path, "--classes", "3", *chosen(decisions))
    assert done.returncode == 0, done.stderr
    for decision, held in ((code, "Gather (node `node"), (above, "Greater (node `node")):
        if decision in decisions:
            assert f"left out    {KNOWN[decision]}, behind {held}" in done.stdout and f"for the {CLASSES} old classes" in done.stdout, done.stdout
    done = run("export", tmp_path / "bundle", "-o", tmp_path / "tuned.onnx")
    assert done.returncode == 0, done.stderr
    names = {o.name for o in onnx.load(tmp_path / "tuned.onnx").graph.output}
    # Scores that only the old table of names read are given in its place.
    assert names == {"z"} | ({"number"} if number in decisions else set()) | ({"p"} if table in decisions else set())
    images = np.random.default_rng(1).normal(size=(BATCH, 3, 2, 2)).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "tuned.onnx", providers=["CPUExecutionProvider"])
    assert session.run(["z"], {"x": images})[0].shape == (BATCH, 3)


def embedding(op, domain, **attributes):
    """Numbers for each image, and what a layer that is not known makes of them: scores, and what they say."""
    net = Net()
    net.output("z")
    net.add("Relu", ["z"], "r")
    outputs = ["label", "scores"] if op == "LinearClassifier" else ["scores"]
    inputs = ["r"] if op == "LinearClassifier" else ["r", net.constant("w2", np.ones((CLASSES, 3), np.float32))]
    net.add(op, inputs, *outputs, domain=domain, **attributes)
    return net


LINEAR = dict(coefficients=np.ones(15, np.float32).tolist(), intercepts=[0.0] * 3, classlabels_ints=[0, 1, 2])


@pytest.mark.parametrize("given", ["scores", "label", "table", "likeliest", "likeliest weighted"])
@pytest.mark.parametrize("op", ["LinearClassifier", "FusedMatMul"])
def test_features_before_a_layer_that_is_not_known_are_no_scores(tmp_path, op, given):
    net = embedding(op, ML if op == "LinearClassifier" else "com.microsoft", **(LINEAR if op == "LinearClassifier" else {}))
    if given == "label":
        if op != "LinearClassifier":
            pytest.skip("it gives no label")
        net.output("label", TensorProto.INT64, ("N",))
    elif given == "scores":
        net.output("scores", shape=("N", 3))
    elif given == "table":
        net.add("ZipMap", ["scores"], "probabilities", domain=ML, classlabels_strings=NAMES[:3])
        net.table("probabilities")
    else:
        # The layer is known, and what picks among its scores is not.
        net = Net()
        net.output("z")
        net.add("Gemm" if given == "likeliest" else "MatMul", ["z", net.constant("w2", np.eye(CLASSES, 3, dtype=np.float32))], "scores")
        net.add("TopK", ["scores", net.constant("k", np.array([1]))], "values", "indices")
        read = "values" if given == "likeliest" else net.add("Mul", ["values", net.constant("two", np.full((1, 2), 2, np.float32))], "twice")
        net.output(read, shape=("N", 1))
    for options in (["--classes", "3"], ["--head", "keep"]):
        done = rewritten(net, tmp_path, *options)
        assert done.returncode == 1 and ("may be the classifier's" in done.stderr or "is not clear" in done.stderr), (done.stdout, done.stderr)
        assert "--output" in done.stderr
        done = rewritten(net, tmp_path, *options, "--output", "z")
        if given == "likeliest" and "keep" not in options:
            assert done.returncode == 1 and "does not fit together any more" in done.stderr, done.stderr
        else:
            assert done.returncode == 0, done.stderr


def test_outputs_that_are_no_scores_do_not_hide_those_that_may_be(tmp_path):
    net = Net()
    net.add("Reshape", ["x", net.constant("form", np.array([0, 3, 2, 2]))], "maps")
    net.output("maps", shape=("N", 3, 2, 2))
    net.add("Linear", ["z"], "scores", domain="com.example")
    net.output("scores")
    done = rewritten(net, tmp_path, "--classes", "3")
    assert done.returncode == 1 and "`scores` may be the classifier's, and cannot be trained: com.example.Linear (node `node 3`)" in done.stderr, done.stderr


def test_what_is_picked_among_places_is_no_classifier(tmp_path):
    """A detector's TopK over its boxes."""
    net = Net()
    net.add("Reshape", ["z", net.constant("form", np.array([-1, CLASSES, 1]))], "boxes")
    net.add("TopK", ["z", net.constant("k", np.array([2]))], "values", "indices")
    net.add("Unsqueeze", ["indices", net.constant("axes", np.array([2]))], "at")
    net.add("GatherElements", ["boxes", "at"], "found", axis=1)
    net.output("found", shape=("N", 2, 1))
    done = rewritten(net, tmp_path, "--classes", "3")
    assert done.returncode == 1 and "TopK (node `node 3`)" in done.stderr, (done.stdout, done.stderr)


@pytest.mark.parametrize("of", ["z", "features"])
def test_what_picks_and_nobody_reads_is_nothing(tmp_path, of):
    net = Net()
    net.add("TopK", [of, net.constant("k", np.array([2]))], "values", "indices")
    net.add("Softmax", ["z"], "p", axis=1)
    net.output("p")
    done = rewritten(net, tmp_path, "--head", "keep")
    assert done.returncode == 0 and "also gives" not in done.stdout + done.stderr, (done.stdout, done.stderr)
    assert [o.name for o in onnx.load(tmp_path / "bundle/eval.onnx").graph.output] == ["p"]


@pytest.mark.parametrize("beside", [True, False])
def test_whole_numbers_that_are_picked_among_are_no_scores(tmp_path, beside):
    net = Net()
    if beside:
        net.output("z")
    net.add("Cast", ["z"], "whole", to=TensorProto.INT64)
    net.add("TopK", ["whole", net.constant("k", np.array([2]))], "values", "indices")
    net.output("values", TensorProto.INT64, ("N", 2))
    done = rewritten(net, tmp_path, "--head", "keep")
    if beside:
        assert done.returncode == 0, done.stderr
        graph = onnx.load(tmp_path / "bundle/eval.onnx").graph
        assert [o.name for o in graph.output] == ["z"] and {n.op_type for n in graph.node} == {"Flatten", "Gemm"}, graph
    else:
        assert done.returncode == 1 and "TopK (node `node 3`)" in done.stderr, (done.stdout, done.stderr)


HALF = {np.float16: TensorProto.FLOAT16, np.float32: TensorProto.FLOAT}


class Half(Net):
    """A layer in half precision, of images in float32 or in half precision themselves; its scores are `h`, and in float32 `z`."""

    def __init__(self, images):
        super().__init__()
        self.images = images
        self.constants = {n: v.astype(np.float16) for n, v in self.constants.items()}
        self.weight, self.bias = (self.constants[n].astype(np.float32) for n in ("fc.weight", "fc.bias"))
        self.nodes = []
        half = "x" if images == np.float16 else self.add("Cast", ["x"], "half", to=TensorProto.FLOAT16)
        self.add("Flatten", [half], "features")
        self.add("Gemm", ["features", "fc.weight", "fc.bias"], "h")
        self.add("Cast", ["h"], "z", to=TensorProto.FLOAT)

    def model(self):
        model = super().model()
        model.graph.input[0].type.tensor_type.elem_type = HALF[self.images]
        return model


def likeliest_half(net):
    right = likeliest(net, "h")
    net.outputs[-2].type.tensor_type.elem_type = TensorProto.FLOAT16
    return right


@pytest.mark.parametrize("images", HALF, ids=lambda t: t.__name__)
@pytest.mark.parametrize("head", ["keep", "new"])
@pytest.mark.parametrize("decisions", [[table], [likeliest_half], [likeliest], [number, table], [likeliest_half, gathered]], ids=lambda d: "+".join(f.__name__ for f in d))
def test_scores_of_half_precision_that_are_no_output_are_found(tmp_path, decisions, head, images):
    """In the type that the file computes them in: half precision, or float32 behind a conversion."""
    net, right = Half(images), {}
    for decision in decisions:
        right |= decision(net)
    done = rewritten(net, tmp_path, *(["--head", "keep"] if head == "keep" else ["--classes", "3"]))
    assert done.returncode == 0, done.stderr
    x = np.random.default_rng(1).normal(size=(BATCH, 3, 2, 2)).astype(np.float16).astype(np.float32)
    bundle = Bundle(tmp_path / "bundle")
    if head == "keep":
        check_gradients(bundle, net, x)
    rng = np.random.default_rng(2)
    weights = {s["name"]: rng.normal(size=s["shape"]).astype(np.float16).astype(np.float32) for s in bundle.state if s["role"] in ("shared", "new")}
    save_file(weights, tmp_path / "weights.safetensors")
    done = run("export", tmp_path / "bundle", "--weights", tmp_path / "weights.safetensors", "-o", tmp_path / "tuned.onnx")
    assert done.returncode == 0, done.stderr
    exported = onnx.load(tmp_path / "tuned.onnx")
    onnx.checker.check_model(exported)
    session = onnxruntime.InferenceSession(tmp_path / "tuned.onnx", providers=["CPUExecutionProvider"])
    z = x.reshape(BATCH, -1) @ weights["fc.weight"] + weights["fc.bias"]
    right |= {"h": lambda z: z, "z": lambda z: z, "p": softmax}
    for port, value in zip(session.get_outputs(), session.run(None, {"x": x.astype(images)})):
        if port.name == "probabilities":
            value = np.array([[row[name] for name in NAMES] for row in value])
        expected = right[port.name](z)
        assert relative_error(value, expected) < 3e-3 if expected.dtype.kind == "f" else (value == expected).all(), port.name
    names = [o.name for o in exported.graph.output]
    scores = {"h" if d is likeliest_half else "z" if d is likeliest else "p" for d in decisions if d not in (number, gathered)}
    assert names == [o.name for o in net.outputs] if head == "keep" else set(names) == scores | ({"number"} if number in decisions else set()), names


def test_an_export_of_the_likeliest_says_what_it_cannot_be(tmp_path):
    net = Net()
    table(net)
    done = rewritten(net, tmp_path, "--head", "keep")
    assert done.returncode == 0, done.stderr
    done = run("export", tmp_path / "bundle", "--top", "99", "-o", tmp_path / "tuned.onnx")
    assert done.returncode == 2 and "--top 99" in done.stderr, done.stderr
    done = run("export", tmp_path / "bundle", "--top", "2", "-o", tmp_path / "tuned.onnx")
    assert done.returncode == 0, done.stderr


def test_what_may_be_the_classifier_is_not_left_out(tmp_path):
    # Scores of its own, which nobody here can read.
    net = Net()
    net.output("z")
    net.add("Linear", ["features"], "other", domain="com.example")
    net.output("other")
    done = rewritten(net, tmp_path)
    assert done.returncode == 1 and "`other` may be the classifier's" in done.stderr and "--output NAME: `z` float32[N, 5] (Gemm `node 1`)" in done.stderr
    done = rewritten(net, tmp_path, "--output", "z", "--head", "keep")
    assert done.returncode == 0, done.stderr
    done = rewritten(net, tmp_path, "--output", "other")
    assert done.returncode == 1 and "output `other` cannot be trained: com.example.Linear (node `node 2`)" in done.stderr
    # In the way.
    net = Net()
    net.add("Act", ["z"], "t", domain="com.example")
    net.add("Relu", ["t"], "u")
    net.output("u")
    done = rewritten(net, tmp_path)
    assert done.returncode == 1 and "com.example.Act (node `node 2`)" in done.stderr
    # What picks the largest features is part of a network where a layer stands behind it.
    net = Net()
    likeliest(net)
    net.add("MatMul", ["values", net.constant("w", np.ones((2, 3), np.float32))], "y")
    net.outputs = []
    net.output("y", shape=("N", 3))
    done = rewritten(net, tmp_path)
    assert done.returncode == 1 and "TopK (node `node 2`)" in done.stderr


def test_features_are_not_taken_for_the_scores_behind_a_table(tmp_path):
    net = Net()
    net.add("Gemm", ["z", net.constant("w", np.eye(CLASSES, dtype=np.float32)[:, :3])], "y")
    net.add("ZipMap", ["y"], "probabilities", domain=ML, classlabels_strings=NAMES[:3])
    net.output("z")
    net.table("probabilities")
    done = rewritten(net, tmp_path)
    assert done.returncode == 1 and "which of them is the classifier's is not clear" in done.stderr, done.stderr
    done = rewritten(net, tmp_path, "--output", "y", "--classes", "2")
    assert done.returncode == 0 and "left out    probabilities" in done.stdout, done.stderr


class Old(Net):
    """In a file of IR version 3, which repeats its initializers as inputs."""

    def model(self):
        model = super().model()
        model.ir_version = 3
        for tensor in model.graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        return model


@pytest.mark.parametrize("head", ["keep", "new"])
def test_strings_are_no_input_where_initializers_are_repeated_as_inputs(tmp_path, head):
    net = Old()
    net.output("z")
    right = gathered(net)
    classes = ["--head", "keep"] if head == "keep" else ["--classes", "3"]
    done = rewritten(net, tmp_path, *classes)
    assert done.returncode == 0 and "left out    name, behind Gather" in done.stdout, done.stderr
    images = np.random.default_rng(1).normal(size=(BATCH, 3, 2, 2)).astype(np.float32)
    bundle = Bundle(tmp_path / "bundle")
    weights = {s["name"]: np.random.default_rng(2).normal(size=s["shape"]).astype(np.float32) for s in bundle.state if s["role"] in ("shared", "new")}
    assert len(weights) == 2
    if head == "keep":
        check_gradients(bundle, net, images)
    save_file(weights, tmp_path / "weights.safetensors")
    done = run("export", tmp_path / "bundle", "--weights", tmp_path / "weights.safetensors", "-o", tmp_path / "tuned.onnx")
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "tuned.onnx", providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == (["z", "name"] if head == "keep" else ["z"])
    z, *name = session.run(None, {"x": images})
    weight, bias = (weights[n] for n in ("fc.weight", "fc.bias"))
    assert relative_error(z, images.reshape(BATCH, -1) @ weight + bias) < 1e-5
    assert all((found == right["name"](z)).all() for found in name)


def optimised():
    """Scores behind an embedding, by an operator that ONNX Runtime writes into files that it has made fast."""
    net = Net()
    net.output("z")
    net.add("FusedMatMul", ["z", net.constant("w", np.random.default_rng(3).normal(size=(CLASSES, 3)).astype(np.float32))], "logits", domain="com.microsoft")
    net.output("logits", shape=("N", 3))
    model = net.model()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


PIXELS = ["--resize", "2", "--mean", "0.5,0.4,0.3", "--std", "0.2,0.3,0.4"]


def shown(folder, model):
    """Data of three classes, and for each image its label and what ONNX Runtime gives for it in `logits`."""
    rng, found = np.random.default_rng(4), {}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for label, name in enumerate("abc"):
        (folder / "data" / name).mkdir(parents=True)
        for k in range(3):
            pixels = rng.integers(0, 256, (2, 2, 3), np.uint8)
            path = folder / "data" / name / f"{k}.ppm"
            path.write_bytes(b"P6 2 2 255\n" + pixels.tobytes())
            x = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]
            found[str(path)] = label, session.run(["logits"], {"x": x.transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
    return found


@pytest.mark.parametrize("noted", [False, True], ids=["named", "noted"])
def test_an_output_that_is_left_out_can_be_run(tmp_path, noted):
    model = optimised()
    right = shown(tmp_path, model)
    named = ["--output", "logits"]
    if noted:
        # As the file's own metadata names it.
        helper.set_model_props(model, {"spgraph.prediction": json.dumps({"output": "logits", "activation": "none", "loss": "cross-entropy"})})
        named = []
    onnx.save(model, tmp_path / "model.onnx")
    done = run("predict", tmp_path / "model.onnx", tmp_path / "data", *named, *PIXELS, "--engine", "ort", "--top", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert noted or "FusedMatMul" in done.stderr and "output logits" in done.stderr, done.stderr
    for image in json.loads(done.stdout):
        p = softmax(right[image["image"]][1][None].astype(np.float64))[0]
        assert relative_error(np.array([g["probability"] for g in image["guesses"]]), p[[g["label"] for g in image["guesses"]]]) < 1e-5
    done = run("eval", tmp_path / "model.onnx", "--data", tmp_path / "data", *named, *PIXELS, "--engine", "ort", "--class-names", names(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert abs(found["accuracy"] - np.mean([label == z.argmax() for label, z in right.values()])) < 1e-9, found
    assert abs(found["loss"] - np.mean([-np.log(softmax(z[None].astype(np.float64))[0, label]) for label, z in right.values()])) < 1e-5
    # Beside it, an output that spgraph reads is still read as before.
    done = run("predict", tmp_path / "model.onnx", tmp_path / "data", "--output", "z", *PIXELS, "--json")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("beside", [gathered, table, called], ids=lambda f: f.__name__)
def test_an_output_beside_strings_can_be_run(tmp_path, beside):
    """Strings and tables of names are no numbers that a program here could hold: what is asked for is run without them."""
    net = Net()
    beside(net)
    net.add("FusedMatMul", ["z", net.constant("w", np.random.default_rng(3).normal(size=(CLASSES, 3)).astype(np.float32))], "logits", domain="com.microsoft")
    net.output("logits", shape=("N", 3))
    model = net.model()
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    right = shown(tmp_path, model)
    onnx.save(model, tmp_path / "model.onnx")
    done = run("predict", tmp_path / "model.onnx", tmp_path / "data", "--output", "logits", *PIXELS, "--engine", "ort", "--top", "3", "--json")
    assert done.returncode == 0, done.stderr
    for image in json.loads(done.stdout):
        p = softmax(right[image["image"]][1][None].astype(np.float64))[0]
        assert relative_error(np.array([g["probability"] for g in image["guesses"]]), p[[g["label"] for g in image["guesses"]]]) < 1e-5
    done = run("predict", tmp_path / "model.onnx", tmp_path / "data", "--output", net.outputs[0].name, *PIXELS, "--engine", "ort")
    assert done.returncode == 1 and f"output `{net.outputs[0].name}` holds no numbers" in done.stderr, done.stderr


def names(folder):
    (folder / "names.txt").write_text("a\nb\nc\n")
    return folder / "names.txt"


def test_features_that_are_no_output_of_the_file_are_to_be_exported(tmp_path):
    net = Net()
    table(net)
    for named in ([], ["--output", "p"]):
        done = rewritten(net, tmp_path, "--classes", "2", "--add-head", *named)
        assert done.returncode == 2 and "`p`" in done.stderr and "as an output" in done.stderr and "name one of" not in done.stderr, done.stderr
    # What is an output takes it, and is all that is offered.
    net = Net()
    net.add("Relu", ["z"], "features again")
    net.output("features again")
    table(net)
    done = rewritten(net, tmp_path, "--classes", "2", "--add-head")
    assert done.returncode == 2 and "name one of `features again` float32[N, 5] with --output" in done.stderr, done.stderr
    done = rewritten(net, tmp_path, "--classes", "2", "--add-head", "--output", "features again")
    assert done.returncode == 0, done.stderr


def test_what_hides_its_logits_is_told_of_the_loss_of_numbers_beside_a_new_head(tmp_path):
    net = Net()
    net.add("Softmax", ["z"], "p", axis=1)
    net.add("Clip", ["p", net.constant("low", np.float32(0.2)), net.constant("high", np.float32(0.8))], "y")
    net.output("y")
    onnx.save(net.model(), tmp_path / "model.onnx")
    done = run("inspect", tmp_path / "model.onnx")
    assert done.returncode == 0 and "--add-head" in done.stdout, done.stderr
    assert "without a new head: the model's output `y`" in done.stdout and "take --loss mse" in done.stdout, done.stdout
