"""Golden vector-Jacobian products in float64, by PyTorch's autograd on the fixtures' own files.

    python vector_jacobian.py [NAME…]

Writes tests/fixtures/vector_jacobian/NAME.safetensors for networks of tests/fixtures, in the form for inference: `images` and `cotangent`, as they are fed; `output`;
`input`, the product for the images; `parameter/<name>`, that for each parameter.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

from onnx_torch import Network

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
NAMES = ["basic.bn", "grouped.bn", "mobilenet.bn", "vgg", "conv_head", "preactivation", "tokens", "float64.bn", "shuffle.symbolic"]


def golden(name):
    entry = next(f for f in json.loads((FIXTURES / "index.json").read_text())["fixtures"] if f["name"] == name)
    network = Network(FIXTURES / entry["file"], torch.float64)
    torch.manual_seed(sum(name.encode()) + 1)
    images = torch.randn(entry["input_shape"]).double().requires_grad_()
    output = network(images, "frozen")
    cotangent = torch.randn(output.shape).double()
    parameters = network.parameters
    found = torch.autograd.grad(output, [images, *parameters.values()], cotangent, allow_unused=True)
    result = {"images": images.detach(), "cotangent": cotangent, "output": output.detach(), "input": found[0]}
    result |= {f"parameter/{n}": g for n, g in zip(parameters, found[1:]) if g is not None}
    kept = torch.float64 if entry["dtype"] == "float64" else torch.float32
    return {n: v.to(kept).contiguous() for n, v in result.items()}


if __name__ == "__main__":
    (FIXTURES / "vector_jacobian").mkdir(exist_ok=True)
    for name in sys.argv[1:] or NAMES:
        values = golden(name)
        save_file(values, FIXTURES / "vector_jacobian" / f"{name}.safetensors")
        print(name, len(values) - 4, "parameters")
