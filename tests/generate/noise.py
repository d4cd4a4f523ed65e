"""Networks that PyTorch's exporters write in training mode, with stochastic depth and Dropout of whole channels, and what they compute in inference.

    python noise.py

Writes tests/fixtures/noise: NAME.EXPORT.onnx (float32) with `dynamo` (what PyTorch does by itself, one image), `dynamo_batch`, `script`, `script_batch`; and
NAME.safetensors with `input`, `target`, `logits` and the gradients of the cross entropy, in evaluation mode and float64. Needs torchvision and timm.
"""
import pathlib
import warnings

import onnx
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from timm.layers import DropPath
from torchvision.ops import StochasticDepth

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "noise"
RANDOM = (StochasticDepth, DropPath, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


class Paths(nn.Module):
    """Residual branches that are dropped for whole images, or for a whole batch."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.branches = nn.ModuleList([nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)])
        self.drops = nn.ModuleList([StochasticDepth(0.2, "row"), StochasticDepth(0.1, "batch"), DropPath(0.3)])
        self.inside = nn.Dropout(0.4, inplace=True)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        for branch, drop in zip(self.branches, self.drops):
            x = x + drop(torch.tanh(branch(x)))
        return self.fc(self.inside(x.mean((2, 3)) * 2.0))


class Channels(nn.Module):
    """Whole channels of sequences, images and volumes."""

    def __init__(self):
        super().__init__()
        self.stem, self.next = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.images, self.sequences, self.volumes = nn.Dropout2d(0.25), nn.Dropout1d(0.5), nn.Dropout3d(0.2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.next(self.images(torch.tanh(self.stem(x))))
        x = torch.tanh(self.sequences(x.flatten(2)))
        x = self.volumes(x.unflatten(2, (2, 3, 6)))
        return self.fc(x.mean((2, 3, 4)))


def exported(net, name, export):
    one, path = torch.randn(1, 3, 6, 6), FOLDER / f"{name}.{export}.onnx"
    new = export.startswith("dynamo")
    options = dict(dynamo=True, verbose=False, external_data=False) if new else dict(dynamo=False, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, input_names=["x"])
    if export.endswith("batch"):
        one = torch.randn(2, 3, 6, 6)
        options |= dict(dynamic_shapes=({0: torch.export.Dim("batch")},)) if new else dict(dynamic_axes={"x": {0: "batch"}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (one,), path, **options)
    model = onnx.load(path)
    # Where the exporter's source files lie.
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        kept = [p for p in getattr(part, "metadata_props", []) if p.key == "pkg.torch.onnx.name_scopes"]
        del part.metadata_props[:]
        part.metadata_props.extend(kept)
        part.doc_string = ""
    onnx.save(model, path)


def main():
    FOLDER.mkdir(exist_ok=True)
    for k, (name, make) in enumerate(dict(paths=Paths, channels=Channels).items()):
        torch.manual_seed(k)
        net = make().eval()
        images, target = torch.randn(4, 3, 6, 6), torch.tensor([0, 4, 2, 1])
        wide = make().double().eval()
        wide.load_state_dict(net.state_dict())
        logits = wide(images.double())
        F.cross_entropy(logits, target).backward()
        golden = {"input": images, "target": target, "logits": logits.detach()} | {f"grad/{n}": p.grad for n, p in wide.named_parameters()}
        save_file(golden, FOLDER / f"{name}.safetensors")
        for module in net.modules():
            if isinstance(module, RANDOM):
                module.train()
        # Its older exporter has no Dropout2d.
        for export in ("dynamo", "dynamo_batch", *(("script", "script_batch") if name == "paths" else ())):
            exported(net, name, export)


if __name__ == "__main__":
    main()
