"""Losses on what the network computes, beside a replaced head: against the source model itself in ONNX Runtime, and by differences."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import ENTRIES, FIXTURES, Bundle, read_tensors, relative_error, rewrite_fixture, spgraph
from onnx import numpy_helper
from test_checker import demand_valid

LR = 0.05


def bundle_of(name, folder, *options, mode="frozen", split=False):
    """With a new head for four classes and the batch of the fixture's golden file."""
    entry = ENTRIES[name]
    live = ("--batch-norm", mode) if "train" in entry["batch_norm"] else ()
    spgraph("rewrite", FIXTURES / entry["file"], "-o", folder, "--batch", entry["input_shape"][0], "--classes", 4, *live, *options, *(("--split",) if split else ()))
    return Bundle(folder)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def moved(bundle, seed=3, size=0.05):
    """A state away from the start: parameters and statistics, each by a little; variances stay positive."""
    start, generator = bundle.start(), np.random.default_rng(seed)
    noise = {n: size * generator.normal(size=start[n].shape) for n in bundle.named("shared", "new")}
    return start | {n: (start[n] + noise[n]).astype(start[n].dtype) for n in noise}


def source_outputs(name, images, values, outputs):
    """Outputs of the source model, whose own head stays, with other values for the tensors in `values`."""
    model = onnx.load(FIXTURES / ENTRIES[name]["file"])
    for tensor in model.graph.initializer:
        if tensor.name in values and list(values[tensor.name].shape) == list(tensor.dims):
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    known = {o.name for o in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in outputs if n not in known)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs or [model.graph.output[0].name], {session.get_inputs()[0].name: images.astype(np.float32)})


def shared_values(bundle, state):
    return {n: state[n] for n in bundle.named("shared", "buffer")}


@pytest.mark.parametrize("name", ["basic", "tokens", "resnet18"])
def test_lwf_compares_the_old_classifier_before_and_after(name, tmp_path):
    bundle = bundle_of(name, tmp_path / "bundle", "--regularizer", "lwf=4", "--temperature", 2)
    tensors, state = read_tensors(ENTRIES[name]["golden"]), moved(bundle)
    found = bundle.graph("step")(bundle.feeds(state, tensors["input"], tensors["target"] % 4, beta=0))["penalty"]
    before, after = (source_outputs(name, tensors["input"], v, [])[0].astype(np.float64) for v in ({}, shared_values(bundle, state)))
    p, q = softmax(before / 2), softmax(after / 2)
    expected = 4 * (p * np.log(p / q)).sum(1).mean()
    assert expected > 1e-4 and relative_error(found, expected) < 1e-3


def test_delta_compares_the_feature_maps_before_and_after(tmp_path):
    name, layer = "resnet18", "layer2.1.conv2.weight"
    bundle = bundle_of(name, tmp_path / "bundle", "--regularizer", "delta=3", "--delta-layers", layer)
    model = onnx.load(FIXTURES / ENTRIES[name]["file"])
    weight = next(s["name"] for s in bundle.state if s["alias"] == layer)
    output = next(n.output[0] for n in model.graph.node if weight in n.input)
    tensors, state = read_tensors(ENTRIES[name]["golden"]), moved(bundle)
    found = bundle.graph("step")(bundle.feeds(state, tensors["input"], tensors["target"] % 4, beta=0))["penalty"]
    before, after = (source_outputs(name, tensors["input"], v, [output])[0].astype(np.float64) for v in ({}, shared_values(bundle, state)))
    expected = 3 * 0.5 * ((after - before) ** 2).mean((2, 3)).sum(1).mean()
    assert expected > 1e-4 and relative_error(found, expected) < 1e-4


