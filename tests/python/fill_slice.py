"""What the skeletons of tests/fixtures/slice and their golden values are made of; `tests/coverage/slice.py` uses it too."""
import zlib

import numpy as np
import onnx
from onnx import numpy_helper

PRODUCTS = 3


def random_of(text):
    return np.random.default_rng(zlib.crc32(text.encode()))


def values(name, shape, statistics):
    """The weights of a name: uniform, with the mean and spread given, within the least and the largest value."""
    mean, deviation, least, largest = statistics
    uniform = random_of(name).random(tuple(shape)) - 0.5
    return np.clip(mean + deviation * np.sqrt(12) * uniform, least, largest).astype(np.float32)


def products(name, gradient):
    """The norm, and the products with random tensors of unit variance; relative to the norm these are about 1."""
    gradient = np.asarray(gradient, np.float64).ravel()
    random = random_of(f"{name}/products")
    return [float(np.linalg.norm(gradient)), *(float(gradient @ (np.sqrt(12) * (random.random(gradient.size) - 0.5))) for _ in range(PRODUCTS))]


def fill(path, out, entry):
    """Gives the skeleton its weights."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if source := entry["tensors"].get(tensor.name):
            value = values(source["of"], source["shape"], entry["statistics"][source["of"]])
            value = value.transpose(source["axes"]).reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
    onnx.save(model, out)
    return out


def as_in_pytorch(gradient, source):
    """The gradient of an initializer in the layout that the network's own tensor has."""
    shape = [source["shape"][a] for a in source["axes"]]
    return gradient.reshape(shape).transpose(np.argsort(source["axes"]))


def batch(seed, count, size):
    """As tests/coverage/gradients.py draws the first ones."""
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 3, size, size)).astype(np.float32), random.integers(0, 10, count)
