"""Trains a bundle with OpenVINO: `finetune.py BUNDLE BATCHES.npz WEIGHTS.safetensors [--lr 0.01]`; then `spgraph export BUNDLE --weights WEIGHTS.safetensors -o tuned.onnx`.

BATCHES.npz has `images` [steps, N, C, H, W], normalised, and `labels` [steps, N]. The bundle is made with `--for openvino`, which knows no model-local functions and whose HardSigmoid is wrong.
"""
import argparse
import hashlib
import json
import os
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

try:
    text = (options.bundle / "manifest.json").read_bytes()
    manifest, core = json.loads(text), ov.Core()
    if manifest["format"] != 2:
        raise SystemExit(f"{options.bundle} has format {manifest['format']}, and this script reads 2: rewrite the model again")
    batches = np.load(options.batches)
    batches = {name: batches[name] for name in ("images", "labels")}
except OSError as error:
    raise SystemExit(f"cannot read {error.filename}: {error.strerror}")
except (ValueError, KeyError, TypeError, IndexError) as error:
    raise SystemExit(f"{options.bundle / 'manifest.json'} or {options.batches} is damaged, or is none ({type(error).__name__}: {error})")


def compiled_model(name):
    """The graph in float32: where the processor has bfloat16, OpenVINO would compute in it."""
    path = options.bundle / f"{name}.onnx"
    try:
        model = core.read_model(path)
        if name == "step":
            # The step has the manifest in its metadata, all but what is known of finished files only.
            own = json.loads(model.rt_info["framework"]["spgraph.manifest"].value) if "framework" in model.rt_info else None
            if own != {key: value for key, value in manifest.items() if key not in ("blake3", "files", "sealed")}:
                raise SystemExit(f"{path} is not the step of this bundle's manifest.json: rewrite the model again")
        return core.compile_model(model, options.device, {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": options.threads})
    except (KeyError, ValueError):
        raise SystemExit(f"{path} is not the step of this bundle's manifest.json: rewrite the model again")
    except RuntimeError as error:
        raise SystemExit(f"OpenVINO {ov.__version__} cannot run {path}: {error}\nA bundle that it can run is made with `spgraph rewrite --for openvino`")


compiled = {name: compiled_model(name) for name in ("init", "step")}


def run(name, feeds):
    """Outputs by the names that the ONNX file gives them."""
    model = compiled[name]
    found = model(feeds)
    return {port: np.array(found[i]) for i, output in enumerate(model.outputs) for port in output.names}


state = run("init", {})
feeds = {s["name"]: np.array(options.lr if options.lr and s["meaning"] == "learning-rate" else s["default"], np.float32) for s in manifest["scalars"]}
measures = {o["meaning"]: o["name"] for o in manifest["outputs"]}
data = manifest["data"]
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
# Whole or not at all.
part = options.weights.with_name(options.weights.name + ".part")
save_file({s["name"]: np.asarray(state[s["name"]], order="C") for s in manifest["state"]}, part, {"bundle": hashlib.sha256(text).hexdigest()})
os.replace(part, options.weights)
print(f"wrote {options.weights}")
