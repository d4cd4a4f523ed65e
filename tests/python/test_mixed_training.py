"""Trainings in mixed precision: as good as in float32, whatever stops them, and exported as what they were made of."""
import json
import os
import signal
import subprocess
import time

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, ENTRIES, FIXTURES, ROOT, read_tensors, relative_error, rewrite_fixture, spgraph
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

MODEL = ROOT / "models" / "resnet20-source.onnx"
STEPS = 40
TRAIN = ["--engine", "ort", "--threads", "1", "--workers", "1", "--log", "none", "--kernels", "standard", "--batch", "16", "--lr", "0.02", "--steps", STEPS]
PRECISIONS = ["mixed-f16", "rounded-bf16"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same training in each precision, and in float32 with two seeds."""
    work = tmp_path_factory.mktemp("runs")
    for name, seed in (("train", 0), ("other", 1)):
        spgraph("synth", "--task", "target-a", "--per-class", "16", "--seed", seed, "-o", work / name)
    kinds = {"float32": [], "seed": ["--seed", "1"]} | {p: ["--precision", p] for p in PRECISIONS}
    for name, options in kinds.items():
        spgraph("finetune", MODEL, "--data", work / "train", "--val-data", work / "other", "-o", work / f"run-{name}", *TRAIN, *options)
    return work


def records(run, kind):
    return [r for line in (run / "metrics.jsonl").read_text().splitlines() if (r := json.loads(line)).get("kind") == kind]


def losses(run):
    return np.array([r["data_loss"] for r in records(run, "step")])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_result_is_that_of_float32(precision, runs):
    found, expected, other = (losses(runs / f"run-{name}") for name in (precision, "float32", "seed"))
    assert len(found) == STEPS and np.isfinite(found).all()
    # Beside a curve whose batches come in another order: that is what noise is.
    apart, noise = (np.abs(curve - expected).mean() for curve in (found, other))
    assert 0 < apart < 0.02 * expected.mean() and apart < 0.2 * noise, f"{apart:.3g}, {noise:.3g} of {expected.mean():.3g}"
    accuracies = [records(runs / f"run-{name}", "validation")[-1]["accuracy"] for name in (precision, "float32")]
    assert accuracies[1] > 0.5 and abs(accuracies[0] - accuracies[1]) <= 3 / 96, accuracies


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_export_is_float32_and_the_runs_network(precision, runs, tmp_path):
    spgraph("export", runs / f"run-{precision}", "-o", tmp_path / "tuned.onnx")
    tuned, source = onnx.load(tmp_path / "tuned.onnx"), onnx.load(MODEL)
    kinds = {t.data_type for t in tuned.graph.initializer}
    assert kinds == {t.data_type for t in source.graph.initializer} and TensorProto.FLOAT16 not in kinds
    assert not any(n.op_type == "Cast" for n in tuned.graph.node)
    last = records(runs / f"run-{precision}", "validation")
    judged = json.loads(spgraph("eval", tmp_path / "tuned.onnx", "--data", runs / "other", "--engine", "ort", "--json"))
    assert judged["accuracy"] == pytest.approx(max(r["accuracy"] for r in last), abs=1e-9)


def test_a_source_of_half_precision_is_written_back_so(tmp_path):
    model = onnx.load(FIXTURES / ENTRIES["basic.bn"]["file"])
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for info in [*model.graph.input, *model.graph.output]:
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    onnx.save(model, tmp_path / "half.onnx")
    spgraph("synth", "--task", "target-b", "--per-class", "2", "-o", tmp_path / "images")
    options = ["--engine", "ort", "--threads", "1", "--log", "none", "--batch", "4", "--steps", "3", "--precision", "mixed-f16", "--lr", "0.1"]
    spgraph("finetune", tmp_path / "half.onnx", "--data", tmp_path / "images", "-o", tmp_path / "run", *options)
    spgraph("export", tmp_path / "run", "-o", tmp_path / "tuned.onnx")
    before, after = ({t.name: t for t in onnx.load(tmp_path / f).graph.initializer} for f in ("half.onnx", "tuned.onnx"))
    assert {n: t.data_type for n, t in before.items()} == {n: t.data_type for n, t in after.items()}
    state = load_file(tmp_path / "run" / "state.safetensors")
    moved = [n for n in before if n in state and before[n].raw_data != after[n].raw_data]
    assert moved
    for name in moved:
        np.testing.assert_array_equal(numpy_helper.to_array(after[name]), state[name].astype(np.float16))


def killed(arguments, run, steps):
    """Runs and kills without a warning, after that many steps."""
    process = subprocess.Popen([str(a) for a in (BINARY, *arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    metrics = run / "metrics.jsonl"
    while process.poll() is None and time.monotonic() < end:
        if metrics.exists() and metrics.read_text().count('"kind":"step"') >= steps:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.01)
    assert process.wait() == -signal.SIGKILL, "it had ended before"


def test_what_was_killed_goes_on_to_the_same_bits(tmp_path):
    """With the loss scale: it is in the checkpoint."""
    spgraph("synth", "--task", "target-b", "--per-class", "8", "-o", tmp_path / "images")
    bundle = rewrite_fixture("basic.bn", tmp_path / "bundle", "--precision", "mixed-f16", "--optimizer", "adamw", mode="train", batch=4)

    def train(name):
        run = tmp_path / name
        options = ["--engine", "ort", "--threads", "1", "--log", "none", "--steps", "400", "--lr", "0.001", "--checkpoint-every", "5"]
        return run, ["finetune", bundle.folder, "--data", tmp_path / "images", "-o", run, *options]

    whole, arguments = train("whole")
    spgraph(*arguments)
    parts, arguments = train("parts")
    killed(arguments, parts, 40)
    spgraph("finetune", "--resume", "-o", parts, "--log", "none")
    for file in ("state.safetensors", "optimizer.safetensors"):
        one, two = load_file(whole / file), load_file(parts / file)
        assert one.keys() == two.keys() and all(one[n].tobytes() == two[n].tobytes() for n in one), file
    assert load_file(parts / "optimizer.safetensors")["optimizer.good_steps"] > 0


def widened(path):
    """The graph with each node of bfloat16 computed in float32 between conversions: what a kernel of that type does."""
    model = onnx.load(path)
    types = {v.name: v.type.tensor_type.elem_type for v in onnx.shape_inference.infer_shapes(model).graph.value_info}
    types |= {t.name: t.data_type for t in model.graph.initializer}
    types |= {v.name: v.type.tensor_type.elem_type for v in [*model.graph.input, *model.graph.output]}
    nodes = []
    for node in model.graph.node:
        half = {n for n in [*node.input, *node.output] if types.get(n) == TensorProto.BFLOAT16}
        if not half or node.op_type in ("Cast", "Constant"):
            nodes.append(node)
            continue
        for i, name in enumerate(node.input):
            if name in half:
                node.input[i] = f"{name}.wide.{len(nodes)}"
                nodes.append(helper.make_node("Cast", [name], [node.input[i]], to=TensorProto.FLOAT))
        back = []
        for i, name in enumerate(node.output):
            if name in half:
                node.output[i] = f"{name}.unrounded"
                back.append(helper.make_node("Cast", [node.output[i]], [name], to=TensorProto.BFLOAT16))
        nodes += [node, *back]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    return model


def run_as_it_is(path, feeds):
    """Without rewritings of the runtime's own, which give one form other kernels than the other."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})))


@pytest.mark.parametrize("name", ["basic.bn", "mobilenet.bn", "dense", "vgg", "shuffle.bn"])
def test_bfloat16_and_its_rounded_form_are_the_same_numbers(name, tmp_path):
    tensors, found = read_tensors(ENTRIES[name]["golden"]), {}
    mode = ENTRIES[name]["batch_norm"][0]
    for precision in ("mixed-bf16", "rounded-bf16"):
        path = tmp_path / precision / "grad.onnx"
        bundle = rewrite_fixture(name, path.parent, "--split", "--precision", precision, "--dialect", "inlined", mode=mode)
        if precision == "mixed-bf16":
            onnx.save(widened(path), path)
        found[precision] = bundle.gradients(run_as_it_is(path, bundle.feeds(bundle.start(), tensors["input"], tensors["target"])))
    mixed, rounded = found.values()
    wrong = {n: relative_error(mixed[n], rounded[n]) for n in rounded if n not in ENTRIES[name]["zero_gradients"][mode]}
    assert any(mixed[n].any() for n in mixed) and max(wrong.values()) < 1e-6, wrong
