"""ONNX's own tests of single operators, each inside a small network: what is taken computes in `eval.onnx` the results that ONNX expects.

Every seventeenth of them in a run of the tests; `NODE_MODELS=all` for all (`make stress`), `NODE_MODELS=resize` for those with that in their names.
"""
import os
import subprocess

import numpy as np
import onnx
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
    # A length that is no whole number, 2.4 pixels, which ONNX Runtime rounds before it aligns the corners, and spgraph with it.
    "test_resize_downsample_scales_cubic_align_corners", "test_resize_downsample_scales_linear_align_corners",
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
