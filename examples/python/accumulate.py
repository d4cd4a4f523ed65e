"""Gradients of a batch in parts, and one update from all of them: what does not fit into memory at once, or lies with several workers.

    spgraph rewrite MODEL --split --batch 4 --batch-norm frozen -o BUNDLE
    python accumulate.py BUNDLE batch.npz [--workers 2] [--steps 10] [--lr 0.01] [--save state.npz]

`batch.npz` holds `input` [N, C, H, W], normalised, and `target` [N], of any number N. Each worker's share is passed in parts of the bundle's batch.
"""
import argparse, json, pathlib
import numpy as np, onnxruntime as ort

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bundle", type=pathlib.Path), parser.add_argument("data"), parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--steps", type=int, default=10), parser.add_argument("--lr", type=float), parser.add_argument("--save")
options = parser.parse_args()

manifest = json.loads((options.bundle / "manifest.json").read_text())
if manifest["format"] != 2 or "split" not in manifest:
    raise SystemExit(f"{options.bundle} is no bundle of format 2 with the step in halves: rewrite with --split")
if any(s["role"] == "buffer" for s in manifest["state"]):
    raise SystemExit("BatchNorm's statistics would be those of a part, not of the batch: rewrite with --batch-norm frozen")
if any(s.get("meaning") == "random" or "start" in s for s in manifest["state"]):
    raise SystemExit("dropout's state comes from the part that is run, and a start that is an input from whoever moves it: rewrite without --dropout and --start")
graphs = {name: ort.InferenceSession(options.bundle / f"{name}.onnx", providers=["CPUExecutionProvider"]) for name in ("init", "grad", "apply")}
image, label, trained = manifest["data"]["input"], manifest["data"]["target"], [s["gradient"] for s in manifest["state"] if "gradient" in s]
called = {o["meaning"]: o["name"] for o in manifest["split"]["grad"] + manifest["split"]["apply"]}
scalars = {s["name"]: np.array(options.lr if options.lr and s["meaning"] == "learning-rate" else s["default"], image["dtype"]) for s in manifest["scalars"]}


def run(name, feeds):
    found = graphs[name].run(None, {i.name: feeds[i.name] for i in graphs[name].get_inputs()})
    return dict(zip([o.name for o in graphs[name].get_outputs()], found))


def contribution(images, labels, state):
    """A worker's sum over its parts, each weighed by the images that count in it: all that has to be kept, and all that has to be sent."""
    total, size = {}, image["shape"][0] if image["shape"][0] > 0 else len(images)  # a symbolic batch is -1
    for first in range(0, len(images), size):
        short = first + size - min(first + size, len(images))  # a part is filled up by images with the label -1, which count for nothing
        part = np.pad(images[first : first + size], [(0, short)] + [(0, 0)] * (images.ndim - 1)), np.pad(labels[first : first + size], (0, short), constant_values=-1)
        found = run("grad", scalars | state | {image["name"]: part[0], label["name"]: part[1]})
        count = float(found[called["count"]])
        for name, mean in [("count", 1), ("loss", found[called["data-loss"]]), *((g, found[g]) for g in trained)]:
            total[name] = total.get(name, 0) + count * np.float64(mean)
    return total


start, data = run("init", {}), np.load(options.data)
state = {s["input"]: start[s["name"]] for s in manifest["state"]}
shares = [rows for rows in np.array_split(np.arange(len(data["input"])), options.workers) if len(rows)]
for k in range(options.steps):
    totals = [contribution(data["input"][rows].astype(image["dtype"]), data["target"][rows].astype(label["dtype"]), state) for rows in shares]
    mean = {name: sum(t[name] for t in totals) / sum(t["count"] for t in totals) for name in totals[0]}
    outputs = run("apply", scalars | state | {g: mean[g].astype(image["dtype"]) for g in trained})
    state = {s["input"]: outputs[s["output"]] for s in manifest["state"]}
    print(f"step {k + 1}  data loss {mean['loss']:.4f}  penalty {float(outputs[called['penalty']]):.4f}")
if options.save:
    np.savez(options.save, **{s["name"]: state[s["input"]] for s in manifest["state"]})
