"""A bundle, ten batches of pictures in the order of `spgraph finetune`, and what finetune makes of them; for the tests of runtimes that Python starts.

    python lab.py FOLDER [options of rewrite]

writes FOLDER/bundle, run, batches.npz (images [steps, N, C, H, W], labels [steps, N]), batches.bin (the same, float32 then int64, one behind the other). With
--compare FILE the weights in FILE are compared with the run's.
"""
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from safetensors.numpy import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests" / "python")]
STEPS, BATCH = 10, 12
LR = float(os.environ.get("LR", 0.01))
TOLERANCE = 1e-4


def prepare(folder, *options, model=None):
    """Bundle, batches and run in `folder`; IMAGES, MODEL and LR in the environment are others than the repository's own."""
    import spgraph
    from order import batches

    folder = pathlib.Path(folder)
    images = os.environ.get("IMAGES") or folder / "images"
    if "IMAGES" not in os.environ:
        spgraph.run("synth", "--task", "target-a", "--per-class", 10, "-o", images)
    model = model or os.environ.get("MODEL") or ROOT / "models" / "resnet20-source.onnx"
    count = len([p for p in pathlib.Path(images).iterdir() if p.is_dir()])
    spgraph.run("rewrite", model, "--classes", count, "--class-names-from", images, "--batch", BATCH, "-o", folder / "bundle", *options)
    bundle = spgraph.Bundle(folder / "bundle")
    spgraph.run("finetune", folder / "bundle", "--data", images, "--steps", STEPS, "--schedule", "constant", "--warmup", 0, "--lr", LR, "--threads", 1, "-o", folder / "run")
    files = spgraph.ImageFolder(images, bundle).files
    rows = batches(len(files), BATCH, STEPS)
    data = np.stack([np.stack([spgraph.preprocess(files[i][0], bundle) for i in row]) for row in rows])
    labels = np.array([[files[i][1] for i in row] for row in rows], np.int64)
    np.savez(folder / "batches.npz", images=data, labels=labels)
    (folder / "batches.bin").write_bytes(data.astype("<f4").tobytes() + labels.astype("<i8").tobytes())
    return bundle


def batches_of(bundle, images, steps, out):
    """What examples/python/batches.py writes; gives the file."""
    import spgraph

    command = [sys.executable, ROOT / "examples" / "python" / "batches.py", bundle, images, steps, out]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT / "python"), "SPGRAPH": spgraph.binary()})
    assert done.returncode == 0, done.stderr
    return out


def compare(found, run):
    """The largest norm-relative difference of a tensor to the run's, and which."""
    found, expected = load_file(found), load_file(pathlib.Path(run) / "state.safetensors")
    return max((float(np.linalg.norm(found[n].astype(np.float64) - t) / max(np.linalg.norm(t), 1e-30)), n) for n, t in expected.items())


def exported(found, folder, bundle=None):
    """How far the model that `spgraph export` makes of these weights, trained with `bundle` or that of the folder, is from the run, relative to the run's norm."""
    import spgraph

    folder = pathlib.Path(folder)
    spgraph.export(spgraph.Bundle(bundle or folder / "bundle"), folder / "tuned.onnx", weights=found, force=True)
    drift = json.loads(spgraph.run("drift", folder / "run", folder / "tuned.onnx", "--json"))
    return drift["relative"]


def check(what, found, folder):
    """Prints the difference, exports, and fails where either is too large."""
    folder = pathlib.Path(folder)
    error, name = compare(found, folder / "run")
    print(f"{what}: largest difference of a tensor {error:.1e} (`{name}`)")
    if not error < TOLERANCE:
        raise SystemExit(f"{what}: {error} is not below {TOLERANCE}")
    drift = exported(found, folder)
    print(f"{what}: what is exported of them is {drift:.1e} from the run")
    if not drift < TOLERANCE:
        raise SystemExit(f"{what}: the export is {drift} from the run, which is not below {TOLERANCE}")


if __name__ == "__main__":
    if "--compare" in sys.argv:
        check("compared", sys.argv[sys.argv.index("--compare") + 1], sys.argv[1])
    else:
        prepare(sys.argv[1], *sys.argv[2:])
