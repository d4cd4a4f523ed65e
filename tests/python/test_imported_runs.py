"""A run that ONNX Runtime's training API began goes on in `spgraph finetune`, as the one that never left it. The checkpoint is one that spgraph wrote of such a run's
state, in the API's own form; `make test-ort-training` takes one that the API itself has saved."""
import json

import numpy as np
import pytest
from harness import ROOT, spgraph
from safetensors.numpy import load_file

SOURCE = ROOT / "models" / "resnet20-source.onnx"
HOW = ["--schedule", "constant", "--warmup", 0, "--lr", 0.01, "--threads", 1]
KINDS = {"momentum": [], "nesterov": ["--nesterov", "--clip-norm", "1"], "adamw": ["--optimizer", "adamw"], "plain": ["--momentum", "0"]}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported") / "images"
    spgraph("synth", "--task", "target-a", "--per-class", 6, "--size", 32, "-o", folder)
    return folder


def bundle(folder, images, options):
    spgraph("rewrite", SOURCE, "--classes", 6, "--class-names-from", images, "--batch", 12, "-o", folder / "bundle", *options)


def run(folder, images, name, steps):
    spgraph("finetune", folder / "bundle", "--data", images, "--steps", steps, *HOW, "-o", folder / name)


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_as_if_it_had_never_left(tmp_path, images, kind):
    bundle(tmp_path, images, KINDS[kind])
    run(tmp_path, images, "whole", 7)
    run(tmp_path, images, "first", 4)
    # Of a run whose optimizer has no state in the checkpoint's own place, the number of steps is told.
    spgraph("convert", tmp_path / "first", "--to", "ort-training", "-o", tmp_path / "ort")
    told = [] if kind == "adamw" else ["--steps", 4]
    said = spgraph("import-checkpoint", tmp_path / "bundle", tmp_path / "ort" / "checkpoint", "-o", tmp_path / "run", *told)
    assert "after 4 steps" in said and "finetune --resume" in said
    spgraph("finetune", "--resume", "-o", tmp_path / "run", "--data", images, "--steps", "+3", *HOW)
    expected = load_file(tmp_path / "whole" / "state.safetensors")
    found = load_file(tmp_path / "run" / "state.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        error = np.linalg.norm(found[name] - tensor) / max(np.linalg.norm(tensor), 1e-30)
        assert error <= (1e-6 if kind == "adamw" else 0), (name, error)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (record["status"], record["results"]["steps"], record["images"]["training"]) == ("complete", 7, 36)
    # From here on it is a run as any other: it evaluates, exports and goes on without being told anything.
    spgraph("eval", tmp_path / "run", "--data", images)
    spgraph("finetune", "--resume", "-o", tmp_path / "run", "--steps", "+1")


def test_what_it_cannot_know_is_asked_for_or_refused(tmp_path, images):
    bundle(tmp_path, images, [])
    run(tmp_path, images, "first", 4)
    spgraph("convert", tmp_path / "first", "--to", "ort-training", "-o", tmp_path / "ort")
    said = spgraph("import-checkpoint", tmp_path / "bundle", tmp_path / "ort" / "checkpoint", "-o", tmp_path / "run")
    assert "cannot be gone on with: the checkpoint does not say how many steps" in said
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    for options, word in (([], "--data"), (["--data", images], "cannot be continued"), (["--data", tmp_path / "nowhere"], "nowhere")):
        with pytest.raises(AssertionError, match=word):
            spgraph("finetune", "--resume", "-o", tmp_path / "run", "--steps", "+3", *options)
    assert {p: p.read_bytes() for p in before} == before
    spgraph("import-checkpoint", tmp_path / "bundle", tmp_path / "ort" / "checkpoint", "-o", tmp_path / "run", "--force", "--steps", 4)
    with pytest.raises(AssertionError, match="cannot end after 3"):
        spgraph("finetune", "--resume", "-o", tmp_path / "run", "--data", images, "--steps", 3)


def test_adamw_says_its_steps_itself(tmp_path, images):
    bundle(tmp_path, images, KINDS["adamw"])
    run(tmp_path, images, "first", 4)
    spgraph("convert", tmp_path / "first", "--to", "ort-training", "-o", tmp_path / "ort")
    with pytest.raises(AssertionError, match="--steps 5 is not what the checkpoint says: its optimizer has done 4"):
        spgraph("import-checkpoint", tmp_path / "bundle", tmp_path / "ort" / "checkpoint", "-o", tmp_path / "run", "--steps", 5)
    # At its start, AdamW's moments are in no checkpoint.
    spgraph("convert", tmp_path / "bundle", "--to", "ort-training", "-o", tmp_path / "start")
    said = spgraph("import-checkpoint", tmp_path / "bundle", tmp_path / "start" / "checkpoint", "-o", tmp_path / "run")
    assert "without the state of its optimizer" in said
    with pytest.raises(AssertionError, match="had not the state of its optimizer"):
        spgraph("finetune", "--resume", "-o", tmp_path / "run", "--data", images, "--steps", "+3")
