"""Loss, logits and gradients in float64 of the classifiers of `tests/python/operator_models.py`, each operator written with PyTorch's own
functions where it has one. Writes `tests/fixtures/operators.safetensors`,
and with `operators.onnx` a network of many of them.

    .venv-generate/bin/python tests/generate/operators.py
"""
import pathlib
import sys

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "python"))
import operator_models as models  # noqa: E402


def axes(a, given):
    listed = given[0].tolist() if given else a.get("axes")
    return tuple(listed) if listed else None


def reduction(of):
    """`of(x, axes, keep)`, and nothing at all over no axes."""

    def rule(a, opset, x, *given):
        over = axes(a, given)
        if over is None and a.get("noop_with_empty_axes"):
            return x
        return of(x, over, bool(a.get("keepdims", 1)))

    return rule


def product(x, over, keep):
    for axis in sorted(a % x.dim() for a in over)[::-1]:
        x = x.prod(axis, keepdim=keep)
    return x


def softmax(function):
    def rule(a, opset, x):
        if opset >= 13:
            return function(x, a.get("axis", -1))
        return function(x.flatten(a.get("axis", 1)), -1).reshape(x.shape)

    return rule


def layer_norm(a, opset, x, scale, shift=None):
    shape = x.shape[a.get("axis", -1) :]
    normal = F.layer_norm(x, shape, eps=a.get("epsilon", 1e-5))
    return normal * scale + (0 if shift is None else shift)


def rms_norm(a, opset, x, scale):
    return F.rms_norm(x, x.shape[a.get("axis", -1) :], eps=a.get("epsilon", 1e-5)) * scale


def group_norm(a, opset, x, scale, shift):
    groups = a["num_groups"]
    if opset < 21:
        scale, shift = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, shift))
    return F.group_norm(x, groups, scale, shift, a.get("epsilon", 1e-5))


def mean_variance(a, opset, x):
    over = a.get("axes", [0, 2, 3])
    return (x - x.mean(over, keepdim=True)) / (x.var(over, unbiased=False, keepdim=True).sqrt() + 1e-9)


