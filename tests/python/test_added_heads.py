"""A classifier that is put behind features: pooled over all axes but that of the channels, wherever that lies, or refused.

ONNX's reference evaluator gives the features of the backbone, numpy the mean and the linear layer.
"""
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, Bundle, relative_error
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from test_constants import IMAGES, Network

NEW = 5


def maps(net):
    return net.node("Relu", net.node("Conv", "x", net.weight(4, 2, 3, 3, links=0), net.weight(4, links=0)))


def tokens(net):
    return net.node("Transpose", net.node("Reshape", maps(net), net.ints(0, 4, 16)), perm=[0, 2, 1])


# The output, its shape, and the axis of its channels.
BACKBONES = {
    "maps": (maps, (4, 4, 4), 1),
    "maps with their channels last": (lambda net: net.node("Transpose", maps(net), perm=[0, 2, 3, 1]), (4, 4, 4), 3),
    "pooled, channels last": (lambda net: net.node("Transpose", net.node("GlobalAveragePool", maps(net)), perm=[0, 2, 3, 1]), (1, 1, 4), 3),
    "pooled partly, channels last": (lambda net: net.node("ReduceMean", net.node("Transpose", maps(net), perm=[0, 2, 3, 1]), axes=[1], keepdims=0), (4, 4), 2),
    "scaled, channels last": (
        lambda net: net.node("Mul", net.node("LpNormalization", net.node("Transpose", maps(net), perm=[0, 2, 3, 1]), axis=-1), net.constant(1 + net.draw(4), "g")),
        (4, 4, 4),
        3,
    ),
    "tokens": (tokens, (16, 4), 2),
    "projected tokens": (lambda net: net.node("Add", net.node("MatMul", tokens(net), net.weight(4, 6, links=0)), net.weight(6, links=0)), (16, 6), 2),
    "one token": (lambda net: net.node("Unsqueeze", net.node("Flatten", net.node("GlobalAveragePool", maps(net))), net.ints(1)), (1, 4), 2),
    "channels and places": (lambda net: net.node("Reshape", maps(net), net.ints(0, 4, -1)), (4, 16), 1),
    "joined maps": (lambda net: net.node("Concat", maps(net), maps(net), axis=1), (8, 4, 4), 1),
    "pooled maps with their channels last": (lambda net: net.node("Transpose", net.node("MaxPool", net.node("Dropout", maps(net)), kernel_shape=[2, 2]), perm=[0, 2, 3, 1]), (3, 3, 4), 3),
    "a channel alone": (lambda net: net.node("ReduceMean", maps(net), axes=[1], keepdims=1), None, None),
    "mixed": (lambda net: net.node("Reshape", maps(net), net.ints(0, 8, 8)), None, None),
}


def model(net, y, shape, dtype=TensorProto.DOUBLE):
    """The network with that output, and with its numbers in that type."""
    ports = [helper.make_tensor_value_info("x", dtype, ["N", *IMAGES[1:]]), helper.make_tensor_value_info(y, dtype, ["N", *(shape or [None, None])])]
    numbers = helper.tensor_dtype_to_np_dtype(dtype)
    tensors = [numpy_helper.from_array(t.astype(numbers) if t.dtype.kind == "f" else t, n) for n, t in net.tensors.items()]
    return helper.make_model(helper.make_graph(net.nodes, "backbone", ports[:1], ports[1:], tensors), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def added(file, folder):
    onnx.save(file, folder / "model.onnx")
    command = [BINARY, "rewrite", folder / "model.onnx", "-o", folder / "bundle", "--batch", IMAGES[0], "--penalty", "none", "--classes", NEW, "--add-head"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert "panicked" not in done.stderr, done.stderr
    return (Bundle(folder / "bundle"), done.stdout) if done.returncode == 0 else (None, done.stderr)


def expected(features, axis, weight, bias):
    places = tuple(a for a in range(1, features.ndim) if a != axis)
    return features.mean(places) @ weight.T + bias


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_head_reads_the_mean_over_all_but_the_channels(kind, tmp_path):
    make, shape, axis = BACKBONES[kind]
    net = Network(41)
    y = make(net)
    file = model(net, y, shape if shape else {"mixed": (8, 8)}.get(kind, (1, 4, 4)))
    bundle, said = added(file, tmp_path)
    if shape is None:
        assert bundle is None and "along which axis its channels lie" in said and "export the model up to features [N, D]" in said, said
        return
    assert bundle, said
    places = [a for a in range(1, len(shape) + 1) if a != axis and np.prod(shape) != shape[axis - 1]]
    assert ("behind the mean over" in said) == bool(places), said
    images, state = net.rng.standard_normal(IMAGES), bundle.start()
    found = next(iter(bundle.graph("eval")(state | {"x": images}).values()))
    features = ReferenceEvaluator(file).run(None, {"x": images})[0]
    assert relative_error(found, expected(features, axis, state["head.weight"], state["head.bias"])) < 1e-12


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16])
def test_a_head_of_half_precision(dtype, tmp_path):
    net = Network(42)
    y = net.node("Transpose", maps(net), perm=[0, 2, 3, 1])
    file = model(net, y, (4, 4, 4), dtype)
    bundle, said = added(file, tmp_path)
    assert bundle, said
    images, state = net.rng.standard_normal(IMAGES).astype(np.float32), bundle.start()
    assert state["head.weight"].dtype == np.float32
    found = next(iter(bundle.graph("eval")(state | {"x": images}).values()))
    features = ReferenceEvaluator(file).run(None, {"x": images.astype(np.float16)})[0].astype(np.float64)
    assert relative_error(found, expected(features, 3, state["head.weight"], state["head.bias"])) < 1e-2
    command = [BINARY, "export", tmp_path / "bundle", "-o", tmp_path / "tuned.onnx"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tuned = onnx.load(tmp_path / "tuned.onnx")
    onnx.checker.check_model(tuned, full_check=True)
    assert {t.data_type for t in tuned.graph.initializer if t.name.startswith("head.")} == {dtype}
