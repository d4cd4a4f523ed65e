"""ONNX's own tests of single operators, each inside a small network: what is taken computes in `eval.onnx` the results that ONNX expects.

Every seventeenth of them in a run of the tests; `NODE_MODELS=all` for all (`make stress`), `NODE_MODELS=resize` for those with that in their names.
"""
import os
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, Bundle
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

ONLY = os.environ.get("NODE_MODELS", "")
STRIDE = 17
PLAIN = {np.dtype(t) for t in ("float32", "float64", "int64", "int32", "bool", "uint8", "int8")}


def ordinary(case):
    """Whether it is of tensors that a network for images could have."""
    inputs, outputs = case.data_sets[0]
    return all(isinstance(t, (np.ndarray, np.generic)) and np.asarray(t).dtype in PLAIN for t in [*inputs, *outputs])


OTHERWISE = {
    # Exported in training mode, and taken as it is in inference.
    "test_training_dropout", "test_training_dropout_default",
    *(FRACTIONS := {"test_resize_downsample_scales_cubic_align_corners", "test_resize_downsample_scales_linear_align_corners"}),
}  # fmt: skip


def chosen():
    cases = sorted((c for c in collect_testcases() if ordinary(c) and c.name not in OTHERWISE), key=lambda c: c.name)
    if ONLY:
        return [c for c in cases if ONLY == "all" or ONLY in c.name]
    return cases[::STRIDE]


CASES = chosen()


def network(case):
    """The test's graph behind a convolution by 1, whose image is the first floating-point input, and before a linear layer."""
    inputs, outputs = (list(map(np.asarray, tensors)) for tensors in case.data_sets[0])
    graph = case.model.graph
    names = [i.name for i in graph.input]
    driven = next((k for k, t in enumerate(inputs) if t.dtype == np.float32 and t.size), None)
    image = inputs[driven].reshape(1, 1, 1, -1) if driven is not None else np.ones((1, 1, 1, 4), np.float32)
    constants = {n: t for k, (n, t) in enumerate(zip(names, inputs)) if k != driven}
    made = {t.name for t in graph.initializer}
    rng = np.random.default_rng(0)
    constants |= {"net.conv.weight": np.ones((1, 1, 1, 1), np.float32), "net.row": np.array([1, -1])}
    nodes = [helper.make_node("Conv", ["net.image", "net.conv.weight"], ["net.features"])]
    if driven is not None:
        constants["net.shape"] = np.array(inputs[driven].shape, np.int64)
        nodes.append(helper.make_node("Reshape", ["net.features", "net.shape"], [names[driven]]))
    nodes += list(graph.node)
    rows = ["net.features"]
    for output, t in zip(graph.output, outputs):
        if t.size:
            nodes.append(helper.make_node("Cast", [output.name], [f"net.float.{output.name}"], to=TensorProto.FLOAT))
            rows.append(f"net.float.{output.name}")
    widths = [image.size, *(t.size for t in outputs if t.size)]
    for k, row in enumerate(rows):
        nodes.append(helper.make_node("Reshape", [row, "net.row"], [f"net.row.{k}"]))
    nodes.append(helper.make_node("Concat", [f"net.row.{k}" for k in range(len(rows))], ["net.rows"], axis=1))
    constants["net.fc.weight"] = rng.normal(0, 0.1, (sum(widths), 3)).astype(np.float32)
    nodes.append(helper.make_node("MatMul", ["net.rows", "net.fc.weight"], ["net.logits"]))
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("net.image", image.shape), ("net.logits", (1, 3)))]
    initializers = [*graph.initializer, *(numpy_helper.from_array(t, n) for n, t in constants.items() if n not in made)]
    whole = helper.make_graph(nodes, case.name, ports[:1], [ports[1], *graph.output], initializers)
    model = helper.make_model(whole, opset_imports=case.model.opset_import, functions=case.model.functions)
    model.ir_version = case.model.ir_version
    return model, image, {o.name: t for o, t in zip(graph.output, outputs)}


def differences(found, expected, rtol):
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return f"{found.dtype} {found.shape} for {expected.dtype} {expected.shape}"
    with np.errstate(invalid="ignore"):
        close = np.isclose(found.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=1e-5, equal_nan=True)
    return "" if close.all() else f"{found[~close][:5]} for {expected[~close][:5]}"


def taken(case, folder):
    """The bundle of the case's network, or what was said instead, the image and the results that are expected."""
    model, image, expected = network(case)
    onnx.save(model, folder / "model.onnx")
    command = [BINARY, "rewrite", folder / "model.onnx", "-o", folder / "bundle", "--batch", 1, "--head", "keep", "--penalty", "none", "--output", "net.logits"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode in (0, 1) and "panicked" not in done.stderr and "of spgraph itself" not in done.stderr, done.stderr
    return (Bundle(folder / "bundle") if done.returncode == 0 else done.stderr), image, expected


@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_what_is_taken_is_what_onnx_expects(case, tmp_path):
    bundle, image, expected = taken(case, tmp_path)
    if isinstance(bundle, str):
        pytest.skip(bundle.splitlines()[0][:200])
    feeds = bundle.feeds(bundle.start(), image, np.zeros(1, np.int64))
    found = bundle.graph("eval")(feeds)
    wrong = {n: differences(found[n], t, case.rtol) for n, t in expected.items()}
    assert not any(wrong.values()), wrong


def by_the_text(x, scale, weights):
    """What the specification of Resize says of `align_corners`: `x_original = x_resized * (length_original - 1) / (length_resized - 1)`, where `length_resized` is
    the length of the resized tensor. The target length that may be a fraction, 2.4 pixels here, has another name there, `output_width`."""
    for axis in (2, 3):
        n = x.shape[axis]
        length = int(n * scale[axis])
        rows = []
        for i in range(length):
            at = i * (n - 1) / (length - 1) if length > 1 else 0.0
            below = int(np.floor(at))
            rows.append(sum(w * np.take(x, np.clip(below + k, 0, n - 1), axis) for k, w in weights(at - below)))
        x = np.stack(rows, axis)
    return x


def linear(t):
    return [(0, 1 - t), (1, t)]


def cubic(t, a=-0.75):
    def keys(d):
        return ((a + 2) * d - (a + 3)) * d * d + 1 if d <= 1 else ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [(k, keys(abs(k - t))) for k in (-1, 0, 1, 2)]


@pytest.mark.parametrize("name", sorted(FRACTIONS))
def test_corners_are_aligned_by_the_specification_s_text(name, tmp_path):
    """Here ONNX's own results, of its reference evaluator, count the fraction; the text, ONNX Runtime and PyTorch count whole pixels."""
    case = next(c for c in collect_testcases() if c.name == name)
    x, scale = (np.asarray(t) for t in case.data_sets[0][0] if np.asarray(t).size)
    expected = by_the_text(x.astype(np.float64), scale, linear if "linear" in name else cubic)
    runtime = onnxruntime.InferenceSession(case.model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = runtime.run(None, dict(zip([i.name for i in case.model.graph.input], [x, scale])))[0]
    assert abs(found - expected).max() < 1e-5
    bundle, image, outputs = taken(case, tmp_path)
    assert not isinstance(bundle, str), bundle
    found = bundle.graph("eval")(bundle.feeds(bundle.start(), image, np.zeros(1, np.int64)))
    assert abs(found[next(iter(outputs))] - expected).max() < 1e-5
