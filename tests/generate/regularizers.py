"""DELTA, BSS and LwF as PyTorch would have them, written from the papers' formulas; autograd finds the gradients.

    python regularizers.py      writes tests/fixtures/regularizers.safetensors: each term by itself, on random numbers
"""
import json
import pathlib

import torch
import torch.nn.functional as F

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"


def delta(tuned, source, rows, attention=None, axis=1):
    """½·Σ_j a_j·‖FM_j − FM0_j‖² / (h·w), the mean over the rows that count."""
    square = ((tuned - source) ** 2).movedim(axis, 1).flatten(2) if tuned.dim() > 2 else (tuned - source).unsqueeze(2) ** 2
    channels = square.mean(2)
    if attention is not None:
        channels = channels * attention
    return (0.5 * channels.sum(1))[rows].mean()


def bss(features, k):
    """The squares of the k smallest singular values."""
    return (torch.linalg.svd(features, full_matrices=False).S[-k:] ** 2).sum()


def lwf(tuned, source, rows, temperature):
    """KL(source ‖ tuned) of the cooled softmax, the mean over the rows that count."""
    log_q, p = F.log_softmax(tuned[rows] / temperature, 1), F.softmax(source[rows] / temperature, 1)
    return F.kl_div(log_q, p, reduction="batchmean")


class Terms:
    """The regularizers of a training run: `terms` are dicts with `kind`, `strength` and the kind's settings. `names` are the values of
    the file that they look at: of each residual stage the last convolution, the classifier's input."""

    def __init__(self, network, reference, terms, names):
        self.network, self.reference, self.terms, self.names = network, reference, terms, names

    def __call__(self, x, logits):
        if not self.terms:
            return 0.0
        tuned, rows = dict(self.network.values), slice(None)
        with torch.no_grad():
            before = self.reference(x, "frozen")
        source = self.reference.values
        total = 0.0
        for term in self.terms:
            kind = term["kind"]
            if kind == "delta":
                found = sum(delta(tuned[n], source[n], rows) for n in self.names["maps"])
            elif kind == "bss":
                found = bss(tuned[self.names["features"]].flatten(1), term.get("k", 1))
            else:
                found = lwf(logits, before, rows, term.get("temperature", 3.0))
            total = total + term["strength"] * found
        return total


def with_singular_values(rows, columns, values, generator):
    """A matrix that has them."""
    u = torch.linalg.qr(torch.randn(rows, rows, generator=generator, dtype=torch.float64)).Q
    v = torch.linalg.qr(torch.randn(columns, columns, generator=generator, dtype=torch.float64)).Q
    s = torch.tensor(values, dtype=torch.float64)
    return u[:, : len(s)] * s @ v[:, : len(s)].t()


def cases():
    g = torch.Generator().manual_seed(17)
    rand = lambda *shape: torch.randn(shape, generator=g, dtype=torch.float64)
    all_rows = lambda n: torch.zeros(n, dtype=torch.int64)
    padded = torch.tensor([2, -1, 0, 1, -1])
    for name, shape, axis, target, attention in [
        ("maps", (3, 4, 5, 6), 1, all_rows(3), False), ("maps with attention", (3, 4, 5, 6), 1, all_rows(3), True),
        ("padded maps with attention", (5, 3, 2, 2), 1, padded, True), ("vectors", (4, 7), 1, all_rows(4), True),
        ("tokens", (2, 5, 3), 2, all_rows(2), True), ("tokens without attention", (2, 5, 3), 2, all_rows(2), False),
    ]:  # fmt: skip
        weights = torch.rand(shape[axis], generator=g, dtype=torch.float64) if attention else None
        yield dict(name=name, kind="delta", axis=axis), dict(tuned=rand(*shape), source=rand(*shape), target=target, attention=weights)
    for temperature, target in [(3.0, all_rows(4)), (1.0, all_rows(4)), (2.0, padded)]:
        n = len(target)
        yield dict(name=f"T = {temperature}, {n} rows", kind="lwf", temperature=temperature), dict(tuned=2 * rand(n, 6), source=2 * rand(n, 6), target=target)
    for rows, columns in [(6, 11), (11, 6), (5, 5), (1, 4)]:
        for k in (1, 3):
            if k <= min(rows, columns):
                yield dict(name=f"{rows} by {columns}, k = {k}", kind="bss", k=k), dict(tuned=rand(rows, columns), target=all_rows(rows))
    wide = with_singular_values(32, 200, [40.0 * 0.85**i for i in range(32)], g)
    yield dict(name="32 images of 200 features", kind="bss", k=2), dict(tuned=wide, target=all_rows(32))
    for gap in (1e-2, 1e-4, 1e-6):
        for k in (1, 2):
            near = with_singular_values(6, 9, [3.0, 2.0, 1.5, 1.0, 0.5 + gap, 0.5], g)
            yield dict(name=f"two values {gap} apart, k = {k}", kind="bss", k=k, near=gap), dict(tuned=near, target=all_rows(6))
    yield dict(name="padded, rows on the smaller side", kind="bss", k=1), dict(tuned=rand(5, 8), target=padded)
    yield dict(name="padded, columns on the smaller side", kind="bss", k=1), dict(tuned=rand(5, 2), target=padded)
    # Features that no image has: the smallest singular values are 0, and so is their gradient.
    dead = rand(7, 4)
    dead[:, [1, 3]] = 0
    yield dict(name="dead features", kind="bss", k=2, zero=True), dict(tuned=dead, target=all_rows(7))


def main():
    from safetensors.torch import save_file

    tensors, index = {}, []
    for n, (about, inputs) in enumerate(cases()):
        strength = 0.25 + 0.5 * n % 2.0
        tuned, rows = inputs["tuned"].requires_grad_(True), inputs["target"] >= 0
        if about.get("zero"):
            value, gradient = torch.zeros((), dtype=torch.float64), torch.zeros_like(tuned)
        else:
            value = strength * {
                "delta": lambda: delta(tuned, inputs["source"], rows, inputs["attention"], about["axis"]),
                "bss": lambda: bss(tuned[rows], about["k"]),
                "lwf": lambda: lwf(tuned, inputs["source"], rows, about["temperature"]),
            }[about["kind"]]()
            (gradient,) = torch.autograd.grad(value, tuned)
        index.append(about | dict(strength=strength))
        found = inputs | dict(value=value, gradient=gradient)
        tensors |= {f"{n}/{k}": v.detach().clone().contiguous() for k, v in found.items() if v is not None}
    path = FIXTURES / "regularizers.safetensors"
    save_file(tensors, path, metadata={"cases": json.dumps(index)})
    path.chmod(0o644)
    print(path.name, len(index), "cases", path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
