"""Golden Fisher information in float64: one backward pass of PyTorch for every (image, class) pair.

    python fisher.py [NAME…]

Writes tests/fixtures/fisher/NAME.safetensors for networks of tests/fixtures: `images` (float32, as they are fed) and `labels`;
`exact/<parameter>` and `empirical/<parameter>`, the means over the images; `trace/<parameter>`, the exact sum over the parameter's
elements, image by image. Nothing is batched: every gradient is that of one image's log-probability of one class.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

from onnx_torch import Network

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
NAMES = [
    "grouped.bn", "dilated.bn", "asymmetric.bn", "mobilenet.bn", "vgg", "conv_head", "shared.bn", "preactivation", "tokens",
    "float64.bn", "shuffle.symbolic",
]  # fmt: skip
IMAGES = 3


def squared_gradient(network, image, k):
    """By parameter: (∂/∂w log f_k(x))², and f_k(x)."""
    logits = network(image[None], "frozen").reshape(1, -1)
    log_p = torch.log_softmax(logits, 1)[0]
    parameters = network.parameters
    gradients = torch.autograd.grad(log_p[k], list(parameters.values()), allow_unused=True)
    squares = {n: torch.zeros_like(p) if g is None else g**2 for (n, p), g in zip(parameters.items(), gradients)}
    return squares, log_p[k].exp().detach()


def golden(name):
    entry = next(f for f in json.loads((FIXTURES / "index.json").read_text())["fixtures"] if f["name"] == name)
    network = Network(FIXTURES / entry["file"], torch.float64)
    torch.manual_seed(sum(name.encode()))
    images = torch.randn(IMAGES, *entry["input_shape"][1:])
    labels = torch.randint(entry["classes"], (IMAGES,))
    result = {"images": images, "labels": labels}
    for n, p in network.parameters.items():
        result |= {f"exact/{n}": torch.zeros_like(p).detach(), f"empirical/{n}": torch.zeros_like(p).detach()}
        result[f"trace/{n}"] = torch.zeros(IMAGES, dtype=torch.float64)
    for i, image in enumerate(images):
        for k in range(entry["classes"]):
            squares, p = squared_gradient(network, image, k)
            for n, g in squares.items():
                result[f"exact/{n}"] += p * g / IMAGES
                result[f"trace/{n}"][i] += p * g.sum()
                if k == labels[i]:
                    result[f"empirical/{n}"] += g / IMAGES
    return {n: v.contiguous() for n, v in result.items()}


if __name__ == "__main__":
    (FIXTURES / "fisher").mkdir(exist_ok=True)
    for name in sys.argv[1:] or NAMES:
        values = golden(name)
        save_file(values, FIXTURES / "fisher" / f"{name}.safetensors")
        print(name, sum(v.numel() for n, v in values.items() if n.startswith("exact/")), "parameters")
