"""Trains a bundle with OpenVINO: `finetune.py BUNDLE BATCHES.npz WEIGHTS.safetensors [--lr 0.01]`; then `spgraph export BUNDLE --weights WEIGHTS.safetensors -o tuned.onnx`.

BATCHES.npz has `images` [steps, N, C, H, W], normalised, and `labels` [steps, N]. The bundle is made with `--for openvino`, which knows no model-local functions and whose HardSigmoid is wrong.
"""
import argparse
import hashlib
import json
import pathlib

import numpy as np
import openvino as ov
from safetensors.numpy import save_file

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bundle", type=pathlib.Path)
parser.add_argument("batches", type=pathlib.Path)
parser.add_argument("weights", type=pathlib.Path)
parser.add_argument("--lr", type=float)
parser.add_argument("--device", default="CPU")
parser.add_argument("--threads", type=int, default=0, help="0: as many as OpenVINO takes")
options = parser.parse_args()

text = (options.bundle / "manifest.json").read_bytes()
manifest, core = json.loads(text), ov.Core()
if manifest["format"] != 2:
    raise SystemExit(f"{options.bundle} has format {manifest['format']}, and this script reads 2")


def compiled_model(name):
    """The graph in float32: where the processor has bfloat16, OpenVINO would compute in it."""
    return core.compile_model(core.read_model(options.bundle / f"{name}.onnx"), options.device, {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": options.threads})


compiled = {name: compiled_model(name) for name in ("init", "step")}


def run(name, feeds):
    """Outputs by the names that the ONNX file gives them."""
    model = compiled[name]
    found = model(feeds)
    return {port: np.array(found[i]) for i, output in enumerate(model.outputs) for port in output.names}


state = run("init", {})
feeds = {s["name"]: np.array(options.lr if options.lr and s["meaning"] == "learning-rate" else s["default"], np.float32) for s in manifest["scalars"]}
measures = {o["meaning"]: o["name"] for o in manifest["outputs"]}
data, batches = manifest["data"], np.load(options.batches)
due = data["input"]["shape"]
for step, (images, labels) in enumerate(zip(batches["images"], batches["labels"])):
    if len(images.shape) != len(due) or any(d >= 0 and d != n for d, n in zip(due, images.shape)) or labels.shape != images.shape[:1]:
        raise SystemExit(f"images {images.shape} and labels {labels.shape} do not fit the bundle's {due}")
    # -1 is an image that fills a batch up and counts for nothing.
    if manifest.get("class_count") and data["target"]["dtype"] == "int64" and not ((labels >= -1) & (labels < manifest["class_count"])).all():
        raise SystemExit(f"labels {sorted(set(labels.tolist()))} of step {step + 1} are not those of the network's {manifest['class_count']} classes")
    given = {data["input"]["name"]: images.astype(data["input"]["dtype"]), data["target"]["name"]: labels.astype(data["target"]["dtype"])}
    outputs = run("step", given | feeds | {s["input"]: state[s["name"]] for s in manifest["state"]})
    if not np.isfinite(outputs[measures["loss"]]):
        raise SystemExit(f"the loss of step {step + 1} is {float(outputs[measures['loss']])}: lower the rate, or look at the images; nothing is written")
    state = {s["name"]: outputs[s["output"]] for s in manifest["state"]}
    print(f"step {step + 1}  loss {float(outputs[measures['loss']]):.6f}", flush=True)
save_file({s["name"]: np.asarray(state[s["name"]], order="C") for s in manifest["state"]}, options.weights, {"bundle": hashlib.sha256(text).hexdigest()})
print(f"wrote {options.weights}")
