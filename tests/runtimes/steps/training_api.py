"""`training_api.py BUNDLE BATCHES STEPS RATE WEIGHTS`, of ONNX Runtime's training API on the folder that STEP names: what `spgraph convert BUNDLE --to ort-training` made."""
import json
import os
import pathlib
import sys
import types

import numpy as np
import onnxruntime

# The package asks for PyTorch; its on-device part needs none.
stub = types.ModuleType("onnxruntime.training")
stub.__path__ = [str(pathlib.Path(onnxruntime.__file__).parent / "training")]
sys.modules["onnxruntime.training"] = stub
from onnxruntime.training.api import CheckpointState, Module, Optimizer  # noqa: E402

import tensors  # noqa: E402

bundle, file, steps, rate, weights = sys.argv[1:]
made = os.environ["STEP"]
manifest = json.loads((pathlib.Path(bundle) / "manifest.json").read_text())
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(os.environ.get("THREADS", "1"))
state = CheckpointState.load_checkpoint(f"{made}/checkpoint")
module = Module(f"{made}/training_model.onnx", state, f"{made}/eval_model.onnx", session_options=options)
optimizer = Optimizer(f"{made}/optimizer_model.onnx", module)
optimizer.set_learning_rate(float(rate))
for k, (images, labels) in enumerate(zip(*tensors.batches(file, manifest, int(steps)))):
    module.train()
    loss = module(np.ascontiguousarray(images), np.ascontiguousarray(labels))
    optimizer.step()
    module.lazy_reset_grad()
    print(f"step {k + 1}  loss {float(np.ravel(loss)[0]):.6f}", flush=True)
tensors.save(weights, {s["name"]: state.parameters[s["input"]].data for s in manifest["state"] if s["role"] in ("shared", "new", "buffer")})
