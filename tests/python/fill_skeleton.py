"""Gives a skeleton (a graph without weights, see tests/generate/README.md) weights with which it can be trained.

    python fill_skeleton.py SKELETON.onnx OUT.onnx [--seed 0] [--size 224]

Convolutions get He's initialisation, BatchNorm positive variances; the last layer of every residual branch is small, so
that activations stay of one size through 50 blocks. All from the seed. `--size` sets the input's height and width.
"""
import argparse

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper


def fill(skeleton, out, seed=0, size=224):
    model = onnx.load(skeleton)
    graph, random = model.graph, np.random.default_rng(seed)
    for dim in graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = size
    use = {name: (node, k) for node in graph.node for k, name in enumerate(node.input)}
    empty = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT and not t.raw_data and not t.float_data]
    for tensor in empty:
        value = start_value(random, list(tensor.dims), *use[tensor.name], use)
        tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float32), tensor.name))
    onnx.save(model, out)


def start_value(random, dims, node, position, use):
    if node.op_type == "BatchNormalization":
        scale, shift, mean, variance = range(1, 5)
        if position == scale:
            return random.uniform(0.8, 1.2, dims) * gain(node, use)
        return random.uniform(0.5, 1.5, dims) if position == variance else random.normal(0, 0.1, dims)
    if position == 2:  # a bias
        return random.normal(0, 0.05, dims)
    fan_in = np.prod(dims[1:])  # OIHW, or Gemm with transB=1
    factor = 2 if node.op_type == "Conv" else 1
    return random.normal(0, np.sqrt(factor / fan_in), dims) * gain(node, use)


def gain(node, use):
    """0.1 for the last layer of a residual branch (its output is added to a shortcut), else 1."""
    reader = use.get(node.output[0], (None, 0))[0]
    return 0.1 if reader is not None and reader.op_type == "Add" and "downsample" not in node.name else 1.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("skeleton")
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=224)
    options = parser.parse_args()
    fill(options.skeleton, options.out, options.seed, options.size)
