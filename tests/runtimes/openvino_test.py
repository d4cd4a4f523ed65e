"""OpenVINO trains to the weights of `spgraph finetune`, and what it cannot run is said. Run with a Python that has openvino, onnxruntime, onnx, safetensors and pillow: `make test-openvino`."""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import lab
import numpy as np

SCRIPT = lab.ROOT / "examples" / "openvino" / "finetune.py"


def finetune(bundle, batches, weights):
    return subprocess.run([str(a) for a in (sys.executable, SCRIPT, bundle, batches, weights, "--lr", lab.LR)], capture_output=True, text=True)


# A rectifier network: half a gradient comes through where none should, if HardSigmoid stands in the step.
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    lab.prepare(folder, "--for", "openvino")
    done = finetune(folder / "bundle", folder / "batches.npz", folder / "weights.safetensors")
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    lab.check("OpenVINO", folder / "weights.safetensors", folder)

    import lacking
    import spgraph

    model = lab.ROOT / "models" / "resnet20-source.onnx"
    spgraph.run("rewrite", model, "--classes", 6, "--batch", lab.BATCH, "-o", folder / "functions")
    spgraph.run("rewrite", model, "--classes", 6, "--batch", lab.BATCH, "--for", "openvino", "--seed", 1, "-o", folder / "other")
    lacking.without(folder / "bundle", folder / "lacking", "Conv")
    shutil.copytree(folder / "bundle", folder / "mixed")
    shutil.copy(folder / "other" / "step.onnx", folder / "mixed" / "step.onnx")
    shutil.copytree(folder / "bundle", folder / "newer")
    manifest = folder / "newer" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))
    given = dict(np.load(folder / "batches.npz"))
    for name, changed in [("labels", {"labels": given["labels"] + 6}), ("shapes", {"images": given["images"][..., 1:]}), ("infinite", {"images": given["images"] * np.inf}), ("empty", {})]:
        np.savez(folder / f"{name}.npz", **(given | changed if changed else {}))
    cases = [
        ("nothing", "batches", "cannot read"),
        ("newer", "batches", "has format 3"),
        ("mixed", "batches", "is not the step of this bundle"),
        ("lacking", "batches", "Unheard-17"),
        ("functions", "batches", "--for openvino"),
        ("bundle", "nothing", "cannot read"),
        ("bundle", "empty", "images"),
        ("bundle", "labels", "are not those of the network's 6 classes"),
        ("bundle", "shapes", "do not fit the bundle's"),
        ("bundle", "infinite", "lower the rate"),
    ]
    for bundle, batches, said in cases:
        done = finetune(folder / bundle, folder / f"{batches}.npz", folder / "refused.safetensors")
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, (bundle, batches, done.stderr[-2000:])
    assert not list(folder.glob("refused*"))
print(f"{1 + len(cases)} passed, 0 failed")
