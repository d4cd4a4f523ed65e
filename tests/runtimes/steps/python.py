"""`python.py BUNDLE BATCHES STEPS RATE WEIGHTS` with the Python module. STEP names another form of the step, LIBRARY the operators that it calls. BUNDLE may be
one file, of the artifact `single`."""
import json
import os
import pathlib
import sys

import numpy as np
import onnxruntime

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "python"))
import spgraph  # noqa: E402
import tensors  # noqa: E402

bundle, file, steps, rate, weights = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
options.intra_op_num_threads = int(os.environ.get("THREADS", "1"))
if "LIBRARY" in os.environ:
    options.register_custom_ops_library(os.environ["LIBRARY"])


def single():
    session = onnxruntime.InferenceSession(bundle, options, providers=["CPUExecutionProvider"])
    manifest = json.loads(session.get_modelmeta().custom_metadata_map["spgraph.manifest"])
    image, label = manifest["data"]["input"], manifest["data"]["target"]
    names, state = [o.name for o in session.get_outputs()], {}
    scalars = {s["name"]: np.array(rate, np.float32) for s in manifest["scalars"] if s["meaning"] == "learning-rate"}
    loss = next(o["name"] for o in manifest["outputs"] if o["meaning"] == "loss")
    for k, (images, labels) in enumerate(zip(*tensors.batches(file, manifest, int(steps)))):
        outputs = dict(zip(names, session.run(None, {image["name"]: images, label["name"]: labels} | scalars | state)))
        state = {s["input"]: outputs[s["output"]] for s in manifest["state"]}
        print(f"step {k + 1}  loss {float(outputs[loss]):.6f}", flush=True)
    return {s["name"]: state[s["input"]] for s in manifest["state"]}


def module():
    trainer = spgraph.Trainer(bundle, options=options, step=os.environ.get("STEP"), lr=float(rate))
    for k, (images, labels) in enumerate(zip(*tensors.batches(file, trainer.bundle.manifest, int(steps)))):
        print(f"step {k + 1}  loss {trainer.step(images, labels).loss:.6f}", flush=True)
    return trainer.state


tensors.save(weights, single() if bundle.endswith(".onnx") else module())
