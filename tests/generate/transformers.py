"""Makes tests/fixtures/transformers: torchvision's transformers and classifiers that pool by attention, small and with random weights, as both exporters
of PyTorch write them.

    python transformers.py          # all, or: transformers.py NAME…

`NAME.EXPORT.onnx` is the file, `NAME.safetensors` what PyTorch computes in float64: `input`, `target`, `logits`, and for every parameter `start/P` and
`grad/P`. `index.json` lists for each file the parameters whose values it holds, perhaps transposed: exporters fold others away. The network in the file
has names of its own, so values tell which is which; no two parameters are equal.
"""
import json
import pathlib
import sys
import warnings

import numpy as np
import onnx
import torch
from attention_pools import NETWORKS as POOLS
from onnx import numpy_helper
from safetensors.numpy import save_file
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.maxvit import MaxVit
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2
from torchvision.models.vision_transformer import VisionTransformer

warnings.filterwarnings("ignore")
OUT = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "transformers"
SWIN = dict(patch_size=[4, 4], embed_dim=4, depths=[2, 1], num_heads=[2, 2], window_size=[2, 2], mlp_ratio=1.0, stochastic_depth_prob=0.0, num_classes=5)
NETWORKS = {
    "vit": (lambda: VisionTransformer(image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=5), 16),
    "swin": (lambda: SwinTransformer(**SWIN), 24),
    "swin2": (lambda: SwinTransformer(**SWIN, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2), 24),
    "maxvit": (lambda: MaxVit((16, 16), 4, 2, [4], [1], 2, 0.0, num_classes=5), 16),
    "convnext": (lambda: ConvNeXt([CNBlockConfig(4, 6, 1), CNBlockConfig(6, None, 1)], num_classes=5), 32),
} | POOLS
EXPORTS = {"dynamo": {}, "old": dict(dynamo=False), "old_dynamic": dict(dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n"}})}
# PyTorch's older exporter writes a file that is right for one image only, and declares any number.
WITHOUT = [("pool_probe", "old_dynamic")]


def forms(tensor):
    """A parameter as a file may hold it."""
    yield tensor
    if tensor.ndim == 2:
        yield tensor.T


def holds(values, start):
    return any(v.shape == form.shape and np.array_equal(v, form) for v in values for form in forms(start))


def stored(model):
    values = [numpy_helper.to_array(t) for t in model.graph.initializer]
    for node in model.graph.node:
        if node.op_type == "Constant":
            values += [numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"]
    return values


def bare(model):
    """Without what exporters note for people: most of a small file."""
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    del model.graph.value_info[:]
    del model.functions[:]
    return model


def make(name):
    build, size = NETWORKS[name]
    torch.manual_seed(0)
    module = build()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn_like(p) * 0.2 + (0.5 if p.dim() == 1 else 0.0))
    module.eval()
    index = {}
    start = {n: p.detach().numpy().copy() for n, p in module.named_parameters()}
    for export, options in EXPORTS.items():
        if (name, export) in WITHOUT:
            continue
        path = OUT / f"{name}.{export}.onnx"
        fresh = dict(external_data=False, verbose=False) if export == "dynamo" else {}
        torch.onnx.export(module, (torch.randn(1, 3, size, size),), path, **options, **fresh)
        model = bare(onnx.load(path))
        onnx.checker.check_model(model)
        onnx.save(model, path)
        values = stored(model)
        index[path.name] = sorted(n for n, t in start.items() if holds(values, t))
    rng = np.random.default_rng(0)
    images, target = rng.standard_normal((3, 3, size, size)).astype(np.float32), np.array([0, 3, 1])
    module.double()
    logits = module(torch.from_numpy(images).double())
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(target)).backward()
    golden = {"input": images, "target": target, "logits": logits.detach().numpy()}
    for n, p in module.named_parameters():
        golden |= {f"start/{n}": start[n], f"grad/{n}": p.grad.numpy().astype(np.float32)}
    save_file({n: np.ascontiguousarray(t) for n, t in golden.items()}, OUT / f"{name}.safetensors")
    return index


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    path = OUT / "index.json"
    index = json.loads(path.read_text()) if sys.argv[1:] else {}
    for name in sys.argv[1:] or NETWORKS:
        index |= make(name)
    path.write_text(json.dumps(index, indent=1) + "\n")
