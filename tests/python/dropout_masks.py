"""The masks of `--dropout keep` in numpy, from what docs/training.md says of them and nothing else."""
import math

import numpy as np

P = 2**30 - 35


def fraction_of_root(n):
    """The fraction of √n in units of 1/P, rounded down: in integers, exactly."""
    return math.isqrt(n * P * P) - math.isqrt(n) * P


C1, C2, C3, C4, C5 = (fraction_of_root(n) for n in (2, 3, 5, 7, 11))


def m(x):
    x = np.asarray(x, np.int64) % P
    return -(x * x % P * x % P) % P


def h(i):
    return m(m(i + C1) + C2)


def scores(shape, seed, step, number):
    z = m(m(m(m(seed % P + C3) + h(step)) + C4) + h(C5 + number))
    for length in shape:
        z = m(z[..., None] + h(np.arange(length, dtype=np.int64)))
    return z


def stays(shape, ratio, seed=0, step=0, number=0):
    """Which elements of a tensor the Dropout with that number leaves, in the step with that number from 0."""
    return scores(shape, seed, step, number) >= math.floor(float(np.float32(ratio)) * P + 0.5)


def mask(shape, ratio, dtype=np.float32, **at):
    """What the tensor is multiplied with."""
    return np.where(stays(shape, ratio, **at), dtype(1 / (1 - float(np.float32(ratio)))), dtype(0))
