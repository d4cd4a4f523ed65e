"""How far the gradients of PyTorch's autocast are from those in float64; run by itself it writes `tests/fixtures/autocast.json`.

    .venv-generate/bin/python tests/generate/autocast.py

An error is the norm of the difference over that of the float64 gradient; of each case one for each variant of the network (`tests/python/smooth.py`). A rectifier
or a pooling that a rounding moves to the other side of its kink changes single tensors' gradients by chance. So `tensors` has errors of single tensors, the
median of the variants, for networks whose kinks are exchanged. `whole` has one number for each variant of a network as it is: the error of all
parameters together. Gradients in float16 are those of a loss that is scaled by 1024.
"""
import json
import pathlib
import sys
import tempfile

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from onnx_torch import Network

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.append(str(TESTS / "python"))
from smooth import has_kinks, variant, without_kinks  # noqa: E402

FIXTURES = TESTS / "fixtures"
NETWORKS = ["basic.bn", "vgg", "bottleneck.bn", "silu.bn", "mobilenet.bn", "dense", "grouped.bn", "tokens"]
SEEDS = range(4100, 4124)
SCALE = 1024.0


def gradients(path, seed, golden, mode, half):
    network = Network(path, torch.float32 if half else torch.float64)
    varied, x = variant(seed, {n: p.detach().numpy() for n, p in network.parameters.items()}, golden["input"].numpy())
    with torch.no_grad():
        for name, value in varied.items():
            network.parameters[name].copy_(torch.from_numpy(value))
    with torch.autocast("cpu", half or torch.float32, enabled=half is not None):
        logits = network(torch.from_numpy(x), mode)
    scale = SCALE if half == torch.float16 else 1.0
    (F.cross_entropy(logits.float() if half else logits, golden["target"]) * scale).backward()
    return {n: p.grad.double() / scale for n, p in network.parameters.items()}


def squares(path, golden, mode, half):
    """By variant and tensor: the error's sum of squares, and the gradient's own."""
    found = []
    for seed in SEEDS:
        exact, rough = (gradients(path, seed, golden, mode, kind) for kind in (None, half))
        found.append({n: np.array([(rough[n] - exact[n]).square().sum().item(), exact[n].square().sum().item()]) for n in exact})
    return found


def error(pair):
    return (pair[0] / pair[1]) ** 0.5


def short(number):
    return float(f"{number:.3g}")


def main():
    entries = {f["name"]: f for f in json.loads((FIXTURES / "index.json").read_text())["fixtures"]}
    found = {"tensors": {}, "whole": {}}
    for name in NETWORKS:
        entry = entries[name]
        golden = load_file(FIXTURES / entry["golden"])
        path = FIXTURES / entry["file"]
        with tempfile.TemporaryDirectory() as folder:
            smooth = pathlib.Path(folder) / "smooth.onnx"
            onnx.save(without_kinks(path), smooth)
            for mode in entry["batch_norm"]:
                for half in (torch.bfloat16, torch.float16):
                    case = f"{name}/{mode}/{str(half).removeprefix('torch.')}"
                    variants = squares(smooth, golden, mode, half)
                    compared = [n for n in variants[0] if n not in entry["zero_gradients"][mode]]
                    found["tensors"][case] = {n: short(np.median([error(v[n]) for v in variants])) for n in compared}
                    if has_kinks(path):
                        found["whole"][case] = [short(error(sum(v.values()))) for v in squares(path, golden, mode, half)]
    (FIXTURES / "autocast.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
