"""examples/python/torch_loader.py and timm_to_onnx.py do what they say; on the images of IMAGES and the network of MODEL where the environment names them. Run with a Python that has torch, torchvision, timm, onnx, onnxruntime, safetensors and pillow: `make test-torch`."""
import os
import pathlib
import subprocess
import sys
import tempfile

import lab
import numpy as np
import onnxruntime
import spgraph

EXAMPLES = lab.ROOT / "examples" / "python"


def run(folder, script, *arguments):
    environment = os.environ | {"PYTHONPATH": str(lab.ROOT / "python"), "SPGRAPH": spgraph.binary()}
    done = subprocess.run([sys.executable, EXAMPLES / script, *map(str, arguments)], cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    print(done.stdout)
    return done.stdout


def shape(model, images):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0].shape


with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    lab.prepare(folder)
    images, model = pathlib.Path(os.environ.get("IMAGES", folder / "images")), os.environ.get("MODEL", lab.ROOT / "models" / "resnet20-source.onnx")
    classes, count = len([p for p in images.iterdir() if p.is_dir()]), len([p for p in images.rglob("*") if p.is_file()])
    said = run(folder, "torch_loader.py", folder / "bundle", images, folder / "loader.onnx")
    assert said.count("loss") == 3 * (count // lab.BATCH), said
    assert shape(folder / "loader.onnx", np.zeros([1, 3, 32, 32], np.float32)) == (1, classes)
    moved = subprocess.run([spgraph.binary(), "drift", model, folder / "loader.onnx", "--json"], capture_output=True, text=True)
    assert moved.returncode == 0 and '"total": 0.0,' not in moved.stdout, moved.stdout[:300] + moved.stderr

    said = run(folder, "timm_to_onnx.py", images, "resnet10t", "none")
    assert "tensors start from timm's, 2 are new" in said and "accuracy on the training images" in said, said
    assert shape(folder / "resnet10t-tuned.onnx", np.zeros([1, 3, 176, 176], np.float32)) == (1, classes)
    session = onnxruntime.InferenceSession(folder / "resnet10t-app.onnx", providers=["CPUExecutionProvider"])
    found = dict(zip((o.name for o in session.get_outputs()), session.run(None, {"images": np.zeros([1, 200, 240, 3], np.uint8)})))
    assert found["top_labels"].shape == found["top_scores"].shape == (1, 3), found
print("2 passed, 0 failed")
