"""`spgraph attention` against brute force: a model whose filter is switched off by hand, evaluated by `spgraph eval`."""
import json

import numpy as np
import onnx
from harness import spgraph
from onnx import helper, numpy_helper
from safetensors import safe_open

LAYER = "layer1.2.conv2.weight"


def without(model, channel, path):
    """The model with the output channel of the layer set to 0, behind the convolution."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    nodes = changed.graph.node
    at = next(i for i, n in enumerate(nodes) if LAYER in n.input)
    output = nodes[at].output[0]
    mask = np.ones((1, 16, 1, 1), np.float32)
    if channel is not None:
        mask[0, channel] = 0
    changed.graph.initializer.append(numpy_helper.from_array(mask, "mask"))
    nodes[at].output[0] = "unmasked"
    nodes.insert(at + 1, helper.make_node("Mul", ["unmasked", "mask"], [output], "mask"))
    onnx.save(changed, path)
    return path


def test_weights_are_those_of_the_rising_losses(tmp_path):
    model, images = tmp_path / "m.onnx", tmp_path / "images"
    spgraph("new", "resnet20", "--classes", 3, "--input", "3x16x16", "-o", model)
    spgraph("synth", "--task", "target-b", "--per-class", 3, "--size", 16, "-o", images)
    spgraph("rewrite", model, "--classes", 5, "--train", "fc.*", "--penalty", "none", "--batch", 5, "-o", tmp_path / "head.spgraph")
    spgraph("finetune", tmp_path / "head.spgraph", "--data", images, "--steps", 8, "--lr", 0.001, "-o", tmp_path / "head")
    file = tmp_path / "attention.safetensors"
    # 15 images in batches of 4: the last one is filled up.
    result = json.loads(spgraph("attention", tmp_path / "head", "--data", images, "--delta-layers", LAYER, "--batch", 4, "--images", 100, "-o", file, "--json"))
    spgraph("export", tmp_path / "head", "-o", tmp_path / "tuned.onnx")
    tuned = onnx.load(tmp_path / "tuned.onnx")
    loss = lambda channel: json.loads(spgraph("eval", without(tuned, channel, tmp_path / "off.onnx"), "--data", images, "--json"))["loss"]
    base = loss(None)
    rises = np.array([loss(c) for c in range(16)]) - base
    assert result["images"] == 15 and abs(result["loss"] - base) < 1e-5
    assert rises.std() > 1e-3 and result["layers"][0]["channel"] == rises.argmax()
    assert abs(result["layers"][0]["largest_rise"] - rises.max()) < 1e-4
    z = (rises - rises.mean()) / rises.std()
    expected = 16 * np.exp(z / 5) / np.exp(z / 5).sum()
    with safe_open(file, "np") as tensors:
        assert list(tensors.keys()) == [LAYER]
        np.testing.assert_allclose(tensors.get_tensor(LAYER), expected, rtol=2e-3)
        assert json.loads(tensors.metadata()["spgraph"])["images"] == 15
