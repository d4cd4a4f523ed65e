"""The starting point as inputs of the step: the same bits as with constants, and with another one what numpy computes."""
import json
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, FIXTURES, ENTRIES, Graph, read_tensors, rewrite_fixture, spgraph

KINDS = {
    "l2-sp": ["--alpha", "0.1"],
    "prox": ["--alpha", "0.1", "--prox"],
    "l1-sp": ["--alpha", "0.1"],
    "gl-sp": ["--alpha", "0.1"],
    "spd": ["--spd", "0.1"],
    "delta": ["--regularizer", "delta", "--regularizer", "lwf"],
}


def made(tmp_path, kind, form, *options):
    penalty = kind if "sp" in kind and kind != "spd" else {"prox": "l1-sp"}.get(kind, "l2-sp")
    return rewrite_fixture("basic.bn", tmp_path / form, "--start", form, *KINDS[kind], *options, mode="train", penalty=penalty)


def starts(bundle):
    start = bundle.start()
    return {s["start"]: start[s["name"]] for s in bundle.state if "start" in s}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_start_gives_the_same_bits(tmp_path, kind):
    constant, given = made(tmp_path, kind, "constant"), made(tmp_path, kind, "input")
    golden = read_tensors(ENTRIES["basic.bn"]["golden"])
    assert not starts(constant) and starts(given)
    results, options = [], onnxruntime.SessionOptions()
    if kind == "delta":
        # Of a source network that is all constants the runtime fuses BatchNorm into convolutions, and rounds otherwise then.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for bundle in (constant, given):
        step, state = bundle.graph("step"), bundle.start()
        step.runner = onnxruntime.InferenceSession(bundle.folder / "step.onnx", options, providers=["CPUExecutionProvider"])
        for _ in range(3):
            outputs = step(bundle.feeds(state, golden["input"], golden["target"]) | starts(bundle))
            state = bundle.next_state(outputs)
        results.append(state)
    for name in results[0]:
        assert np.array_equal(results[0][name], results[1][name]), name


def test_another_start_pulls_there(tmp_path):
    """A step from w with the anchor u: w − lr·(g + α·(w − u)), in float64."""
    bundle = made(tmp_path, "l2-sp", "input", "--momentum", "0", "--split")
    golden = read_tensors(ENTRIES["basic.bn"]["golden"])
    random = np.random.default_rng(0)
    state, anchors = bundle.start(), {n: random.standard_normal(t.shape).astype(t.dtype) for n, t in starts(bundle).items()}
    feeds = bundle.feeds(state, golden["input"], golden["target"]) | anchors
    outputs = bundle.graph("step")(feeds)
    gradients = bundle.gradients(bundle.graph("grad")(feeds))
    applied = bundle.graph("apply")(feeds | {s["gradient"]: gradients[s["name"]] for s in bundle.state if "gradient" in s})
    scalars = {s["meaning"]: s["default"] for s in bundle.manifest["scalars"] if isinstance(s["meaning"], str)}
    pulled = 0
    for s in bundle.state:
        if s["role"] != "shared":
            continue
        w, g = state[s["name"]].astype(np.float64), gradients[s["name"]].astype(np.float64)
        if s["penalized"]:
            g = g + scalars["alpha"] * (w - anchors[s["start"]].astype(np.float64))
            assert scalars["learning-rate"] * scalars["alpha"] * abs(w - anchors[s["start"]]).max() > 1e-4
            pulled += 1
        expected = w - scalars["learning-rate"] * g
        # Rounding of w to float32, and of the step.
        allowed = 1.2e-7 * abs(w).max() + 1e-4 * abs(expected - w).max()
        for found in (outputs, applied):
            assert abs(found[s["output"]] - expected).max() < allowed, s["name"]
    assert pulled == len(anchors) > 0


def test_fine_tuning_feeds_the_recorded_start(tmp_path):
    """`spgraph finetune` on both engines and with a first phase of the head alone: the same weights."""
    spgraph("synth", "--task", "target-a", "--per-class", "4", "--size", "16", "-o", tmp_path / "photos")
    for engine in (["--engine", "ort"], ["--engine", "tract"]):
        states = []
        for form in ("constant", "input"):
            folder = tmp_path / f"{engine[-1]}-{form}"
            spgraph("rewrite", FIXTURES / ENTRIES["basic.bn"]["file"], "-o", f"{folder}.spgraph", "--classes", 6, "--batch", 4, "--start", form, "--batch-norm", "train")
            spgraph("finetune", f"{folder}.spgraph", "--data", tmp_path / "photos", "--steps", 4, "--head-first", 1, "-o", folder, *engine)
            states.append((folder / "state.safetensors").read_bytes()[-4096:])
        assert states[0] == states[1], engine


def test_names_that_cannot_be_told_apart_are_refused(tmp_path):
    model = onnx.load(FIXTURES / ENTRIES["basic.bn"]["file"])
    weight = next(t.name for n in model.graph.node if n.op_type == "Conv" for t in model.graph.initializer if t.name == n.input[1])
    old = model.graph.node[0].output[0]
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [f"{weight}.start" if n == old else n for n in names]
    onnx.save(model, tmp_path / "model.onnx")
    done = subprocess.run([str(BINARY), "rewrite", str(tmp_path / "model.onnx"), "-o", str(tmp_path / "b"), "--start", "input", "--batch", "2"], capture_output=True, text=True)
    assert done.returncode != 0 and f"{weight}.start" in done.stderr and "--start" in done.stderr, done.stderr


def test_artifacts_have_the_start_as_a_default(tmp_path):
    bundle = made(tmp_path, "l2-sp", "input")
    spgraph("convert", tmp_path / "input", "--to", "single", "-o", tmp_path / "one.onnx")
    golden = read_tensors(ENTRIES["basic.bn"]["golden"])
    single, data = Graph(tmp_path / "one.onnx"), bundle.manifest["data"]
    found = dict(zip(single.outputs, single.runner.run(None, {data["input"]["name"]: golden["input"], data["target"]["name"]: golden["target"]})))
    expected = bundle.graph("step")(bundle.feeds(bundle.start(), golden["input"], golden["target"]) | starts(bundle))
    for s in bundle.state:
        assert np.allclose(found[s["output"]], expected[s["output"]], rtol=1e-5, atol=1e-7), s["name"]
    assert json.loads((tmp_path / "input" / "manifest.json").read_text())["rewriting"]["options"]["start"] == "input"
