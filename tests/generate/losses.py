"""Data losses in PyTorch, in float64: values and gradients on random numbers. Writes tests/fixtures/losses.safetensors."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

CASES = [
    dict(kind="cross-entropy", rows=5, scores=4, scale=3.0, smoothing=0.0),
    dict(kind="cross-entropy", rows=5, scores=4, scale=3.0, smoothing=0.1),
    dict(kind="bce", rows=5, scores=4, scale=3.0, smoothing=0.0),
    dict(kind="bce", rows=6, scores=3, scale=60.0, smoothing=0.0),
    dict(kind="bce", rows=5, scores=4, scale=3.0, smoothing=0.2),
    dict(kind="bce", rows=7, scores=1, scale=3.0, smoothing=0.0),
    dict(kind="bce", rows=7, scores=1, scale=3.0, smoothing=0.1),
    dict(kind="mse", rows=5, scores=4, scale=1.0, smoothing=0.0),
    dict(kind="mse", rows=5, scores=4, scale=1.0, smoothing=0.1),
    dict(kind="mse", rows=7, scores=1, scale=1.0, smoothing=0.0),
    dict(kind="multi-label", rows=5, scores=4, scale=3.0, smoothing=0.0),
    dict(kind="multi-label", rows=6, scores=3, scale=60.0, smoothing=0.0),
]


def smoothed(target, scores, smoothing):
    """The scores that labels ask for."""
    if scores == 1:
        hot = target[:, None].double()
        return hot * (1 - smoothing) + smoothing / 2
    return F.one_hot(target, scores).double() * (1 - smoothing) + smoothing / scores


def right(z, target, kind):
    if z.shape[1] == 1:
        threshold = 0.5 if kind == "mse" else 0.0
        return ((z[:, 0] > threshold).long() == target).sum()
    return (z.argmax(1) == target).sum()


def main():
    torch.manual_seed(11)
    tensors = {}
    for n, case in enumerate(CASES):
        kind, rows, scores = case["kind"], case["rows"], case["scores"]
        z = (torch.randn(rows, scores, dtype=torch.float64) * case["scale"]).requires_grad_()
        # The second row is padding: what PyTorch does without it.
        kept = torch.tensor([i for i in range(rows) if i != 1])
        if kind == "multi-label":
            y = (torch.rand(rows, scores) < 0.4).double()
            y[0, 0] = 0.3
            y[2] = (z[2] > 0).double()
            loss = F.binary_cross_entropy_with_logits(z[kept], y[kept])
            correct = ((z[kept] > 0) == (y[kept] > 0.5)).all(1).sum()
            target = y.clone()
            target[1] = -1
        else:
            label = torch.randint(0, max(scores, 2), (rows,))
            y = smoothed(label, scores, case["smoothing"])
            if kind == "cross-entropy":
                loss = F.cross_entropy(z[kept], label[kept], label_smoothing=case["smoothing"])
            elif kind == "bce":
                loss = F.binary_cross_entropy_with_logits(z[kept], y[kept])
            else:
                loss = F.mse_loss(z[kept], y[kept])
            correct = right(z[kept], label[kept], kind)
            target = label.clone()
            target[1] = -1
        loss.backward()
        tensors |= {
            f"{n}/scores": z.detach().numpy(),
            f"{n}/target": target.numpy(),
            f"{n}/loss": loss.detach().numpy(),
            f"{n}/gradient": z.grad.numpy(),
            f"{n}/correct": np.array(float(correct)),
        }
    path = Path(__file__).parent.parent / "fixtures" / "losses.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata={"cases": json.dumps(CASES)})


if __name__ == "__main__":
    main()
