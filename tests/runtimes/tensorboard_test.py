"""TensorBoard shows a run's numbers as metrics.jsonl has them, also after a resumption: by its reader in Python, and by its server. `make test-tensorboard`."""
import contextlib
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = pathlib.Path(__file__).resolve().parents[2]
GROUPS = {"step": "train"}
SHOWN = ("loss", "data_loss", "penalty", "accuracy", "lr", "distance")


def spgraph(*arguments):
    program = os.environ.get("SPGRAPH") or ROOT / "target" / "release" / "spgraph"
    done = subprocess.run([str(program), *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def single(value):
    """As float32, which is what an event has."""
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected(run):
    """Tag to its (step, value), of metrics.jsonl."""
    found = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(line)
        if "correct" in line:
            line.setdefault("accuracy", line["correct"] / line["images"])
        if isinstance(line.get("distance"), dict):
            line["distance"] = line["distance"]["relative"]
        for name in SHOWN:
            if isinstance(line.get(name), (int, float)):
                found.setdefault(f"{GROUPS.get(line['kind'], line['kind'])}/{name}", []).append((line["step"], single(line[name])))
    return found


def told(run):
    """The same of TensorBoard's reader; times never go back."""
    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0})
    accumulator.Reload()
    found = {}
    for tag in accumulator.Tags()["scalars"]:
        events = accumulator.Scalars(tag)
        times = [e.wall_time for e in events]
        assert times == sorted(times), tag
        found[tag] = [(e.step, e.value) for e in events]
    return found


@contextlib.contextmanager
def server(folder):
    """The address of a TensorBoard on the folder."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1", "--port", "0", "--samples_per_plugin", "scalars=100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\d+", line):
                yield address.group()
                break
        else:
            raise AssertionError("TensorBoard did not start: " + "".join(said))
    finally:
        process.terminate()
        process.wait()


def served(address, run):
    """The same of its server."""

    def get(path, **query):
        with urllib.request.urlopen(f"{address}/data/plugin/scalars/{path}?{urllib.parse.urlencode(query)}") as answer:
            return json.load(answer)

    return {tag: [(step, single(value)) for _, step, value in get("scalars", run=run, tag=tag)] for tag in get("tags")[run]}


with tempfile.TemporaryDirectory() as folder:
    work = pathlib.Path(folder)
    images, run = work / "images", work / "runs" / "run"
    (work / "runs").mkdir()
    spgraph("synth", "--task", "target-a", "--per-class", 8, "-o", images)
    spgraph("finetune", ROOT / "models" / "resnet20-source.onnx", "--data", images, "--epochs", 2, "--val-split", 0.25, "--batch", 6, "-o", run)
    spgraph("finetune", "--resume", "-o", run, "--epochs", "+1")
    due = expected(run)
    assert {"train/loss", "train/accuracy", "validation/accuracy", "epoch/distance"} <= due.keys(), due.keys()
    assert told(run) == due
    found = None
    with server(work / "runs") as address:
        # It reads in the background.
        for _ in range(120):
            with contextlib.suppress(KeyError):
                if (found := served(address, "run")) == due:
                    break
            time.sleep(0.5)
        else:
            raise AssertionError(f"TensorBoard's server shows something else: {found}")
    print(f"TensorBoard shows {sum(map(len, due.values()))} numbers under {len(due)} tags as metrics.jsonl has them")
