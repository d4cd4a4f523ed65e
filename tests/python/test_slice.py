"""Every gradient of small transformers, normalizer-free networks and their like against PyTorch's in float64, in short form (tests/coverage/slice.py):
the slice of `make coverage` that needs no PyTorch."""
import json

import numpy as np
import pytest
from fill_slice import as_in_pytorch, batch, fill, products
from harness import FIXTURES, rewrite

NETWORKS = sorted((FIXTURES / "slice").glob("*.onnx"))
TOLERANCE = 2e-4  # of a gradient's norm, or of a thousandth of the largest one
SPREAD = 4  # a product of a difference with a random tensor is rarely above four times its norm


@pytest.mark.parametrize("path", NETWORKS, ids=lambda p: p.stem)
def test_every_gradient(path, tmp_path):
    entry = json.loads(path.with_suffix(".json").read_text())
    model = fill(path, tmp_path / "model.onnx", entry)
    bundle = rewrite(model, tmp_path / "bundle", "--split", batch=entry["batch"], batch_norm=entry["mode"])
    images, target = batch(entry["seed"], entry["batch"], entry["size"])
    outputs = bundle.graph("grad")(bundle.feeds(bundle.start(), images, target))
    assert abs(float(outputs["loss"]) - entry["loss"]) < 1e-5 * abs(entry["loss"])
    found, lines = {}, []
    for name, gradient in bundle.gradients(outputs).items():
        if source := entry["tensors"].get(name):
            found[source["of"]] = products(source["of"], as_in_pytorch(gradient, source))
    lines += [f"{n}: not trained" for n in entry["gradients"].keys() - found.keys()]
    largest = max(g[0] for g in entry["gradients"].values())
    for name, expected in entry["gradients"].items():
        error = np.abs(np.subtract(found.get(name, expected), expected)).max() / max(expected[0], 1e-3 * largest)
        if not error < SPREAD * TOLERANCE:
            lines.append(f"{name}: {found[name]}, PyTorch has {expected}")
    assert not lines, "\n".join(lines)
