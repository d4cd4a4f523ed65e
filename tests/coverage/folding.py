"""What an exporter made of parameters that its file does not hold: products, exponentials, looked-up tables.

Such a parameter has no tensor that could be compared with it. What can be shown instead, for this file: PyTorch, which runs the file itself in
float64, gets the same loss and, for every constant that the bundle trains without a counterpart, the same gradient; a second export with those
parameters moved differs in constants that are all trained; and the change of these constants along their gradients is the change of the loss that
the parameters' own gradients say (the chain rule), so that nothing else of the file depends on them.
"""
import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from interpret import File

STEP = 1e-3  # of a parameter's norm
CHAIN = 2e-2  # of the change of the loss, whose second order is of the size of the step
LOSS = 1e-4


class Unproven(Exception):
    """What could not be shown; nothing is assumed then."""


@dataclass
class Folding:
    """Gradients by the value of the constants: exporters give one value several names, and spgraph splits what they merge."""

    path: object
    reference: object
    mode: str
    kept: dict = field(default_factory=dict)

    def __post_init__(self):
        self.file = File(self.path)
        self.keys = {n: key(v) for n, v in self.file.floats().items()}

    def gradients(self, seed):
        """By value, the sum over the constants that have it."""
        if seed not in self.kept:
            images, target = self.reference.batch(seed, self.mode)
            try:
                loss, each = self.file.loss(images, target, self.mode == "train")
            except Exception as error:  # whatever the interpreter does not know of this file
                raise Unproven(f"the file cannot be run in PyTorch: {type(error).__name__}: {str(error)[:200]}") from error
            wanted = self.reference(seed, self.mode)[0]
            if not abs(loss - wanted) < LOSS * abs(wanted):
                raise Unproven(f"the file's own loss is {loss:.8g}, PyTorch's {wanted:.8g}")
            total = {}
            for n, g in each.items():
                total[self.keys[n]] = total.get(self.keys[n], 0.0) + g.ravel()
            self.kept[seed] = each, total
        return self.kept[seed]

    def unknown(self, start, names):
        """Trained tensors that are no constants of the file."""
        held = set(self.keys.values())
        return [n for n in names if key(start[n]) not in held]

    def moved(self, parameters, export):
        """The constants that change with these parameters, each with its change for a step along the parameters' gradients; and the change of the loss."""
        gradients = self.reference(1, self.mode)[1]
        module, expected = copy.deepcopy(self.reference.module), 0.0
        with torch.no_grad():
            for n, p in module.named_parameters():
                norm = np.linalg.norm(gradients[n])
                if n in parameters and norm > 0:
                    before = p.double().clone()
                    p.add_(torch.from_numpy(STEP * float(p.norm()) / norm * gradients[n]).to(p.dtype))
                    expected += float((torch.from_numpy(gradients[n]) * (p.double() - before)).sum())
        path, failed = export(module)
        if failed:
            raise Unproven(f"a second export failed: {failed}")
        before, after = self.file.floats(), File(path).floats()
        if {n: v.shape for n, v in before.items()} != {n: v.shape for n, v in after.items()}:
            raise Unproven("two exports of the same network have different constants")
        changes = {n: after[n].astype(np.float64) - v for n, v in before.items() if not np.array_equal(v, after[n])}
        return changes, expected

    def account(self, parameters, trained, export):
        """How many elements of the file stand for these parameters. `trained`: keys of what the bundle trains."""
        changes, expected = self.moved(parameters, export)
        each, _ = self.gradients(1)
        if lost := [f"{n} ({changes[n].size})" for n in changes if np.linalg.norm(each[n]) > 0 and self.keys[n] not in trained]:
            raise Unproven(f"constants of the file that hold them are not trained: {', '.join(lost[:8])}")
        found = sum(float((each[n] * change).sum()) for n, change in changes.items())
        if not abs(found - expected) < CHAIN * abs(expected):
            raise Unproven(f"the constants that change with them ({', '.join([*changes][:8])}) move the loss by {found:.4g}, the parameters by {expected:.4g}")
        return sorted(n for n in changes if np.linalg.norm(each[n]) > 0), found / expected


def key(value):
    return np.ascontiguousarray(value).tobytes()
