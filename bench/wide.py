"""Writes a model with much weight: matrix products and a small classifier. usage: bench/wide.py MODEL GIGABYTES"""
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 4096


def value(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


path, gigabytes = sys.argv[1], float(sys.argv[2])
rng = np.random.default_rng(0)
count = round(gigabytes * 1e9 / (4 * SIDE * SIDE))
tensors = [numpy_helper.from_array(rng.standard_normal((SIDE, SIDE), dtype=np.float32), f"layer{i}.weight") for i in range(count)]
tensors.append(numpy_helper.from_array(rng.standard_normal((10, SIDE), dtype=np.float32), "fc.weight"))
nodes = [helper.make_node("GlobalAveragePool", ["input"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["x0"])]
nodes += [helper.make_node("Gemm", [f"x{i}", f"layer{i}.weight"], [f"x{i + 1}"], f"/layer{i}/Gemm", transB=1) for i in range(count)]
nodes += [helper.make_node("Gemm", [f"x{count}", "fc.weight"], ["logits"], "/fc/Gemm", transB=1)]
graph = helper.make_graph(nodes, "wide", [value("input", [1, SIDE, 2, 2])], [value("logits", [1, 10])], tensors)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
