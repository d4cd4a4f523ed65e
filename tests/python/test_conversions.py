"""Weights that the file stores in another floating-point type than their layer has: trained in the layer's type, written back in the file's.

Right values: gradients in closed form in float64, and ONNX Runtime on the exported file with other weights.
"""
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, Bundle, relative_error
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

CLASSES, WIDTH, BATCH = 5, 12, 3
TYPES = {np.float16: TensorProto.FLOAT16, np.float32: TensorProto.FLOAT, np.float64: TensorProto.DOUBLE}


def cast(nodes, name, to):
    nodes.append(helper.make_node("Cast", [name], [f"{name}/cast"], to=TYPES[to]))
    return f"{name}/cast"


def moved(nodes, name):
    nodes.append(helper.make_node("Transpose", [name], [f"{name}/moved"], perm=[1, 0]))
    return f"{name}/moved"


def squeezed(nodes, name):
    nodes.append(helper.make_node("Identity", [name], [f"{name}/same"]))
    nodes.append(helper.make_node("Flatten", [f"{name}/same"], [f"{name}/flat"], axis=1))
    return f"{name}/flat"


# From the stored weight to the layer's, each with the shape that is stored.
CHAINS = {
    "converted": (lambda n, w, to: cast(n, w, to), lambda w: w),
    "moved, converted": (lambda n, w, to: cast(n, moved(n, w), to), lambda w: w.T),
    "converted, moved": (lambda n, w, to: moved(n, cast(n, w, to)), lambda w: w.T),
    "handed on, converted": (lambda n, w, to: cast(n, squeezed(n, w), to), lambda w: w),
    "converted twice": (lambda n, w, to: cast(n, cast(n, w, to), np.float64 if to == np.float32 else np.float32), lambda w: w),
}


def model(chain, stored, layer, as_nodes):
    rng = np.random.default_rng(0)
    link, place = CHAINS[chain]
    weight, bias = rng.normal(size=(WIDTH, CLASSES)), rng.normal(size=CLASSES)
    numbers = {"fc.weight": place(weight).astype(stored), "fc.bias": bias.astype(stored)}
    nodes, kept = [], []
    for name, value in numbers.items():
        tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
        if as_nodes:
            nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            kept.append(tensor)
    w = link(nodes, "fc.weight", layer)
    w = cast(nodes, w, layer) if chain == "converted twice" else w
    b = cast(nodes, "fc.bias", layer)
    nodes += [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", w], ["m"]), helper.make_node("Add", ["m", b], ["z"])]
    port = lambda name, *sizes: helper.make_tensor_value_info(name, TYPES[layer], ["N", *sizes])
    graph = helper.make_graph(nodes, "net", [port("x", 3, 2, 2)], [port("z", CLASSES)], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), place(numbers["fc.weight"]), numbers["fc.bias"]


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def run(*arguments):
    done = subprocess.run([str(a) for a in (BINARY, *arguments)], capture_output=True, text=True)
    assert done.returncode == 0 and "panicked" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("as_nodes", [False, True], ids=["initializers", "nodes"])
@pytest.mark.parametrize("layer", [np.float32, np.float64])
@pytest.mark.parametrize("stored", list(TYPES))
@pytest.mark.parametrize("chain", list(CHAINS))
def test_weights_are_trained_in_their_layer_s_type(tmp_path, chain, stored, layer, as_nodes):
    if stored == layer:
        pytest.skip("one type")
    network, weight, bias = model(chain, stored, layer, as_nodes)
    onnx.checker.check_model(network, full_check=True)
    onnx.save(network, tmp_path / "model.onnx")
    said = run("rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--penalty", "none", "--split", "--batch", BATCH, "--head", "keep")
    assert f"trained     {WIDTH * CLASSES + CLASSES} of {WIDTH * CLASSES + CLASSES} elements" in said, said
    bundle = Bundle(tmp_path / "bundle")
    images = np.random.default_rng(1).normal(size=(BATCH, 3, 2, 2)).astype(layer)
    labels = np.arange(BATCH, dtype=np.int64)
    x = images.reshape(BATCH, -1).astype(np.float64)
    error = (softmax(x @ weight.astype(np.float64) + bias) - np.eye(CLASSES)[labels]) / BATCH
    found = bundle.gradients(bundle.graph("grad")(bundle.feeds(bundle.start(), images, labels)))
    _, place = CHAINS[chain]
    # What is handed on under another name is a parameter of that name.
    name = next(name for name in found if name.startswith("fc.weight"))
    assert relative_error(found[name], place(x.T @ error)) < 1e-5 and relative_error(found["fc.bias"], error.sum(0)) < 1e-5
    rng = np.random.default_rng(2)
    weights = {s["name"]: rng.normal(size=s["shape"]).astype(s["dtype"]) for s in bundle.state if s["role"] == "shared"}
    save_file(weights, tmp_path / "weights.safetensors")
    run("export", tmp_path / "bundle", "--weights", tmp_path / "weights.safetensors", "-o", tmp_path / "tuned.onnx")
    tuned = onnx.load(tmp_path / "tuned.onnx")
    constants = {t.name: t.data_type for t in tuned.graph.initializer}
    constants |= {n.output[0]: n.attribute[0].t.data_type for n in tuned.graph.node if n.op_type == "Constant"}
    assert constants[name] == constants["fc.bias"] == TYPES[stored]
    session = onnxruntime.InferenceSession(tmp_path / "tuned.onnx", providers=["CPUExecutionProvider"])
    z = x @ place(weights[name]).astype(np.float64) + weights["fc.bias"]
    assert relative_error(session.run(None, {"x": images})[0], z) < (2e-3 if stored == np.float16 else 1e-6)
