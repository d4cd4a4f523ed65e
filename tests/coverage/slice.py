"""Writes tests/fixtures/slice: small networks as skeletons (files without weights), with PyTorch's gradients of their weights in short form.

    python slice.py [NAME…]

`tests/python/test_slice.py` fills the skeletons with the same weights and compares, without PyTorch: the slice of `make coverage` that `make check`
runs. Weights are uniform numbers from the seed and the tensor's name, with mean and spread of the network's own start. A gradient is kept as its
norm and its products with three random tensors: another gradient of the same length has others.
"""
import argparse
import copy
import functools
import itertools
import json
import pathlib
import sys
import tempfile

import networks
import numpy as np
import onnx
import timm
import torch
from exports import write
from gradients import Reference
from onnx import TensorProto, numpy_helper
from torchvision.models import MaxVit, SwinTransformer, VisionTransformer
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tests" / "fixtures" / "slice"
sys.path.insert(0, str(ROOT / "tests" / "python"))
from fill_slice import products, values  # noqa: E402

CLASSES, SIZE = 10, 64
swin = functools.partial(SwinTransformer, patch_size=[4, 4], embed_dim=24, depths=[1, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=CLASSES)
MODULES = {
    "vit": lambda: VisionTransformer(SIZE, 16, 2, 2, 32, 64, num_classes=CLASSES),
    "swin": swin,
    "swin_v2": functools.partial(swin, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2),
    "maxvit": lambda: MaxVit((SIZE, SIZE), 16, 4, [16, 24], [1, 1], 8, 0.0, num_classes=CLASSES),
}
TIMM = (
    "test_byobnet test_coatnet test_convnext test_convnext2 test_efficientnet test_efficientnet_evos test_efficientnet_gn test_efficientnet_ln test_mambaout "
    "test_maxvit test_nfnet test_resnet test_vit test_vit3 test_vit4 test_vit_relpos test_vit_relpos"
).split()
DISTURBED = 5  # times: a gradient that float32 would move must not become an expectation


def build(name):
    torch.manual_seed(0)
    if name in MODULES:
        return MODULES[name]().eval()
    sized = "vit" in name or "coatnet" in name
    return timm.create_model(name, num_classes=CLASSES, **(dict(img_size=SIZE) if sized else {})).eval()


def skeleton(module, size, export):
    """The exported file without the network's tensors, and which initializer is which of them, as it is or with turned axes."""
    with tempfile.TemporaryDirectory() as folder:
        [(_, path, failed)] = write(module, size, pathlib.Path(folder), [export])
        if not path:
            return None, {}
        model = onnx.load(path)
    held = {n: t.detach().numpy() for n, t in module.state_dict().items() if t.is_floating_point()}
    by_bytes = {}
    for name, value in held.items():
        by_bytes.setdefault(value.tobytes(), name)
    removed = {}
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        source = found(value, held, by_bytes) if value.dtype == np.float32 else None
        if source:
            removed[tensor.name] = source
            for part in ("raw_data", "float_data", "external_data", "data_location"):
                tensor.ClearField(part)
    for thing in [*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer, model.graph, model]:
        thing.ClearField("doc_string")
        if hasattr(thing, "metadata_props"):
            del thing.metadata_props[:]
    return model, removed


def found(value, held, by_bytes):
    """The tensor's name, its shape and the order of its axes, if this is it."""
    if value.tobytes() in by_bytes:
        name = by_bytes[value.tobytes()]
        return dict(of=name, shape=list(held[name].shape), axes=list(range(held[name].ndim)))
    for name, source in held.items():
        for axes in itertools.permutations(range(source.ndim)) if source.size == value.size else []:
            if np.array_equal(source.transpose(axes).ravel(), value.ravel()):
                return dict(of=name, shape=list(source.shape), axes=list(axes))
    return None


def spread(value):
    return [float(np.float32(f(value.astype(np.float64)))) for f in (np.mean, np.std, np.min, np.max)]


def refilled(module, statistics):
    module = copy.deepcopy(module)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if name in statistics:
                tensor.copy_(torch.from_numpy(values(name, tensor.shape, statistics[name])))
    return module


def steady(reference, seed, mode):
    """Whether neither float32 nor disturbances of its size move a gradient: no rectifier or maximum is about to tip."""
    _, exact = reference(seed, mode)
    others = [reference(seed, mode, torch.float32)[1]]
    for k in range(DISTURBED):
        moved = copy.deepcopy(reference.module)
        torch.manual_seed(k)
        with torch.no_grad():
            for p in moved.parameters():
                p.mul_(1 + 2e-6 * torch.randn_like(p))
        others.append(Reference(moved, reference.size)(seed, mode)[1])
    largest = max(np.linalg.norm(g) for g in exact.values())
    return all(np.linalg.norm(o[n] - g) < 5e-5 * max(np.linalg.norm(g), 1e-3 * largest) for o in others for n, g in exact.items())


def golden(reference, mode):
    seed = next((s for s in range(1, 40) if steady(reference, s, mode)), None)
    assert seed, f"{mode}: no batch is steady"
    loss, gradients = reference(seed, mode)
    return dict(seed=seed, loss=loss, gradients={n: [float(f"{p:.9g}") for p in products(n, g)] for n, g in gradients.items()})


def make(name):
    module = build(name)
    networks.spread(module)
    networks.calibrate(networks.fresh(module), SIZE)
    norms = networks.batch_norms(module)
    parameters = {n for n, _ in module.named_parameters()}
    for export in ["torchscript-live"] if norms else ["dynamo", "torchscript-live"]:
        model, removed = skeleton(networks.fresh(module), SIZE, export)
        if not (missing := parameters - {r["of"] for r in removed.values()}):
            break
    assert not missing, f"{name}: the file does not hold {missing}"
    held = module.state_dict()
    statistics = {r["of"]: spread(held[r["of"]].detach().numpy()) for r in removed.values()}
    reference = Reference(refilled(module, statistics), SIZE)
    mode = "train" if norms else "frozen"
    entry = dict(export=export, mode=mode, size=SIZE, batch=networks.BATCH, tensors=removed, statistics=statistics, **golden(reference, mode))
    FOLDER.mkdir(parents=True, exist_ok=True)
    onnx.save(model, FOLDER / f"{name}.onnx")
    (FOLDER / f"{name}.json").write_text(json.dumps(entry, separators=(",", ":")).replace("},", "},\n").replace("],", "],\n") + "\n")
    print(name, export, [(FOLDER / f"{name}.{e}").stat().st_size for e in ("onnx", "json")], entry["seed"], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    torch.set_num_threads(1)
    for name in parser.parse_args().names or [*MODULES, *TIMM]:
        make(name)
