"""What PyTorch's own classes say of the training loop, in float64: learning rates of its schedulers, losses with class weights, and a step whose
batch is filled up with images that count in BatchNorm's statistics alone. Writes tests/fixtures/training_loop.safetensors."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR

from onnx_torch import Network

FIXTURES = Path(__file__).parents[1] / "fixtures"

# As spgraph writes them, with the steps, those of the warm-up, and those of an epoch.
SCHEDULES = [
    dict(schedule="constant", steps=30, warmup=0, per_epoch=7),
    dict(schedule="constant", steps=30, warmup=5, per_epoch=7),
    dict(schedule="step", steps=30, warmup=0, per_epoch=7),
    dict(schedule="step", steps=31, warmup=4, per_epoch=7),
    dict(schedule="step:0.5@0.5,0.75", steps=41, warmup=3, per_epoch=7),
    dict(schedule="step:0.3@2e,4e", steps=40, warmup=6, per_epoch=7),
    dict(schedule="cosine", steps=40, warmup=0, per_epoch=7),
    dict(schedule="cosine", steps=40, warmup=8, per_epoch=7),
    dict(schedule="cosine:0.05", steps=37, warmup=1, per_epoch=7),
    dict(schedule="cosine:0.2", steps=37, warmup=9, per_epoch=7),
]
LOSSES = [
    dict(kind="cross-entropy", rows=7, scores=4, smoothing=0.0),
    dict(kind="cross-entropy", rows=7, scores=4, smoothing=0.1),
    dict(kind="bce", rows=7, scores=4, smoothing=0.0),
    dict(kind="bce", rows=7, scores=1, smoothing=0.1),
    dict(kind="mse", rows=7, scores=3, smoothing=0.2),
    dict(kind="mse", rows=7, scores=1, smoothing=0.0),
]


def milestones(text, steps, per_epoch):
    """The first steps with a lower rate."""
    shares = text.split("@")[1] if "@" in text else str(2 / 3)
    for part in shares.split(","):
        if part.endswith("e"):
            yield int(part[:-1]) * per_epoch
        else:
            yield next(k for k in range(steps + 1) if k >= float(part) * steps)


def rates(case):
    text, steps, warmup, per_epoch = case["schedule"], case["steps"], case["warmup"], case["per_epoch"]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))], lr=1.0)
    name, value = text.split("@")[0].split(":") if ":" in text else (text, None)
    if name == "constant":
        main = ConstantLR(optimizer, factor=1.0)
    elif name == "step":
        # Behind the warm-up a scheduler counts from 0.
        main = MultiStepLR(optimizer, [m - warmup for m in milestones(text, steps, per_epoch)], gamma=float(value or 0.1))
    else:
        main = CosineAnnealingLR(optimizer, T_max=steps - warmup, eta_min=float(value or 0.0))
    if warmup > 1:
        main = SequentialLR(optimizer, [LinearLR(optimizer, 1 / warmup, 1.0, total_iters=warmup - 1), main], milestones=[warmup])
    elif warmup == 1 and name == "cosine":
        # A warm-up of one step is a step at the full rate.
        main = SequentialLR(optimizer, [ConstantLR(optimizer, factor=1.0), main], milestones=[1])
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        main.step()
    return torch.tensor(found, dtype=torch.float64)


def loss(case, z, label, weight):
    kind, scores, smoothing = case["kind"], case["scores"], case["smoothing"]
    if kind == "cross-entropy":
        return torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing)(z, label)
    if scores == 1:
        y = label[:, None].double() * (1 - smoothing) + smoothing / 2
    else:
        y = F.one_hot(label, scores).double() * (1 - smoothing) + smoothing / scores
    # The weight of a row is its class's, and the mean is weighted, as CrossEntropyLoss's is.
    rows = weight[label] / weight[label].sum()
    each = F.binary_cross_entropy_with_logits(z, y, reduction="none") if kind == "bce" else F.mse_loss(z, y, reduction="none")
    return (rows * each.mean(1)).sum()


def filled_step(tensors):
    """One step of SGD in which the last row of the batch has no target."""
    batch = load_file(FIXTURES / "basic.bn.batches.safetensors")
    x, target = batch["0/input"].double(), batch["0/target"].long().clone()
    target[-1] = -1
    network = Network(FIXTURES / "basic.bn.onnx", torch.float64)
    logits = network(x, "train")
    value = torch.nn.CrossEntropyLoss(ignore_index=-1)(logits, target)
    optimizer = torch.optim.SGD(network.parameters.values(), lr=0.1)
    value.backward()
    correct = (logits.argmax(1) == target).sum()
    optimizer.step()
    tensors |= {"filled/input": batch["0/input"], "filled/target": target, "filled/loss": value.detach()[None], "filled/correct": correct[None].double()}
    tensors |= {f"filled/final/{n}": p.detach() for n, p in network.parameters.items()}
    tensors |= {f"filled/final/{n}": b for n, b in network.buffers.items()}


def main():
    torch.manual_seed(5)
    tensors = {f"schedule/{n}": rates(case) for n, case in enumerate(SCHEDULES)}
    for n, case in enumerate(LOSSES):
        rows, scores = case["rows"], case["scores"]
        classes = max(scores, 2)
        z = (torch.randn(rows, scores, dtype=torch.float64) * 2).requires_grad_()
        label = torch.arange(rows) % classes
        weight = torch.rand(classes, dtype=torch.float64) * 3 + 0.1
        # The second row is padding: what PyTorch does without it.
        kept = torch.tensor([i for i in range(rows) if i != 1])
        value = loss(case, z[kept], label[kept], weight)
        value.backward()
        label[1] = -1
        parts = dict(scores=z.detach(), target=label, weight=weight, loss=value.detach()[None], gradient=z.grad)
        tensors |= {f"weighted/{n}/{name}": t for name, t in parts.items()}
    filled_step(tensors)
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    save_file(tensors, FIXTURES / "training_loop.safetensors", {"schedules": json.dumps(SCHEDULES), "losses": json.dumps(LOSSES)})


main()
