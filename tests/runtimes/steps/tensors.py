"""Batches and weights in files, with numpy alone: for Pythons that have little else."""
import json
import pathlib

import numpy as np


def batches(path, manifest, steps):
    """Images and labels of each step."""
    image, label = manifest["data"]["input"], manifest["data"]["target"]
    shape, labels = [steps, *image["shape"]], [steps, *label["shape"]]
    data = pathlib.Path(path).read_bytes()
    split = 4 * int(np.prod(shape))
    if len(data) != split + 8 * int(np.prod(labels)):
        raise SystemExit(f"{path} has {len(data)} bytes, which are not {steps} batches of this bundle")
    return np.frombuffer(data[:split], "<f4").reshape(shape).astype(image["dtype"]), np.frombuffer(data[split:], "<i8").reshape(labels)


def save(path, tensors):
    """Safetensors."""
    header, body = {}, []
    for name, tensor in tensors.items():
        data = np.ascontiguousarray(tensor, np.float32).tobytes()
        at = sum(map(len, body))
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(data)]}
        body.append(data)
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(body))
