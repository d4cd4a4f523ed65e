"""Steps of a network without convolutions on the CUDA provider of the pinned wheel, on a stand-in for CUDA's libraries: `make test-cuda-wheel`.

    LD_LIBRARY_PATH=stand-in PYTHONPATH=unpacked-wheel steps.py target/release/spgraph unpacked-wheel

Kernels do nothing there, so no number means anything; what is looked at is what CUDA is asked for.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def network(path):
    """Two matrices with a Relu between, of images of 3×32×32, for six classes."""
    random = np.random.default_rng(0)
    shapes = {"w1": (3072, 16), "b1": (16,), "w2": (16, 6), "b2": (6,)}
    weights = [numpy_helper.from_array((random.standard_normal(s) * 0.05).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("Gemm", ["positive", "w2", "b2"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 6])
    graph = helper.make_graph(nodes, "mlp", [image], [logits], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class Lab:
    """A program, a folder, and the wheel's library."""

    def __init__(self, program, wheel, work):
        library = next(pathlib.Path(wheel, "onnxruntime/capi").glob("libonnxruntime.so.*"))
        self.program, self.work, self.faults = program, pathlib.Path(work), []
        self.environment = {**os.environ, "ORT_DYLIB_PATH": str(library.resolve())}

    def run(self, *arguments, **settings):
        environment = {**self.environment, **settings}
        return subprocess.run([self.program, *map(str, arguments)], capture_output=True, text=True, cwd=self.work, env=environment)

    def expect(self, what, found, wanted):
        if found != wanted:
            self.faults.append(f"{what}: {found}, not {wanted}")


def profiles(lab):
    """What a profile's times are said to be of, which CUDA's own variable decides."""
    for settings, timed in [({}, "kernels"), ({"CUDA_LAUNCH_BLOCKING": "1"}, "kernels"), ({"CUDA_LAUNCH_BLOCKING": "0"}, "launches")]:
        done = lab.run("profile", "step.spgraph", "--device", "cuda", "--steps", 1, "--json", **settings)
        lab.expect(f"profile with {settings}", json.loads(done.stdout)["timed"] if done.returncode == 0 else done.stderr, timed)


def recorded(lab):
    """A step is recorded once for each set of buffers, with nothing between that the device would refuse, and then launched as one."""
    log, steps = lab.work / "asked.log", 6
    run = ["finetune", "step.spgraph", "--data", "images", "--device", "cuda"]
    done = lab.run(*run, "--steps", steps, "--cuda-graph", "-o", "recorded", STAND_IN_CUDA_LOG=str(log))
    lab.expect("finetune --cuda-graph", (done.returncode, done.stderr[-500:] if done.returncode else ""), (0, ""))
    lines = [line.split() for line in log.read_text().splitlines()]
    said = [words[0] for words in lines]
    lab.expect("recordings", said.count("record"), 2)
    lab.expect("launches", said.count("launch"), steps)
    lab.expect("calls that no recording takes", [word for word in said if word.startswith("refused")], [])
    streams = {words[1] for words in lines if words[0] in ("record", "launch")}
    lab.expect("streams of recordings and launches", len(streams), 1)
    # Nothing is read while a step is under way; what the next one is fed may go up.
    under_way = None
    for what, stream in lines:
        if what == "launch":
            lab.expect("steps under way at a launch", under_way, None)
            under_way = stream
        elif what == "wait-all" or (what == "wait" and stream == under_way):
            under_way = None
        elif what == "download":
            lab.expect("steps under way at a download", under_way, None)
    lab.expect("uploads", said.count("upload") >= steps, True)
    record = json.loads((lab.work / "recorded/run.json").read_text())
    lab.expect("run.json", record["engine_options"].get("cuda_graph"), True)
    lab.expect("a run that goes on is recorded", "recorded steps" in lab.run(*run[:1], "--resume", "-o", "recorded", "--steps", 8).stderr, True)


def in_order(lab):
    """Images that go up ahead change nothing of what a run does: two phases, several epochs with validation, a last batch that is filled up."""
    found = []
    for name, more in [("one", []), ("other", ["--cuda-graph"])]:
        run = ["finetune", "mlp.onnx", "--data", "images", "--batch", 5, "--epochs", 4, "--head-first", 1, "--warmup", 3, "--val-split", 0.25]
        done = lab.run(*run, "--device", "cuda", "-o", name, *more)
        lab.expect(f"a run in two phases {more}", (done.returncode, done.stderr[-500:] if done.returncode else ""), (0, ""))
        rows = [json.loads(line) for line in (lab.work / name / "metrics.jsonl").read_text().splitlines()]
        found.append([{k: v for k, v in row.items() if k not in ("seconds", "wait")} for row in rows])
    lab.expect("steps of both phases", sum(row["kind"] == "step" for row in found[0]) > 12, True)
    lab.expect("records", found[1], found[0])


def without_the_device(lab):
    """A run that was recorded goes on on the processor."""
    done = lab.run("finetune", "--resume", "-o", "recorded", "--steps", 10, "--device", "cpu")
    lab.expect("the rest on the processor", (done.returncode, "steps are not recorded: --cuda-graph" in done.stderr), (0, True))
    record = json.loads((lab.work / "recorded/run.json").read_text())
    lab.expect("run.json after that", ("cuda_graph" in record["engine_options"], record["results"]["steps"]), (False, 10))


def main(program, wheel):
    with tempfile.TemporaryDirectory() as work:
        lab = Lab(pathlib.Path(program).resolve(), wheel, work)
        network(lab.work / "mlp.onnx")
        lab.expect("rewrite", lab.run("rewrite", "mlp.onnx", "--batch", 4, "-o", "step.spgraph").returncode, 0)
        profiles(lab)
        lab.expect("images", lab.run("synth", "--task", "target-a", "--per-class", 4, "--size", 32, "-o", "images").returncode, 0)
        if not lab.faults:
            recorded(lab)
            without_the_device(lab)
            in_order(lab)
    print(f"steps on the stand-in: {len(lab.faults)} faults")
    print("\n".join(lab.faults))
    sys.exit(1 if lab.faults else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
