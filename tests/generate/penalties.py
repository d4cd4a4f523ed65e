"""The penalties and their steps as PyTorch would have them, written from the formulas; autograd finds the gradients of most."""
import torch

INSIDE_ROOT = 1e-16  # what the paper's authors add, so that the gradient is 0 at 0


def groups(w):
    """One row for each output channel: these fixtures hold Conv and Gemm with transB, whose outputs lie along axis 0."""
    return w.flatten(1)


def term(kind, alpha, weights):
    """The penalty of (w, w0, F) triples."""
    def one(w, start, fisher):
        d = w - start
        root = lambda square: w[0].numel() ** 0.5 * (square.sum(1) + INSIDE_ROOT).sqrt()
        return {
            "none": lambda: w.sum() * 0,
            "l2": lambda: (w**2).sum() / 2,
            "l2-sp": lambda: (d**2).sum() / 2,
            "l2-sp-fisher": lambda: (fisher * d**2).sum() / 2,
            "l1-sp": lambda: d.abs().sum(),
            "gl-sp": lambda: root(groups(d**2)).sum(),
            "gl-sp-fisher": lambda: root(groups(fisher * d**2)).sum(),
        }[kind]()

    return alpha * sum(one(*w) for w in weights)


@torch.no_grad()
def proximal(kind, thresholds, weights):
    """The soft-threshold of w − w0, by element or by group, in place; `thresholds` are lr·α for each weight."""
    for (w, start, _), threshold in zip(weights, thresholds):
        d = w - start
        if kind == "l1-sp":
            size, limit = d.abs(), threshold
        else:
            size, limit = groups(d).norm(dim=1).view(-1, *[1] * (w.dim() - 1)).expand_as(d), threshold * w[0].numel() ** 0.5
        w.copy_(torch.where(size <= limit, start, start + d * (1 - limit / size)))


@torch.no_grad()
def decoupled(kind, factors, weights, before):
    """w ← w − lr·α·∇Ω(w) at the w that the step started from, in place; `factors` are lr·α for each weight."""
    for (w, start, fisher), old, factor in zip(weights, before, factors):
        w -= factor * {"l2": lambda: old, "l2-sp": lambda: old - start, "l2-sp-fisher": lambda: fisher * (old - start)}[kind]()