def pads_of(a, x):
    if a.get("auto_pad") == "SAME_UPPER":
        total = [max((-(-n // s) - 1) * s + k - n, 0) for n, s, k in zip(x.shape[2:], a["strides"], a["kernel_shape"])]
        return [t // 2 for t in total] + [t - t // 2 for t in total]
    return a.get("pads", [0, 0, 0, 0])


def lp_pool(a, opset, x):
    p, kernel = a.get("p", 2), a["kernel_shape"]
    top, left, bottom, right = pads_of(a, x)
    x = F.pad(x, (left, right, top, bottom))
    means = F.avg_pool2d(x.abs() ** p, kernel, a.get("strides", 1), ceil_mode=bool(a.get("ceil_mode")), divisor_override=1)
    return means ** (1 / p)


def average_pool(a, opset, x):
    pads = a.get("pads", [0] * 4)[:2]
    return F.avg_pool2d(x, a["kernel_shape"], a.get("strides", 1), pads, bool(a.get("ceil_mode")), bool(a.get("count_include_pad")))


def max_pool(a, opset, x):
    return F.max_pool2d(x, a["kernel_shape"], a.get("strides", 1), 0, a.get("dilations", 1), bool(a.get("ceil_mode")))


def hardmax(a, opset, x):
    flat = x.movedim(a["axis"], -1) if opset >= 13 else x.flatten(a["axis"])
    found = F.one_hot(flat.argmax(-1), flat.shape[-1])
    return found.movedim(-1, a["axis"]) if opset >= 13 else found.reshape(x.shape)


def extremum(function):
    def rule(a, opset, *xs):
        result = xs[0]
        for x in xs[1:]:
            result = function(result, x)
        return result

    return rule


def plain(function):
    return lambda a, opset, *xs: function(*xs)


OPERATORS = {
    "Elu": lambda a, _, x: F.elu(x, a.get("alpha", 1.0)),
    "Selu": lambda a, _, x: F.selu(x) if not a else a["gamma"] * F.elu(x, a["alpha"]),
    "Celu": lambda a, _, x: F.celu(x, a.get("alpha", 1.0)),
    "Gelu": lambda a, _, x: F.gelu(x, approximate=a.get("approximate", "none")),
    "Mish": plain(F.mish),
    "Swish": lambda a, _, x: F.silu(x) if not a else x * torch.sigmoid(a["alpha"] * x),
    "ThresholdedRelu": lambda a, _, x: F.threshold(x, a.get("alpha", 1.0), 0.0),
    "Shrink": lambda a, _, x: torch.where(x.abs() > a.get("lambd", 0.5), x - a.get("bias", 0.0) * x.sign(), 0.0),
    "HardSwish": plain(F.hardswish),
    "HardSigmoid": lambda a, _, x: (0.2 * x + 0.5).clamp(0, 1),
    "LeakyRelu": lambda a, _, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "Softplus": plain(F.softplus),
    "Softsign": plain(F.softsign),
    "Erf": plain(torch.erf),
    "PRelu": lambda a, _, x, slope: F.prelu(x, slope.flatten()),
    **{op: plain(getattr(torch, op.lower())) for op in "Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Reciprocal".split()},
    "Max": extremum(torch.maximum),
    "Min": extremum(torch.minimum),
    "Mean": lambda a, _, *xs: sum(xs) / len(xs),
    "Sum": lambda a, _, *xs: sum(xs),
    "Pow": plain(torch.pow),
    "Mod": plain(torch.fmod),
    "ReduceL1": reduction(lambda x, over, keep: torch.linalg.vector_norm(x, 1, over, keep)),
    "ReduceL2": reduction(lambda x, over, keep: torch.linalg.vector_norm(x, 2, over, keep)),
    "ReduceLogSum": reduction(lambda x, over, keep: x.sum(over, keep).log()),
    "ReduceLogSumExp": reduction(torch.logsumexp),
    "ReduceMax": reduction(torch.amax),
    "ReduceMean": reduction(torch.mean),
    "ReduceMin": reduction(torch.amin),
    "ReduceProd": reduction(product),
    "ReduceSum": reduction(torch.sum),
    "ReduceSumSquare": reduction(lambda x, over, keep: x.square().sum(over, keep)),
    "Softmax": softmax(torch.softmax),
    "LogSoftmax": softmax(torch.log_softmax),
    "LayerNormalization": layer_norm,
    "InstanceNormalization": lambda a, _, x, scale, shift: F.instance_norm(x, weight=scale, bias=shift, eps=a.get("epsilon", 1e-5)),
    "GroupNormalization": group_norm,
    "RMSNormalization": rms_norm,
    "LpNormalization": lambda a, _, x: F.normalize(x, a.get("p", 2), a.get("axis", -1), eps=0.0),
    "LRN": lambda a, _, x: F.local_response_norm(x, a["size"], a.get("alpha", 1e-4), a.get("beta", 0.75), a.get("bias", 1.0)),
    "MeanVarianceNormalization": mean_variance,
    "LpPool": lp_pool,
    "GlobalLpPool": lambda a, _, x: torch.linalg.vector_norm(x, a.get("p", 2), (2, 3), True),
    "AveragePool": average_pool,
    "MaxPool": max_pool,
    "Floor": plain(torch.floor),
    "Ceil": plain(torch.ceil),
    "Round": plain(torch.round),
    "Sign": plain(torch.sign),
    "IsNaN": plain(torch.isnan),
    "IsInf": plain(torch.isinf),
    "ArgMax": lambda a, _, x: x.argmax(a["axis"], keepdim=True),
    "ArgMin": lambda a, _, x: x.argmin(a["axis"], keepdim=True),
    "Hardmax": hardmax,
}


def golden(case):
    leaves = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in models.parameters(case).items()}
    h = F.conv2d(torch.tensor(models.images(case), dtype=torch.float64), leaves["conv.weight"])
    h = {"": lambda h: h, "positive": torch.exp, "unit": torch.tanh, "beyond": lambda h: h.sigmoid().exp()}[case.domain](h)
    given = [leaves.get(f"operator.{i}", torch.tensor(v) if isinstance(v, np.ndarray) else None) for i, v in enumerate(case.inputs)]
    given.insert(case.place, h)
    attributes = {k: np.float32(v).item() if isinstance(v, float) else v for k, v in case.attributes.items()}
    y = OPERATORS[case.op](attributes, case.opset, *given)
    y = h + y.detach().double() if case.beside else y
    assert tuple(y.shape[1:]) == case.out or y.numel() == models.BATCH * np.prod(case.out), f"{case.name}: {tuple(y.shape)}"
    logits = F.linear(y.reshape(models.BATCH, -1), leaves["fc.weight"], leaves["fc.bias"])
    loss = F.cross_entropy(logits, torch.tensor(models.target(case)))
    loss.backward()
    for name, leaf in leaves.items():
        assert leaf.grad is not None and leaf.grad.isfinite().all() and leaf.grad.abs().max() > 1e-8, f"{case.name}: {name}"
    found = {"loss": loss.detach(), "logits": logits.detach()} | {f"grad/{n}": leaf.grad for n, leaf in leaves.items() if not n.startswith("fc.")}
    return {f"{case.name}/{n}": t.contiguous() for n, t in found.items()}


def chain():
    leaves = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in models.chain()[1].items()}
    case = models.Case("chain", 24)
    x = torch.tensor(models.images(case, 8), dtype=torch.float64)
    x = F.conv2d(x, leaves["c1"], padding=1)
    x = F.gelu(F.group_norm(x, 4, leaves["group.scale"], leaves["group.shift"]))
    x = F.conv2d(x, leaves["c2"], padding=1, stride=2)
    x = F.mish(F.instance_norm(x, weight=leaves["instance.scale"], bias=leaves["instance.shift"]))
    x = F.prelu(x, leaves["slope"].flatten())
    x = torch.maximum(x, F.silu(F.conv2d(x, leaves["c3"])))
    x = F.local_response_norm(x, 3, 0.5, 0.75, 1.0).permute(0, 2, 3, 1)
    x = F.layer_norm(x, (8,), leaves["layer.scale"], leaves["layer.shift"])
    x = F.rms_norm(x, (8,), leaves["rms.scale"], 1e-5).permute(0, 3, 1, 2)
    x = F.avg_pool2d(x.square(), 2, divisor_override=1).sqrt().logsumexp((2, 3))
    logits = F.linear(x, leaves["fc"])
    loss = F.cross_entropy(logits, torch.tensor(models.target(case)))
    loss.backward()
    found = {"loss": loss.detach(), "logits": logits.detach()} | {f"grad/{n}": leaf.grad for n, leaf in leaves.items()}
    return {f"chain/{n}": t.contiguous() for n, t in found.items()}


if __name__ == "__main__":
    fixtures = ROOT / "tests" / "fixtures"
    onnx.save(models.chain_model(), fixtures / "operators.onnx")
    tensors = chain()
    for case in models.cases():
        assert f"{case.name}/loss" not in tensors, f"{case.name} stands twice in the list"
        tensors |= golden(case)
    # Float32 keeps seven digits, of which the tests compare four.
    save_file({n: t.float() for n, t in tensors.items()}, fixtures / "operators.safetensors")
    print(f"{len(models.cases())} classifiers")
