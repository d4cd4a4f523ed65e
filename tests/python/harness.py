"""What the tests share: running the binary, reading bundles, running graphs, comparing with golden values.

The binary is `target/release/spgraph`, or what the environment variable SPGRAPH names.
"""
import json
import os
import pathlib
import subprocess

import numpy as np
import onnxruntime
from onnx.reference import ReferenceEvaluator
from safetensors import safe_open

ROOT = pathlib.Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "fixtures"
INDEX = json.loads((FIXTURES / "index.json").read_text())
ENTRIES = {f["name"]: f for f in INDEX["fixtures"]}
RUNS = {r["name"]: r for r in INDEX["training"]}
CASES = [(name, mode) for name, entry in ENTRIES.items() for mode in entry["batch_norm"]]
BINARY = pathlib.Path(os.environ.get("SPGRAPH", ROOT / "target" / "release" / "spgraph"))

TOLERANCE = 1e-4  # norm-relative, for float32
DOUBLE_TOLERANCE = 1e-9  # for float64 networks


def spgraph(*arguments):
    """Runs the binary; fails with its own words. Returns what it printed."""
    assert BINARY.exists(), f"{BINARY} is missing: run `make build`, or set SPGRAPH"
    command = [str(a) for a in (BINARY, *arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def rewrite(model, folder, *options, batch, batch_norm="frozen", penalty="none"):
    """`spgraph rewrite` with the head kept; the bundle."""
    spgraph("rewrite", model, "-o", folder, "--batch", batch, "--batch-norm", batch_norm, "--head", "keep", "--penalty", penalty, *options)
    return Bundle(folder)


def rewrite_fixture(name, folder, *options, mode="frozen", batch=None, penalty="none"):
    entry = ENTRIES[name]
    return rewrite(FIXTURES / entry["file"], folder, *options, batch=batch or entry["input_shape"][0], batch_norm=mode, penalty=penalty)


class Graph:
    """One ONNX file, in ONNX Runtime, or in ONNX's reference evaluator (float64, which ONNX Runtime's convolution lacks)."""

    def __init__(self, path, double=False):
        if double:
            self.runner = ReferenceEvaluator(str(path))
            self.inputs, self.outputs = list(self.runner.input_names), list(self.runner.output_names)
        else:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self.runner = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            self.inputs = [i.name for i in self.runner.get_inputs()]
            self.outputs = [o.name for o in self.runner.get_outputs()]

    def __call__(self, feeds):
        """All outputs by name; values that the graph does not take are left out, one that it lacks is an error."""
        return dict(zip(self.outputs, map(np.asarray, self.runner.run(None, {n: feeds[n] for n in self.inputs}))))


class Bundle:
    """A folder that `spgraph rewrite` wrote."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.manifest = json.loads((self.folder / "manifest.json").read_text())
        self.state = self.manifest["state"]
        self.double = self.manifest["data"]["input"]["dtype"] == "float64"

    def graph(self, name):
        return Graph(self.folder / f"{name}.onnx", self.double)

    def start(self):
        """Every state tensor at its start, by name."""
        return self.graph("init")({})

    def feeds(self, state, images, target, **scalars):
        """What `step.onnx` and `grad.onnx` take."""
        data = self.manifest["data"]
        feeds = {data["input"]["name"]: images.astype(data["input"]["dtype"]), data["target"]["name"]: target}
        for scalar in self.manifest["scalars"]:
            feeds[scalar["name"]] = np.array(scalars.get(scalar["name"], scalar["default"]), data["input"]["dtype"])
        return feeds | {s["input"]: state[s["name"]] for s in self.state}

    def next_state(self, outputs):
        return {s["name"]: outputs[s["output"]] for s in self.state}

    def named(self, *roles):
        return [s["name"] for s in self.state if s["role"] in roles]

    def gradients(self, outputs):
        """Gradients by parameter, from the outputs of `grad.onnx`."""
        return {s["name"]: outputs[s["gradient"]] for s in self.state if s["role"] in ("shared", "new")}

    def statistics(self, outputs):
        """The next running statistics, from the outputs of `grad.onnx`."""
        return {s["name"]: outputs[s["output"]] for s in self.state if s["role"] == "buffer"}


def read_tensors(file):
    with safe_open(FIXTURES / file, "np") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}


def part(tensors, prefix):
    """The tensors under `prefix/`, without it."""
    return {n.removeprefix(f"{prefix}/"): t for n, t in tensors.items() if n.startswith(f"{prefix}/")}


def relative_error(found, expected):
    """Norm of the difference over the norm of the expected tensor; infinite if the shapes differ or a value is no number."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return np.inf
    difference, norm = np.linalg.norm(found - expected), np.linalg.norm(expected)
    return difference / norm if norm else (np.inf if difference else 0.0)


def mismatches(found, expected, tolerance, bounds=None, zeros=(), allow_more=False):
    """Every way in which two sets of tensors differ, one line each. `bounds` widens the tolerance of single tensors;
    tensors in `zeros` must vanish beside the largest of the set."""
    lines = [f"{n}: missing" for n in sorted(expected.keys() - found.keys())]
    lines += [] if allow_more else [f"{n}: not expected" for n in sorted(found.keys() - expected.keys())]
    largest = max((np.linalg.norm(t) for t in expected.values()), default=0.0)
    for name in sorted(expected.keys() & found.keys()):
        if name in zeros:
            if not np.linalg.norm(found[name]) < 0.1 * tolerance * largest:
                lines.append(f"{name}: norm {np.linalg.norm(found[name]):.2g}, must vanish beside {largest:.2g}")
            continue
        error, bound = relative_error(found[name], expected[name]), max(tolerance, (bounds or {}).get(name, 0.0))
        if not error < bound:
            lines.append(f"{name}: relative error {error:.2g}, allowed {bound:.2g} (shape {np.shape(found[name])} for {expected[name].shape})")
    return lines
