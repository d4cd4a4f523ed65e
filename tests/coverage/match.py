"""Which tensor of a bundle is which parameter of the network: by value, since exporters rename, transpose, cut and fold.

Every link gives PyTorch's gradient of the bundle's tensor from PyTorch's gradients of the network's parameters.
"""
import itertools
from dataclasses import dataclass, field
from typing import Callable

import numpy as np


@dataclass
class Link:
    """`gradient(gradients)`: PyTorch's gradient of the bundle's tensor, which is compared with what `project` makes of the bundle's;
    `covers`: elements of each parameter that it stands for."""

    how: str
    gradient: Callable
    covers: dict = field(default_factory=dict)
    project: Callable = lambda found: found


class Matcher:
    def __init__(self, module, norms):
        self.values = {n: p.detach().numpy() for n, p in module.named_parameters()}
        self.by_bytes = {}
        self.by_size = {}
        for n, v in self.values.items():
            self.by_bytes.setdefault(v.tobytes(), n)
            self.by_size.setdefault(v.size, []).append(n)
        names = {id(m): n for n, m in module.named_modules()}
        self.norms = [(names[id(m)], *folded(m)) for m in norms if m.affine and m.running_mean is not None]
        self.folds = []  # (layer's weight, norm's name, scale, shift)

    def links(self, state):
        """`state`: values by name. Whole tensors first: shifts are recognised by the scales that weights were folded with."""
        found = {}
        for rule in (self.whole, self.scaled, self.permuted, self.part, self.gathered, self.joined, self.shifted):
            for name, value in state.items():
                if name not in found and (link := rule(value)):
                    found[name] = link
        return found

    def whole(self, value):
        name = self.by_bytes.get(value.tobytes())
        return name and Link("same", lambda g: g[name].reshape(value.shape), {name: value.size})

    def permuted(self, value):
        for name in self.by_size.get(value.size, []):
            source = self.values[name]
            if source.flat[0] != value.flat[0]:
                continue
            for shape in {source.shape, tuple(d for d in source.shape if d > 1)}:
                for axes in itertools.permutations(range(len(shape))) if 1 < len(shape) < 6 else []:
                    if np.array_equal(source.reshape(shape).transpose(axes).ravel()[:64], value.ravel()[:64]) and np.array_equal(
                        source.reshape(shape).transpose(axes).ravel(), value.ravel()
                    ):
                        return Link("transposed", lambda g: g[name].reshape(shape).transpose(axes).reshape(value.shape), {name: value.size})
        return None

    def part(self, value):
        """A run of rows of a parameter, as it is or transposed: queries, keys and values."""
        if value.size < 2:
            return None
        forms = [(value, False)] + ([(value.T, True)] if value.ndim == 2 else [])
        for (form, turned), (name, source) in itertools.product(forms, self.values.items()):
            if source.size <= value.size or source.size % value.size and source[0].size > value.size:
                continue
            flat, wanted = source.ravel(), np.ascontiguousarray(form).ravel()
            for at in np.flatnonzero(flat[: source.size - value.size + 1] == wanted[0]):
                if np.array_equal(flat[at : at + value.size], wanted):
                    def gradient(g, name=name, at=at, turned=turned, shape=form.shape):
                        cut = g[name].ravel()[at : at + value.size].reshape(shape)
                        return cut.T if turned else cut.reshape(value.shape)
                    return Link("part", gradient, {name: value.size})  # fmt: skip
        return None

    def gathered(self, value):
        """A table from which the exporter has already looked up every place: a place's gradients add up in the table."""
        for name, source in self.values.items():
            if 1 < source.size < value.size and value.size <= 1 << 20:
                order = np.argsort(source, axis=None)
                flat = source.ravel()[order]
                at = np.minimum(np.searchsorted(flat, value.ravel()), source.size - 1)
                if np.array_equal(flat[at], value.ravel()) and len(np.unique(flat)) == source.size:
                    places = order[at]
                    read = np.isin(np.arange(source.size), places)
                    return Link(
                        "gathered", lambda g: g[name].ravel() * read, {name: source.size},
                        lambda found: np.bincount(places, weights=np.asarray(found, np.float64).ravel(), minlength=source.size),
                    )  # fmt: skip
        return None

    def joined(self, value):
        """Parameters that the exporter has put one behind the other, perhaps with zeros between: biases of queries and values."""
        flat, runs = value.ravel(), []
        for name, source in self.values.items():
            if 1 < source.size < flat.size:
                wanted = source.ravel()
                for at in np.flatnonzero(flat[: flat.size - source.size + 1] == wanted[0])[:4]:
                    if np.array_equal(flat[at : at + source.size], wanted):
                        runs.append((name, slice(at, at + source.size)))
                        break
        if not runs:
            return None
        return Link(
            "joined", lambda g: np.concatenate([g[n].ravel() for n, _ in runs]), {n: self.values[n].size for n, _ in runs},
            lambda found: np.concatenate([np.asarray(found).ravel()[run] for _, run in runs]),
        )  # fmt: skip

    def scaled(self, value):
        """A weight that a BatchNorm behind it was folded into, channel by channel."""
        if value.ndim < 2:
            return None
        for name in self.by_size.get(value.size, []):
            source = self.values[name].astype(np.float64)
            if source.shape != value.shape:
                continue
            rows, wanted = source.reshape(len(source), -1), value.reshape(len(value), -1).astype(np.float64)
            scale = (rows * wanted).sum(1) / np.maximum((rows * rows).sum(1), 1e-300)
            if not np.allclose(rows * scale[:, None], wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max()):
                continue
            for norm, factor, shift in self.norms:
                if len(factor) == len(scale) and np.allclose(factor, scale, rtol=1e-4):
                    self.folds.append((name, norm, factor, shift))
                    wide = factor.reshape(-1, *[1] * (value.ndim - 1))
                    return Link("folded", lambda g: g[name] / wide, {name: value.size, f"{norm}.weight": len(factor)})
        return None

    def shifted(self, value):
        """The bias of such a layer."""
        for name, norm, factor, shift in self.folds:
            if value.size != len(factor):
                continue
            bias = self.values.get(f"{name.removesuffix('weight')}bias")
            whole = shift if bias is None else shift + bias * factor
            if np.allclose(whole.ravel(), value.ravel(), rtol=1e-4, atol=1e-4 * np.abs(whole).max()):
                covers = {f"{norm}.bias": value.size}
                if bias is not None:
                    covers[f"{name.removesuffix('weight')}bias"] = value.size
                return Link("folded", lambda g: g[f"{norm}.bias"].reshape(value.shape), covers)
        return None


def folded(norm):
    """The factor and the shift that a BatchNorm in inference form is."""
    mean, variance, weight, bias = (t.detach().double().numpy() for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    factor = weight / np.sqrt(variance + norm.eps)
    return factor, bias - mean * factor
