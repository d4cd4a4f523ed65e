"""Transposed convolutions whose pads follow from `auto_pad` or `output_shape`: generated members, beside ONNX Runtime on the model itself."""
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, Bundle
from onnx import TensorProto, helper, numpy_helper


def member(seed):
    """A network with one of them, and the sizes of its images."""
    rng = np.random.default_rng(seed)
    group = int(rng.integers(1, 3))
    sizes, kernel = rng.integers(3, 7, 2), rng.integers(1, 5, 2)
    strides, dilations = rng.integers(1, 4, 2), rng.integers(1, 3, 2)
    # ONNX allows up to the dilation as well, ONNX Runtime does not.
    padding = np.array([rng.integers(0, s) for s in strides])
    full = (sizes - 1) * strides + (kernel - 1) * dilations + 1 + padding
    attributes = {"strides": strides, "dilations": dilations, "output_padding": padding, "group": group}
    mode = ["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"][seed % 4]
    if mode != "NOTSET":
        attributes["auto_pad"] = mode
    if mode == "NOTSET" or (mode != "VALID" and seed % 8 >= 4):
        attributes["output_shape"] = np.maximum(1, full - rng.integers(0, 4, 2))
    weights = {
        "conv.weight": rng.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "up.weight": rng.normal(size=(4, 3, *kernel)).astype(np.float32),
        "up.bias": rng.normal(size=3 * group).astype(np.float32),
        "fc.weight": rng.normal(size=(3 * group, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "up.weight", "up.bias"], ["b"], **{n: v if n == "auto_pad" or n == "group" else [int(k) for k in v] for n, v in attributes.items()}),
        # Places matter, so that pads at the other end would show.
        helper.make_node("Sigmoid", ["b"], ["c"]),
        helper.make_node("CumSum", ["c", "axis"], ["d"]),
        helper.make_node("Tanh", ["d"], ["e"]),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["g"]),
        helper.make_node("MatMul", ["g", "fc.weight"], ["z"]),
    ]
    stored = [numpy_helper.from_array(t, n) for n, t in weights.items()] + [numpy_helper.from_array(np.array(2, np.int64), "axis")]
    ports = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, *map(int, sizes)]), helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "net", [ports[0]], [ports[1]], stored)
    reached = mode in ("NOTSET", "VALID") or "output_shape" in attributes or bool((full >= sizes * strides).all())
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), rng.normal(size=(2, 2, *sizes)).astype(np.float32), reached


@pytest.mark.parametrize("seed", range(48))
def test_what_is_taken_is_what_onnx_runtime_computes(seed, tmp_path):
    model, images, reached = member(seed)
    onnx.save(model, tmp_path / "model.onnx")
    expected = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, {"x": images})[0]
    done = subprocess.run([BINARY, "rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--batch", "2", "--head", "keep"], capture_output=True, text=True)
    # Where the windows do not reach as far as `auto_pad` asks for, runtimes give less than the specification says.
    assert (done.returncode == 0) == reached, done.stderr
    if not reached:
        assert "export it with explicit pads" in done.stderr
        return
    bundle = Bundle(tmp_path / "bundle")
    found = bundle.graph("eval")(bundle.feeds(bundle.start(), images, np.zeros(2, np.int64)))
    np.testing.assert_allclose(found["z"], expected, rtol=1e-5, atol=1e-6)
