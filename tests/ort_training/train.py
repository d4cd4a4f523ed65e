"""ONNX Runtime's training API trains what `spgraph convert --to ort-training` makes of a bundle, and its weights are held against the bundle's own steps.

    python train.py SPGRAPH MODEL OUT      (make test-ort-training)

Live BatchNorm, SGD with and without momentum, AdamW, L2-SP, clipping, learning rates by pattern; a checkpoint that is saved becomes a run, and a model is exported from it.
"""
import json
import pathlib
import subprocess
import sys
import types

import numpy as np
import onnx
import onnxruntime

# The package asks for PyTorch; its on-device part needs none.
stub = types.ModuleType("onnxruntime.training")
stub.__path__ = [str(pathlib.Path(onnxruntime.__file__).parent / "training")]
sys.modules["onnxruntime.training"] = stub
from onnxruntime.training.api import CheckpointState, Module, Optimizer  # noqa: E402

CASES = {
    "sgd": ["--momentum", "0", "--alpha", "0.1"],
    "momentum": ["--lr-mult", "*bias=2"],
    "nesterov": ["--nesterov", "--clip-norm", "1"],
    "adamw": ["--optimizer", "adamw"],
    "decay": ["--optimizer", "adamw", "--weight-decay", "0.1", "--clip-norm", "1"],
    "inlined": ["--dialect", "inlined", "--regularizer", "lwf"],
    "frozen": ["--batch-norm", "frozen", "--penalty", "l1-sp"],
}
STEPS = 10


def spgraph(binary, *arguments):
    done = subprocess.run([str(a) for a in (binary, *arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


def by_bundle(bundle, batches):
    """The state after the bundle's own steps."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    init, step = (onnxruntime.InferenceSession(bundle / f"{n}.onnx", providers=["CPUExecutionProvider"]) for n in ("init", "step"))
    state = dict(zip([o.name for o in init.get_outputs()], init.run(None, {})))
    names = [o.name for o in step.get_outputs()]
    for images, target in batches:
        feeds = {manifest["data"]["input"]["name"]: images, manifest["data"]["target"]["name"]: target}
        feeds |= {s["name"]: np.array(s["default"], np.float32) for s in manifest["scalars"]}
        outputs = dict(zip(names, step.run(None, feeds | {s["input"]: state[s["name"]] for s in manifest["state"]})))
        state = {s["name"]: outputs[s["output"]] for s in manifest["state"]}
    loss = float(outputs[next(o["name"] for o in manifest["outputs"] if o["meaning"] == "loss")])
    return manifest, state, loss


def by_training_api(folder, batches, saved):
    state = CheckpointState.load_checkpoint(str(folder / "checkpoint"))
    module = Module(str(folder / "training_model.onnx"), state, str(folder / "eval_model.onnx"))
    optimizer = Optimizer(str(folder / "optimizer_model.onnx"), module)
    optimizer.set_learning_rate(state.properties["learning_rate"])
    for images, target in batches:
        module.train()
        loss = module(images, target)
        optimizer.step()
        module.lazy_reset_grad()
    CheckpointState.save_checkpoint(state, str(saved), include_optimizer_state=True)
    module.eval()
    scores = module(batches[0][0])
    return state, float(np.ravel(loss)[0]), scores


def error(found, expected):
    return float(np.linalg.norm(found - expected) / max(np.linalg.norm(expected), 1e-30))


def main(binary, model, out):
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for name, options in CASES.items():
        bundle, folder, saved, run, tuned = (out / f"{name}.{kind}" for kind in ("spgraph", "ort", "saved", "run", "onnx"))
        spgraph(binary, "rewrite", model, "-o", bundle, "--batch", 8, "--classes", 4, "--force", *options)
        spgraph(binary, "convert", bundle, "--to", "ort-training", "-o", folder, "--force")
        shape = json.loads((bundle / "manifest.json").read_text())["data"]["input"]["shape"]
        batches = [(random.standard_normal(shape).astype(np.float32), random.integers(0, 4, shape[0])) for _ in range(STEPS)]
        manifest, expected, loss = by_bundle(bundle, batches)
        state, found_loss, scores = by_training_api(folder, batches, saved)
        found = {s["name"]: state.parameters[s["input"]].data for s in manifest["state"] if s["role"] in ("shared", "new", "buffer")}
        worst = max((error(found[n], expected[n]), n) for n in found)
        print(spgraph(binary, "import-checkpoint", bundle, saved, "-o", run, "--force").splitlines()[0])
        spgraph(binary, "export", run, "-o", tuned, "--force")
        onnx.checker.check_model(onnx.load(tuned))
        session = onnxruntime.InferenceSession(tuned, providers=["CPUExecutionProvider"])
        exported = session.run(None, {session.get_inputs()[0].name: batches[0][0]})[0]
        differences = {"weights": worst[0], "loss": abs(found_loss - loss) / abs(loss), "scores": error(np.asarray(scores), exported)}
        print(f"{name:10}", "  ".join(f"{n} {d:.1e}" for n, d in differences.items()), f" worst {worst[1]}")
        assert max(differences.values()) < 1e-4, (name, differences)
    # The nominal checkpoint loads where values come from elsewhere.
    CheckpointState.load_checkpoint(str(out / "sgd.ort" / "nominal_checkpoint"))
    refused = subprocess.run([str(binary), "import-checkpoint", str(out / "sgd.spgraph"), str(out / "adamw.spgraph" / "init.onnx"), "-o", str(out / "no.run")], capture_output=True, text=True)
    assert refused.returncode != 0 and "no checkpoint" in refused.stderr, refused


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
