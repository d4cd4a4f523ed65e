"""The loop in examples/python runs on a bundle, with its own data and with given data."""
import re
import subprocess
import sys

import numpy as np
from harness import ENTRIES, ROOT, read_tensors, rewrite_fixture


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
