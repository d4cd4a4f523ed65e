"""The networks by name, with seeded weights that no two tensors share and with which no gradient degenerates."""
import pathlib
import re

import numpy as np
import timm
import torch
import torchvision
from torch.nn.modules.batchnorm import _BatchNorm

HERE = pathlib.Path(__file__).resolve().parent
BATCH = 3
SIZES = (64, 96, 128, 160, 192, 224, 256)  # the first that the network accepts
FULL = ("alexnet", "vgg")  # at 224, where their adaptive pooling divides its input evenly, which the TorchScript exporter demands


def names():
    """Every network, as `library:name`."""
    lines = (line.split("#")[0].strip() for line in (HERE / "timm.txt").read_text().splitlines())
    return [f"torchvision:{n}" for n in torchvision.models.list_models(module=torchvision.models)] + [f"timm:{n}" for n in lines if n]


def family(name):
    """What the table is grouped by: the name's letters before its first figure or size."""
    library, network = name.split(":")
    if library == "timm":
        module = timm.models._registry._model_to_module[network]
        return module
    return re.match(r"(wide_resnet|resnext|[a-z]+)(?:_v\d)?", network).group(0)


def elements(name):
    """How many parameters a network has, without making them; 0 if that cannot be told."""
    library, network = name.split(":")
    if library == "torchvision":
        return torchvision.models.get_model_weights(network).DEFAULT.meta["num_params"]
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in create(name, None).parameters())
    except Exception:  # what a network computes from its own weights
        return 0


def build(name):
    """The network in inference form, and the height and width of its images."""
    torch.manual_seed(0)
    for size in [s for s in SIZES if s >= 224 or family(name) not in FULL]:
        for given in (True, False):
            module = create(name, size if given else None)
            if module is None:
                continue
            try:
                with torch.no_grad():
                    logits = module(torch.randn(2, 3, size, size))
            except Exception:  # too small, or not a multiple of its windows: whatever a network says to a size
                continue
            if isinstance(logits, torch.Tensor) and logits.dim() == 2:
                round_epsilons(module)
                spread(module)
                keep_from_kinks(module)
                calibrate(fresh(module), size)
                return fresh(module), size
    raise RuntimeError(f"{name} accepts none of the sizes {SIZES}")


def create(name, size):
    """The module; none if it takes no size. What only training has (auxiliary classifiers, dropping) is off: that is inference form."""
    library, network = name.split(":")
    options = {}
    if size is not None:
        keyword = {"vit": "image_size", "maxvit": "input_size"}.get(family(name)) if library == "torchvision" else "img_size"
        if keyword is None:
            return None
        options = {keyword: (size, size) if keyword == "input_size" else size}
    if name in ("torchvision:googlenet", "torchvision:inception_v3"):
        options |= dict(init_weights=True)
    try:
        module = torchvision.models.get_model(network, **options) if library == "torchvision" else timm.create_model(network, **options)
    except Exception:
        if size is None:
            raise
        return None
    return module.eval()


def round_epsilons(module):
    """As a file holds them: what float32 makes of 1e-5 moves gradients through batch statistics of three small images by 1e-3 and more."""
    for m in module.modules():
        if isinstance(getattr(m, "eps", None), float):
            m.eps = float(np.float32(m.eps))


def spread(module):
    """Start values that are all alike (ones, zeros, scales of 1e-6) get a spread, and so do tensors that equal an earlier one, which exporters store
    once, and identities, whose gradient nobody could tell from its transpose: a gain of 0 hides its branch."""
    seen = set()
    with torch.no_grad():
        for p in module.parameters():
            symmetric = p.dim() == 2 and p.shape[0] == p.shape[1] and torch.equal(p, p.T)
            if p.numel() > 1 and (symmetric or p.detach().numpy().tobytes() in seen):  # the same pattern in every layer
                p.add_(0.1 * p.std() * torch.randn_like(p))
            seen.add(p.detach().numpy().tobytes())
            first = p.flatten()[0].item()
            if p.numel() == 1 or bool((p == first).all()):
                if abs(first) < 0.1:
                    p.copy_(0.1 * torch.randn_like(p) if first == 0 else torch.empty_like(p).uniform_(0.2, 0.6))
                else:
                    p.mul_(torch.empty_like(p).uniform_(0.8, 1.2))


def keep_from_kinks(module):
    """Channels behind a BatchNorm spread around 1.5 and -1.5, three standard deviations from the kinks of ReLU, ReLU6 and the hard activations at
    0, 3, -3 and 6. A value on the other side of a kink in float32 moves all gradients before it by 1e-3 to 1e-2, and would hide a fault of that size:
    in a network of 50 layers there is always one, in PyTorch's float32 too."""
    with torch.no_grad():
        for m in batch_norms(module):
            if m.affine:
                m.weight.mul_(0.5)
                m.bias.add_(1.5 * (torch.randint(0, 2, m.bias.shape) * 2.0 - 1))


def fresh(module):
    """Inference form, without what some networks keep of an earlier evaluation (attention biases by device, say)."""
    return module.train().eval()


def batch_norms(module):
    return [m for m in module.modules() if isinstance(m, _BatchNorm)]


def calibrate(module, size):
    """Running statistics of random images, then disturbed, so that batch statistics and running ones differ and neither saturates."""
    norms = [m for m in batch_norms(module) if m.running_mean is not None]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
        m.train()
    with torch.no_grad():
        module(torch.randn(8, 3, size, size))
        for m, momentum in zip(norms, momenta):
            m.eval()
            m.momentum = momentum
            m.running_var.add_(1e-3).mul_(torch.empty_like(m.running_var).uniform_(0.8, 1.25))
            m.running_mean.add_(0.1 * m.running_var.sqrt() * torch.randn_like(m.running_mean))
