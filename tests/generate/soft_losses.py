"""Data losses on soft targets in PyTorch, in float64: values and gradients on random numbers. Writes tests/fixtures/soft_losses.safetensors."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

CASES = [
    dict(kind="cross-entropy", rows=6, scores=4, smoothing=0.0, padding="zeros"),
    dict(kind="cross-entropy", rows=6, scores=4, smoothing=0.1, padding="zeros"),
    dict(kind="cross-entropy", rows=6, scores=4, smoothing=0.1, padding="marked"),
    dict(kind="bce", rows=6, scores=4, smoothing=0.0, padding="marked"),
    dict(kind="bce", rows=6, scores=4, smoothing=0.2, padding="negative"),
    dict(kind="bce", rows=7, scores=1, smoothing=0.1, padding="marked"),
    dict(kind="mse", rows=6, scores=4, smoothing=0.0, padding="marked"),
    dict(kind="mse", rows=6, scores=3, smoothing=0.1, padding="marked"),
    dict(kind="mse", rows=7, scores=1, smoothing=0.0, padding="marked"),
]
PADDING = {"zeros": 0.0, "negative": -1.0, "marked": -1e30}


def main():
    torch.manual_seed(12)
    tensors = {}
    for n, case in enumerate(CASES):
        kind, rows, scores, smoothing = case["kind"], case["rows"], case["scores"], case["smoothing"]
        z = (torch.randn(rows, scores, dtype=torch.float64) * 2).requires_grad_()
        y = torch.rand(rows, scores, dtype=torch.float64)
        if kind == "cross-entropy":
            # Mixed labels, one label alone, and a distribution.
            y = y / y.sum(1, keepdim=True)
            y[0] = 0.7 * F.one_hot(torch.tensor(2), scores) + 0.3 * F.one_hot(torch.tensor(0), scores)
            y[2] = F.one_hot(z[2].argmax(), scores)
        elif kind == "bce":
            y[2:4] = (z[2:4] > 0).double()
        else:
            # Numbers of any sign; where the loss is squared, also far from 0 and 1.
            y = y * 6 - 3
            y[2] = z[2].detach() * 2
        kept = torch.tensor([i for i in range(rows) if i not in (1, rows - 1)])
        smooth = y * (1 - smoothing) + smoothing / max(scores, 2)
        if kind == "cross-entropy":
            loss = F.cross_entropy(z[kept], y[kept], label_smoothing=smoothing)
            correct = z.argmax(1) == y.argmax(1)
        elif kind == "bce":
            loss = F.binary_cross_entropy_with_logits(z[kept], smooth[kept])
            correct = ((z > 0) == (y > 0.5)).all(1)
        else:
            loss = F.mse_loss(z[kept], smooth[kept])
            correct = ((z > 0.5) == (y > 0.5)).all(1) if scores == 1 else z.argmax(1) == y.argmax(1)
        loss.backward()
        target = y.clone()
        target[[1, rows - 1]] = PADDING[case["padding"]]
        tensors |= {
            f"{n}/scores": z.detach().numpy(),
            f"{n}/target": target.numpy(),
            f"{n}/loss": loss.detach().numpy(),
            f"{n}/gradient": z.grad.numpy(),
            f"{n}/correct": np.array(float(correct[kept].sum())),
            f"{n}/count": np.array(float(len(kept))),
        }
    path = Path(__file__).parent.parent / "fixtures" / "soft_losses.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata={"cases": json.dumps(CASES)})


if __name__ == "__main__":
    main()
