"""Golden values from PyTorch in float64: one step's loss, gradients and statistics, and whole training runs."""
import torch
import torch.nn.functional as F

import penalties
import regularizers as behaviour
from onnx_torch import Network
from optimizers import Trainer


def relative(value, reference):
    """Norm of the difference over the norm of the reference."""
    reference = reference.double()
    return ((value.double() - reference).norm() / reference.norm()).item()


def step(path, x, target, mode, dtype=torch.float64, label_smoothing=0.0):
    """One evaluation: `loss`, `logits`, `grad/<parameter>` and, in training mode, `buffer/<next running statistic>`."""
    network = Network(path, dtype)
    logits = network(x, mode)
    loss = F.cross_entropy(logits, target, label_smoothing=label_smoothing)
    loss.backward()
    result = {"loss": loss.detach(), "logits": logits.detach()}
    result |= {f"grad/{n}": p.grad for n, p in network.parameters.items()}
    if mode == "train":
        result |= {f"buffer/{n}": b for n, b in network.buffers.items()}
    return result, network


def tied(values, network):
    """`tied_grad/<initializer>` for parameters that share an initializer: the gradient if they stay one."""
    sums = {}
    for leaf, name in network.source.items():
        if leaf in network.parameters and name in network.parameters:
            sums[f"tied_grad/{name}"] = sums.get(f"tied_grad/{name}", values[f"grad/{name}"]) + values[f"grad/{leaf}"]
    return sums


def float32_error(path, x, target, mode, reference):
    """How far PyTorch's own float32 is from float64: the worst of its convolution implementations, by tensor."""
    errors = {}
    for mkldnn in (True, False):
        with torch.backends.mkldnn.flags(enabled=mkldnn, allow_tf32=None):
            for name, value in step(path, x, target, mode, torch.float32)[0].items():
                errors[name] = max(errors.get(name, 0.0), relative(value, reference[name]))
    return errors


def train(path, batches, steps, mode, lr, optimizer, penalty, alpha, label_smoothing=0.0, lr_mult=(), dtype=torch.float64, step="gradient", fisher=None, regularizers=(), names=None):
    """Steps over the batches in turn. Losses are those of the parameters that a step starts from. Also what the optimizer did.
    `regularizers` look at the values `names`, as `regularizers.Terms` has them. The penalty's `step` is its `gradient`, or `proximal` or `decoupled`; `fisher` are the tensors of the penalties that read them."""
    network = Network(path, dtype)
    start = {n: p.detach().clone() for n, p in network.parameters.items()}
    trainer = Trainer(network.parameters, lr, optimizer, lr_mult)
    terms = behaviour.Terms(network, Network(path, dtype), regularizers, names)
    losses = []
    for k in range(steps):
        x, target = batches[k % len(batches)]
        logits = network(x, mode)
        data_loss = F.cross_entropy(logits, target, label_smoothing=label_smoothing)
        weights = [(network.parameters[n], start[n], fisher[n].to(dtype) if fisher else None) for n in network.weights]
        term = torch.as_tensor(penalties.term(penalty, alpha, weights), dtype=dtype)
        extra = terms(x, logits)
        loss = data_loss + extra + term
        trainer.rule.zero_grad()
        (loss if step == "gradient" else data_loss + extra).backward()
        before = [w.detach().clone() for w, *_ in weights]
        trainer.step()
        rates = dict(zip(network.parameters, (group["lr"] for group in trainer.rule.param_groups)))
        if step == "proximal":
            penalties.proximal(penalty, [rates[n] * alpha for n in network.weights], weights)
        if step == "decoupled":
            penalties.decoupled(penalty, [rates[n] * alpha for n in network.weights], weights, before)
        losses.append(torch.stack([loss, data_loss, term + extra, (logits.argmax(1) == target).sum()]).detach())
    result = dict(zip(("loss", "data_loss", "penalty", "correct"), torch.stack(losses).t()))
    result |= {f"final/{n}": p.detach() for n, p in network.parameters.items()}
    if mode == "train":
        result |= {f"final/{n}": b for n, b in network.buffers.items()}
    if set(optimizer) - {"kind", "momentum", "nesterov"}:  # the oldest runs have no state in their files
        result |= {f"state/{n}": v for n, v in trainer.state().items()}
    return result, trainer.extras