@pytest.mark.parametrize("kind", ["delta", "bss", "lwf"])
def test_gradients_are_those_of_the_value(kind, tmp_path):
    """In float64, with a new head and batch statistics: the directional derivative of `regularizer` from differences."""
    bundle = bundle_of("float64.bn", tmp_path / "bundle", "--regularizer", f"{kind}=1", mode="train", split=True)
    plain = bundle_of("float64.bn", tmp_path / "plain", "--penalty", "none", mode="train", split=True)
    tensors, state = read_tensors(ENTRIES["float64.bn"]["golden"]), moved(bundle)
    target, generator = tensors["target"] % 4, np.random.default_rng(1)
    grad = bundle.graph("grad")
    at = lambda s: grad(bundle.feeds(s, tensors["input"], target))
    own = bundle.gradients(at(state))
    data = plain.gradients(plain.graph("grad")(plain.feeds(state, tensors["input"], target)))
    direction = {n: generator.normal(size=state[n].shape) for n in own}
    size = 1e-5
    ends = [float(at(state | {n: state[n] + sign * size * d for n, d in direction.items()})["regularizer"]) for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * size)
    found = sum(((own[n] - data[n]) * direction[n]).sum() for n in own)
    assert abs(expected) > 1e-4 and abs(found - expected) < 1e-5 * abs(expected), (found, expected)


@pytest.mark.parametrize("dialect", ["functions", "inlined"])
@pytest.mark.parametrize("name,mode,kinds", [("basic.bn", "train", ("delta", "bss", "lwf")), ("resnet50.bn", "frozen", ("delta", "lwf")), ("tokens", "frozen", ("lwf",)), ("conv_head", "frozen", ("bss", "lwf"))])
def test_every_emitted_model_is_valid(name, mode, kinds, dialect, tmp_path):
    options = [part for kind in kinds for part in ("--regularizer", kind)]
    bundle = bundle_of(name, tmp_path, "--dialect", dialect, *options, mode=mode, split=True)
    demand_valid(bundle, {"dialect": ("--dialect", dialect), "split": ("--split",), "weights": ()})
    functions = {f.name.split("_")[0] for f in onnx.load(bundle.folder / "step.onnx").functions}
    assert dialect == "inlined" or {f"{k.capitalize()}Penalty" for k in kinds} <= functions


def test_gradients_then_apply_is_one_step(tmp_path):
    options = ("--regularizer", "delta=0.5", "--regularizer", "lwf", "--regularizer", "bss=0.1", "--penalty", "l2-sp")
    bundle = bundle_of("basic.bn", tmp_path, *options, mode="train", split=True)
    tensors, state = read_tensors(ENTRIES["basic.bn"]["golden"]), moved(bundle)
    feeds = bundle.feeds(state, tensors["input"], tensors["target"] % 4, lr=LR)
    whole, gradients = bundle.graph("step")(feeds), bundle.graph("grad")(feeds)
    halves = bundle.graph("apply")(feeds | gradients)
    np.testing.assert_allclose(halves["penalty"] + gradients["regularizer"], whole["penalty"], rtol=1e-5)
    after = bundle.next_state(gradients | halves)
    for name, value in bundle.next_state(whole).items():
        np.testing.assert_allclose(after[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_padding_does_not_count(tmp_path):
    """Rows with target -1 change nothing, whatever image they hold."""
    bundle = bundle_of("vgg", tmp_path, "--regularizer", "delta", "--delta-layers", "3.weight", "--regularizer", "bss=1", "--regularizer", "lwf")
    tensors, state = read_tensors(ENTRIES["vgg"]["golden"]), moved(bundle)
    target = tensors["target"] % 4
    target[1] = -1
    other = tensors["input"].copy()
    other[1] = 3.0
    step = bundle.graph("step")
    a, b = (step(bundle.feeds(state, images, target)) for images in (tensors["input"], other))
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_manifest_says_what_is_there(tmp_path):
    bundle = bundle_of("resnet18", tmp_path, "--regularizer", "delta", "--regularizer", "bss=0.01", "--bss-k", 2, "--regularizer", "lwf", "--temperature", 2)
    layers = [f"layer{n}.1.conv2.weight" for n in (1, 2, 3, 4)]
    assert bundle.manifest["regularizers"] == [
        {"kind": "delta", "layers": layers}, {"kind": "bss", "singular_values": 2}, {"kind": "lwf", "temperature": 2.0},
    ]  # fmt: skip
    assert "regularizers" not in rewrite_fixture("vgg", tmp_path / "plain").manifest
    assert json.dumps(bundle.manifest).count("0.01") >= 1
