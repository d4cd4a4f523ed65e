"""Sizes of images that a model declares, leaves open, or does not have at all."""
import json
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, ENTRIES, FIXTURES, mismatches, rewrite, spgraph
from onnxruntime import InferenceSession

NAME = "basic.bn"


def sized(path, change):
    """The fixture, its input changed."""
    model = onnx.load(FIXTURES / ENTRIES[NAME]["file"])
    change(model.graph.input[0].type.tensor_type)
    onnx.save(model, path)
    return model


def fixed(t):
    for dim, size in zip(t.shape.dim[2:], ENTRIES[NAME]["input_shape"][2:]):
        dim.dim_value = size


def opened(t):
    for dim, name in zip(t.shape.dim[2:], ("height", "width")):
        dim.dim_param = name


@pytest.mark.parametrize("change", [fixed, opened, lambda t: t.ClearField("shape")], ids=["fixed", "open", "none"])
def test_other_sizes_are_taken_where_the_network_allows_them(change, tmp_path):
    sized(tmp_path / "model.onnx", change)
    bundle = rewrite(tmp_path / "model.onnx", tmp_path / "bundle", "--input-shape", "3x40x33", batch=2)
    assert bundle.manifest["data"]["input"]["shape"] == [2, 3, 40, 33]
    images = np.random.default_rng(0).standard_normal((2, 3, 40, 33), np.float32)
    opened_model = sized(tmp_path / "open.onnx", lambda t: t.ClearField("shape"))
    session = InferenceSession(opened_model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0].name
    found = next(iter(bundle.graph("eval")(bundle.start() | {given: images}).values()))
    assert not mismatches({"logits": found}, {"logits": session.run(None, {given: images})[0]}, 1e-5)
    # The export takes them, too.
    spgraph("export", tmp_path / "bundle", "-o", tmp_path / "tuned.onnx")
    tuned = InferenceSession(tmp_path / "tuned.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(tuned.run(None, {given: images})[0], found, rtol=1e-4, atol=1e-5)


def test_inspect_chooses_sizes_and_says_so(tmp_path):
    sized(tmp_path / "model.onnx", opened)
    printed = spgraph("inspect", tmp_path / "model.onnx")
    assert "leaves the sizes of its input open; this is for 3x224x224" in printed
    found = json.loads(spgraph("inspect", tmp_path / "model.onnx", "--json"))
    assert found["assumed_shape"] == [3, 224, 224] and found["head"] is not None


def test_sizes_that_do_not_go_through_are_refused(tmp_path):
    sized(tmp_path / "model.onnx", fixed)
    command = [BINARY, "rewrite", tmp_path / "model.onnx", "--input-shape", "4x40x40", "-o", tmp_path / "bundle"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert "--input-shape 4x40x40 does not go through the network, which declares 3x" in result.stderr and "Conv (node `" in result.stderr
    assert not (tmp_path / "bundle").exists()
