"""The loop in examples/python runs on a bundle, with its own data and with given data."""
import re
import subprocess
import sys

import numpy as np
import pytest
from harness import ENTRIES, ROOT, mismatches, read_tensors, rewrite_fixture


def run(*arguments):
    done = subprocess.run([sys.executable, ROOT / "examples" / "python" / "train.py", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(x) for x in re.findall(r"step \d+  loss (\S+)", done.stdout)]


def test_random_data(tmp_path):
    rewrite_fixture("basic.bn", tmp_path, mode="train", penalty="l2-sp")
    losses = run(tmp_path, "--steps", 3)
    assert len(losses) == 3 and np.isfinite(losses).all()


def test_given_data(tmp_path):
    """One batch again and again: the loss falls, from the golden value on."""
    rewrite_fixture("basic.bn", tmp_path, mode="train", penalty="l2-sp")
    golden = read_tensors(ENTRIES["basic.bn"]["golden"])
    np.savez(tmp_path / "data.npz", input=golden["input"], target=golden["target"])
    losses = run(tmp_path, "--data", tmp_path / "data.npz", "--steps", 10)
    assert abs(losses[0] / golden["train/loss"] - 1) < 1e-3
    assert len(losses) == 10 and losses[-1] < losses[0]


def accumulated(*arguments):
    return subprocess.run([sys.executable, ROOT / "examples" / "python" / "accumulate.py", *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize("batch", ["3", "dynamic"])
def test_parts_and_workers_give_the_step_of_the_whole_batch(tmp_path, batch):
    """Eleven images with two workers: shares and parts of unequal size, filled up where the batch is fixed."""
    random, steps = np.random.default_rng(0), 3
    golden = read_tensors(ENTRIES["basic.bn"]["golden"])
    images = random.standard_normal((11, *golden["input"].shape[1:])).astype(np.float32)
    target = np.resize(golden["target"], 11)
    np.savez(tmp_path / "data.npz", input=images, target=target)
    parts, whole = (rewrite_fixture("basic.bn", tmp_path / name, "--split", penalty="l2-sp", batch=size) for name, size in (("parts", batch), ("whole", 11)))
    done = accumulated(parts.folder, tmp_path / "data.npz", "--steps", steps, "--lr", 0.05, "--save", tmp_path / "state.npz")
    assert done.returncode == 0, done.stderr
    step, state = whole.graph("step"), whole.start()
    for k in range(steps):
        outputs = step(whole.feeds(state, images, target, lr=0.05))
        said = re.search(rf"step {k + 1}  data loss (\S+)  penalty (\S+)", done.stdout)
        assert abs(float(said[1]) - outputs["data_loss"]) < 1e-4 and abs(float(said[2]) - outputs["penalty"]) < 1e-4
        state = whole.next_state(outputs)
    assert mismatches(dict(np.load(tmp_path / "state.npz")), state, 1e-5) == []


@pytest.mark.parametrize("options, mode, said", [([], "frozen", "--split"), (["--split"], "train", "--batch-norm frozen"), (["--split", "--dropout", "0.2"], "frozen", "--dropout"), (["--split", "--start", "input"], "frozen", "--start")])
def test_bundles_that_cannot_be_accumulated_are_refused(tmp_path, options, mode, said):
    bundle = rewrite_fixture("basic.bn", tmp_path / "bundle", *options, mode=mode, penalty="l2-sp")
    done = accumulated(bundle.folder, "no.npz")
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("script", ["train.py", "accumulate.py"])
def test_another_format_is_refused(tmp_path, script):
    rewrite_fixture("basic.bn", tmp_path / "bundle", "--split")
    manifest = tmp_path / "bundle" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))
    done = subprocess.run([sys.executable, ROOT / "examples" / "python" / script, manifest.parent, *(["no.npz"] if script == "accumulate.py" else [])], capture_output=True, text=True)
    assert done.returncode == 1 and "format" in done.stderr and "Traceback" not in done.stderr
