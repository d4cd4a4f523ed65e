"""Ten steps of the Python module on a device beside ten on the processor: `gpu_python.py BUNDLE DEVICE`, with SPGRAPH and onnxruntime of that device. A line of JSON."""
import json
import pathlib
import sys
import time

import numpy as np

# In the repository, and in the archive of bundle_cuda.py, where the program has the name of the module.
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = map(str, (HERE.parent / "python", HERE / "spgraph-module"))
import spgraph  # noqa: E402

STEPS = 10


def trained(bundle, device, batches):
    trainer, losses, times = spgraph.Trainer(bundle, device=device, lr=0.001), [], []
    for images, labels in batches:
        began = time.perf_counter()
        losses.append(trainer.step(images, labels).loss)
        times.append(time.perf_counter() - began)
    return trainer.state, losses, sorted(times[2:])[len(times[2:]) // 2]


def main(folder, device):
    bundle, random = spgraph.Bundle(folder), np.random.default_rng(0)
    size = [bundle.batch or 8, *bundle.input["shape"][1:]]
    batches = [(random.standard_normal(size, np.float32), random.integers(0, bundle.manifest["class_count"], size[0])) for _ in range(STEPS)]
    (theirs, expected, _), (ours, losses, seconds) = trained(bundle, "cpu", batches), trained(bundle, device, batches)
    errors = {s["name"]: float(np.linalg.norm(ours[s["name"]] - theirs[s["name"]]) / max(np.linalg.norm(theirs[s["name"]]), 1e-30)) for s in bundle.named("shared", "new", "buffer")}
    where = max(errors, key=errors.get)
    print(json.dumps({"worst": errors[where], "where": where, "losses": losses, "loss": max(abs(a - b) / max(abs(b), 1e-3) for a, b in zip(losses, expected)), "milliseconds": round(seconds * 1000, 2)}))


main(*sys.argv[1:])
