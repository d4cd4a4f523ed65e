"""PyTorch's default export, which writes the batch of 1 into shapes: the batch is freed, and what cannot be freed is refused."""
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, ENTRIES, FIXTURES, mismatches, rewrite
from onnx import TensorProto, helper, numpy_helper

ONE_IMAGE = [name for name in ENTRIES if name.endswith(".one_image")]


@pytest.mark.parametrize("name", ONE_IMAGE)
@pytest.mark.parametrize("batch", [2, "dynamic"])
def test_every_image_gets_what_the_file_gives(name, batch, tmp_path):
    """`eval.onnx` on three images against the exported file itself, which takes one at a time."""
    path = FIXTURES / ENTRIES[name]["file"]
    images = np.random.default_rng(0).standard_normal((3, *ENTRIES[name]["input_shape"][1:]), np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    expected = np.concatenate([session.run(None, {given: image[None]})[0] for image in images])
    bundle = rewrite(path, tmp_path / "bundle", batch=batch)
    outputs = bundle.graph("eval")(bundle.start() | {given: images})
    found = next(iter(outputs.values()))
    lines = mismatches({"logits": found}, {"logits": expected}, 1e-5)
    assert not lines, "\n".join(lines)


def coupled(path, shape):
    """Features are compared with their mean over the batch: for one image that is nothing, for two it mixes them."""
    rng = np.random.default_rng(1)
    tensors = {"w": rng.standard_normal((8, 3, 3, 3)), "fc": rng.standard_normal((5, 8)), "b": rng.standard_normal(5)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Reshape", ["p", "shape"], ["f"]),
        helper.make_node("ReduceMean", ["f"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Add", ["f", "m"], ["d"]),
        helper.make_node("Gemm", ["d", "fc", "b"], ["y"], transB=1),
    ]
    initializers = [numpy_helper.from_array(t.astype(np.float32), n) for n, t in tensors.items()]
    initializers.append(numpy_helper.from_array(np.array(shape, np.int64), "shape"))
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 9, 9])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])]
    graph = helper.make_graph(nodes, "coupled", *ports, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]), path)


@pytest.mark.parametrize("shape", [[1, 8], [1, -1]])
def test_what_mixes_images_is_refused(shape, tmp_path):
    coupled(tmp_path / "model.onnx", shape)
    command = [BINARY, "rewrite", tmp_path / "model.onnx", "--batch", "4", "-o", tmp_path / "bundle"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert "two images together do not give what each gives by itself" in result.stderr
    assert not (tmp_path / "bundle").exists()
