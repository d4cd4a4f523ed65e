"""Trains a bundle with OpenVINO: `finetune.py BUNDLE BATCHES.npz WEIGHTS.safetensors [--lr 0.01]`; then `spgraph export BUNDLE --weights WEIGHTS.safetensors -o tuned.onnx`.

BUNDLE is a folder, or one file of the artifact `single`, made with `--for openvino`: OpenVINO knows no model-local functions, and its HardSigmoid is wrong.
BATCHES.npz has `images` [steps, N, C, H, W], normalised, and `labels` [steps, N].
"""
import argparse
import hashlib
import json
import os
import pathlib

import numpy as np
import onnx
import openvino as ov
from blake3 import blake3
from google.protobuf.message import DecodeError
from safetensors.numpy import save_file

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("bundle", type=pathlib.Path)
parser.add_argument("batches", type=pathlib.Path)
parser.add_argument("weights", type=pathlib.Path)
parser.add_argument("--lr", type=float)
parser.add_argument("--device", default="CPU")
parser.add_argument("--threads", type=int, default=0, help="0: as many as OpenVINO takes")
options = parser.parse_args()
single = options.bundle.suffix == ".onnx"
step_path, init_path = options.bundle if single else options.bundle / "step.onnx", options.bundle / "init.onnx"


def known(text):
    """A manifest of the format that this script reads."""
    manifest = json.loads(text)
    if manifest["format"] != 2:
        raise SystemExit(f"{options.bundle} has format {manifest['format']}, and this script reads 2: rewrite the model again")
    return manifest


def compiled(model, path):
    """The graph in float32: where the processor has bfloat16, OpenVINO would compute in it."""
    try:
        return core.compile_model(core.read_model(model), options.device, {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY", "INFERENCE_NUM_THREADS": options.threads})
    except RuntimeError as error:
        raise SystemExit(f"OpenVINO {ov.__version__} cannot run {path}: {error}\nA bundle that it can run is made with `spgraph rewrite --for openvino`")


def run(graph, feeds):
    """Outputs by the names that the ONNX file gives them."""
    found = graph(feeds)
    return {port: np.array(found[i]) for i, output in enumerate(graph.outputs) for port in output.names}


try:
    text = None if single else (options.bundle / "manifest.json").read_bytes()
    manifest = None if single else known(text)
    for name, due in (manifest or {}).get("files", {}).items():
        if blake3((options.bundle / name).read_bytes()).hexdigest() != due:
            raise SystemExit(f"{options.bundle / name} was changed since it was written, or is of another bundle (its hash is another one than the manifest's): rewrite the model again")
    model = onnx.load(step_path, load_external_data=single)
    own = known(next((p.value for p in model.metadata_props if p.key == "spgraph.manifest"), "{}"))
    # The step has the manifest in its metadata, all but what is known of finished files only.
    if manifest and own != {key: value for key, value in manifest.items() if key not in ("blake3", "files", "sealed")}:
        raise SystemExit(f"{step_path} is not the step of this bundle's manifest.json: rewrite the model again")
    batches = np.load(options.batches)
    batches = {name: batches[name] for name in ("images", "labels")}
    if len(batches["images"]) != len(batches["labels"]) or not len(batches["labels"]):
        raise SystemExit(f"{options.batches} has {len(batches['images'])} batches of images and {len(batches['labels'])} of labels")
except OSError as error:
    raise SystemExit(f"cannot read {error.filename}: {error.strerror}")
except (DecodeError, ValueError, KeyError, TypeError, IndexError) as error:
    raise SystemExit(f"{options.bundle} or {options.batches} is damaged, or is none ({type(error).__name__}: {error}): rewrite the model again")

manifest, core = own, ov.Core()
if single:
    # OpenVINO would make constants of inputs with a default: they lose it, and it is fed.
    inputs = {i.name for i in model.graph.input}
    inside = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.name in inputs}
    constants = [t for t in model.graph.initializer if t.name not in inputs]
    model.graph.ClearField("initializer")
    model.graph.initializer.extend(constants)
    step, state = compiled(model.SerializeToString(), step_path), {s["name"]: inside[s["input"]] for s in manifest["state"]}
else:
    step, state = compiled(step_path, step_path), run(compiled(init_path, init_path), {})
feeds = {s["name"]: np.array(options.lr if options.lr and s["meaning"] == "learning-rate" else s["default"], np.float32) for s in manifest["scalars"]}
measures = {o["meaning"]: o["name"] for o in manifest["outputs"]}
data = manifest["data"]
due = data["input"]["shape"]
for k, (images, labels) in enumerate(zip(batches["images"], batches["labels"])):
    if len(images.shape) != len(due) or any(d >= 0 and d != n for n, d in zip(images.shape, due)) or labels.shape != images.shape[:1]:
        raise SystemExit(f"images {images.shape} and labels {labels.shape} do not fit the bundle's {due}")
    # -1 is an image that fills a batch up and counts for nothing.
    if manifest.get("class_count") and data["target"]["dtype"] == "int64" and not ((labels >= -1) & (labels < manifest["class_count"])).all():
        raise SystemExit(f"labels {sorted(set(labels.tolist()))} of step {k + 1} are not those of the network's {manifest['class_count']} classes")
    given = {data["input"]["name"]: images.astype(data["input"]["dtype"]), data["target"]["name"]: labels.astype(data["target"]["dtype"])}
    outputs = run(step, given | feeds | {s["input"]: state[s["name"]] for s in manifest["state"]})
    if not np.isfinite(outputs[measures["loss"]]):
        raise SystemExit(f"the loss of step {k + 1} is {float(outputs[measures['loss']])}: lower the rate, or look at the images; nothing is written")
    state = {s["name"]: outputs[s["output"]] for s in manifest["state"]}
    print(f"step {k + 1}  loss {float(outputs[measures['loss']]):.6f}", flush=True)
# Whole or not at all.
part = options.weights.with_name(options.weights.name + ".part")
try:
    save_file({s["name"]: np.asarray(state[s["name"]], order="C") for s in manifest["state"]}, part, {} if single else {"bundle": hashlib.sha256(text).hexdigest()})
    os.replace(part, options.weights)
except BaseException as error:
    part.unlink(missing_ok=True)
    raise SystemExit(f"cannot write {options.weights}: {error}") from None
print(f"wrote {options.weights}")
