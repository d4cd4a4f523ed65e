"""One optimizer step after another: PyTorch's own where it has one; LARS and Selective Projection Decay written by hand from their
papers. `extras` counts what happened, so that a run which never clips or never projects is noticed."""
import fnmatch

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Lars(torch.optim.Optimizer):
    """You et al. 2017 (arXiv 1708.03888), algorithm 1, with the norm of the whole gradient in the denominator; one-axis parameters
    get momentum SGD."""

    def __init__(self, params, lr, momentum, trust):
        super().__init__(params, dict(lr=lr, momentum=momentum, trust=trust))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                rate = group["lr"]
                if p.dim() > 1 and p.norm() > 0 and p.grad.norm() > 0:
                    rate = rate * group["trust"] * p.norm() / p.grad.norm()
                v = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
                v.mul_(group["momentum"]).add_(rate * p.grad)
                p.sub_(v)


RULES = {
    "sgd": lambda groups, lr, o: torch.optim.SGD(groups, lr=lr, momentum=o["momentum"], nesterov=o.get("nesterov", False)),
    "adamw": lambda groups, lr, o: torch.optim.AdamW(groups, lr=lr, betas=(o["beta1"], o["beta2"]), eps=o["eps"], weight_decay=o["weight_decay"]),
    "lars": lambda groups, lr, o: Lars(groups, lr=lr, momentum=o["momentum"], trust=o["trust"]),
}
# PyTorch's name of a state tensor -> the bundle's.
STATE = {"momentum_buffer": "momentum", "exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq"}


class Trainer:
    """`step()` updates `parameters` (by name) from their gradients; `starts` are the values to which SPD holds them."""

    def __init__(self, parameters, lr, settings, lr_mult=()):
        self.parameters, self.settings = parameters, settings
        self.starts = {n: p.detach().clone() for n, p in parameters.items()}
        factors = {n: 1.0 for n in parameters}
        for pattern, factor in lr_mult:
            hits = fnmatch.filter(parameters, pattern)
            assert hits, f"{pattern} matches nothing"
            factors |= dict.fromkeys(hits, factor)
        groups = [dict(params=[p], lr=lr * factors[n]) for n, p in parameters.items()]
        self.rule = RULES[settings["kind"]](groups, lr, settings)
        self.extras = dict(clipped=0, projected=0, steps=0)
        self.norms = []
        if settings.get("ema"):
            self.module = torch.nn.ParameterList(parameters.values())
            self.average = AveragedModel(self.module, multi_avg_fn=get_ema_multi_avg_fn(settings["ema"]))
            self.average.update_parameters(self.module)  # the first call copies: the average starts at w0

    def step(self):
        self.extras["steps"] += 1
        if self.settings.get("clip_norm"):
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings["clip_norm"])
            self.extras["clipped"] += bool(norm > self.settings["clip_norm"])
            self.extras["median norm"] = sorted([*self.norms, norm.item()])[len(self.norms) // 2]
            self.norms.append(norm.item())
        before = {n: p.detach().clone() for n, p in self.parameters.items()}
        self.rule.step()
        if self.settings.get("spd"):
            for n, p in self.parameters.items():
                self.project(before[n], p, self.starts[n])
        if self.settings.get("ema"):
            self.average.update_parameters(self.module)

    @torch.no_grad()
    def project(self, before, p, start):
        """Tian et al. 2024 (arXiv 2411.01713), equations 3, 4 and 9."""
        if -(p.grad * (before - start)).sum() < 0:
            distance = (p - start).norm()
            ratio = ((distance - (before - start).norm()) / distance).clamp(min=0)
            self.extras["projected"] += bool(ratio > 0)
            p.sub_(self.settings["spd"] * ratio * (p - start))

    def state(self):
        """The optimizer's state by the bundle's names, and the averages."""
        found = {f"{n}.{STATE[k]}": v for n, p in self.parameters.items() for k, v in self.rule.state[p].items() if k in STATE and v is not None}
        if self.settings.get("ema"):
            found |= {f"{n}.ema": v.detach() for n, v in zip(self.parameters, self.average.module)}
        return found
