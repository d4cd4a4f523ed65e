"""OpenVINO trains to the weights of `spgraph finetune`, and what it cannot run is said. Run with a Python that has openvino, onnxruntime, onnx, safetensors and pillow: `make test-openvino`."""
import json
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

    spgraph.run("convert", folder / "bundle", "--to", "single", "-o", folder / "single.onnx")
    done = finetune(folder / "single.onnx", folder / "batches.npz", folder / "single.safetensors")
    assert done.returncode == 0, done.stderr
    given = lab.batches_of(folder / "bundle", folder / "images", 2, folder / "own.npz")
    done = finetune(folder / "bundle", given, folder / "own.safetensors")
    assert done.returncode == 0 and "step 2" in done.stdout, done.stderr
    lab.check("OpenVINO, one file", folder / "single.safetensors", folder)

    model = lab.ROOT / "models" / "resnet20-source.onnx"
    spgraph.run("rewrite", model, "--classes", 6, "--batch", lab.BATCH, "-o", folder / "functions")
    spgraph.run("rewrite", model, "--classes", 6, "--batch", lab.BATCH, "--for", "openvino", "--seed", 1, "-o", folder / "other")
    lacking.without(folder / "bundle", folder / "lacking", "Conv")
    for name, file in (("mixed", "step.onnx"), ("start", "init.onnx")):
        shutil.copytree(folder / "bundle", folder / name)
        shutil.copy(folder / "other" / file, folder / name / file)
    # Where the hash is lost, the step still has its manifest.
    manifest = folder / "mixed" / "manifest.json"
    known = json.loads(manifest.read_text())
    del known["files"]["step.onnx"]
    manifest.write_text(json.dumps(known, indent=2) + "\n")
    shutil.copytree(folder / "bundle", folder / "newer")
    manifest = folder / "newer" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))
    given = dict(np.load(folder / "batches.npz"))
    for name, changed in [("labels", {"labels": given["labels"] + 6}), ("shapes", {"images": given["images"][..., 1:]}), ("infinite", {"images": given["images"] * np.inf}), ("uneven", {"labels": given["labels"][1:]}), ("empty", {})]:
        np.savez(folder / f"{name}.npz", **(given | changed if changed else {}))
    cases = [
        ("nothing", "batches", "cannot read"),
        ("newer", "batches", "has format 3"),
        ("mixed", "batches", "is not the step of this bundle"),
        ("start", "batches", "init.onnx was changed since it was written"),
        ("bundle/init.onnx", "batches", "is damaged, or is none"),
        ("bundle", "uneven", "batches of images and"),
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
    done = finetune(folder / "bundle", folder / "batches.npz", folder / "no" / "refused.safetensors")
    assert done.returncode == 1 and "cannot write" in done.stderr and "Traceback" not in done.stderr, done.stderr[-2000:]
    assert not list(folder.glob("refused*"))
print(f"{4 + len(cases)} passed, 0 failed")
