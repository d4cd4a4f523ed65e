"""Networks without kinks, in which no rounding decides between two slopes; and many networks and batches out of one."""
import zlib

import numpy as np
import onnx

SMOOTH = {"Relu": "Softplus", "HardSwish": "Softplus", "HardSigmoid": "Sigmoid", "MaxPool": "AveragePool"}


def without_kinks(path):
    """The model with a smooth operator in the place of each that has a kink."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.op_type = SMOOTH.get(node.op_type, node.op_type)
        kept = [a for a in node.attribute if node.op_type == "AveragePool" and a.name in ("kernel_shape", "strides", "pads")]
        if node.op_type in SMOOTH.values():
            del node.attribute[:]
            node.attribute.extend(kept)
    onnx.checker.check_model(model)
    return model


def has_kinks(path):
    return any(node.op_type in SMOOTH for node in onnx.load(path).graph.node)


def variant(seed, parameters, images):
    """The seed's parameters and images: those given, in another order and shaken.

    Roundings of one network repeat from batch to batch, the more the fewer numbers its gradients go through: a dozen behind a global pooling. So errors of one
    network differ from another's by a factor of 1.5 to 3 by chance, however many batches it gets, and networks have to differ as well.
    """
    varied = {}
    for name, tensor in parameters.items():
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        shaken = tensor.reshape(-1)[random.permutation(tensor.size)] * random.uniform(0.8, 1.2, tensor.size)
        varied[name] = shaken.reshape(tensor.shape).astype(np.float32)
    order = np.random.default_rng(seed).permutation(images[0].size)
    return varied, np.ascontiguousarray(images.reshape(len(images), -1)[:, order].reshape(images.shape))
