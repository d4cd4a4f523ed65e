"""PyTorch's gradients of a network's parameters, in float64 and in float32."""
import copy

import numpy as np
import torch
import torch.nn.functional as F
from networks import BATCH, batch_norms, fresh


class Reference:
    """Mean cross-entropy of a batch, by seed; nothing is computed twice."""

    def __init__(self, module, size):
        self.module, self.size, self.kept = module, size, {}

    def batch(self, seed, mode):
        """Images and labels. Later seeds give one image with several labels (unless statistics of the batch matter): the fewer values go
        through rectifiers, the likelier none of them is so near 0 that float32 puts it on the other side."""
        random = np.random.default_rng(seed)
        count = BATCH if seed <= 4 or mode == "train" else 1
        images = random.normal(size=(count, 3, self.size, self.size)).astype(np.float32)
        return np.repeat(images, BATCH // count, axis=0), random.integers(0, 10, BATCH)

    def __call__(self, seed, mode, dtype=torch.float64):
        """Loss, and the gradient of every parameter by its name."""
        key = (seed, mode, dtype)
        if key not in self.kept:
            self.kept[key] = self.compute(*key)
        return self.kept[key]

    def compute(self, seed, mode, dtype):
        images, target = self.batch(seed, mode)
        module = fresh(copy.deepcopy(self.module).to(dtype))
        for m in batch_norms(module) if mode == "train" else []:
            m.train()
        loss = F.cross_entropy(module(torch.from_numpy(images).to(dtype)), torch.from_numpy(target))
        loss.backward()
        gradients = {n: (torch.zeros_like(p) if p.grad is None else p.grad).numpy() for n, p in module.named_parameters()}
        return float(loss.detach()), gradients
