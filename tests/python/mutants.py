"""Models that are nearly sound: one or two changes of attributes, edges, operators, tensors, shapes or opsets, the same for the same seed."""
import copy
import random

import numpy as np
import onnx
from harness import FIXTURES
from onnx import AttributeProto, TensorProto, helper, numpy_helper

MODELS = (
    "basic.bn basic average_pool pool_ceil conv_head view_chain view_chain.bn tokens silu.opset18 silu.bn leaky.bn bottleneck.dynamo "
    "inception.dynamo dropout vgg dilated.bn auto_pad.bn constants slices.bn asymmetric.bn kinks dense chains11 relu6.bn grouped identity.bn "
    "preactivation pad_node.bn conv_head.one_image shuffle.one_image"
).split()
INTEGERS = [0, 1, -1, 2, 3, 4, 5, -2, -3, 7, 16, 255, 65536, 2**31 - 1, -(2**31), 2**40, 2**63 - 1, -(2**63)]
NUMBERS = [0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), 1e30, -0.0]
STRINGS = ["", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "linear", "nearest", "reflect", "edge", "constant", "DCR", "none", "half_pixel"]
OPERATORS = (
    "Relu Sigmoid Tanh Add Sub Mul Div Max Min Pow Concat Reshape Flatten Transpose Squeeze Unsqueeze Gather Slice Split Pad Softmax LogSoftmax Gemm MatMul "
    "Conv MaxPool AveragePool GlobalAveragePool GlobalMaxPool BatchNormalization ReduceMean ReduceSum ReduceMax Clip LeakyRelu Elu Identity Dropout Cast "
    "Expand Where Tile Shape Constant ConstantOfShape HardSigmoid Exp Sqrt Neg Abs Erf PRelu LRN Sum Mean"
).split()
TYPES = [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT16, TensorProto.BOOL, TensorProto.UINT8]


def seeds():
    return {name: onnx.load(FIXTURES / f"{name}.onnx") for name in MODELS}


def attribute(chance, node):
    if not node.attribute:
        node.attribute.append(helper.make_attribute(chance.choice(["axis", "alpha", "keepdims", "group", "axes"]), chance.choice(INTEGERS)))
        return
    at = chance.randrange(len(node.attribute))
    found = node.attribute[at]
    kind = chance.randrange(8)
    if kind == 0:
        del node.attribute[at]
    elif kind == 1:
        node.attribute.append(copy.deepcopy(found))
    elif kind == 2:
        found.type = chance.choice([AttributeProto.INT, AttributeProto.FLOAT, AttributeProto.INTS, AttributeProto.STRING])
    elif found.type == AttributeProto.INT:
        found.i = chance.choice(INTEGERS)
    elif found.type == AttributeProto.FLOAT:
        found.f = chance.choice(NUMBERS)
    elif found.type == AttributeProto.INTS and kind == 3:
        found.ints.append(chance.choice(INTEGERS))
    elif found.type == AttributeProto.INTS and kind == 4 and found.ints:
        del found.ints[-1]
    elif found.type == AttributeProto.INTS and found.ints:
        found.ints[chance.randrange(len(found.ints))] = chance.choice(INTEGERS)
    elif found.type == AttributeProto.STRING:
        found.s = chance.choice(STRINGS).encode()
    elif found.type == AttributeProto.TENSOR:
        tensor(chance, found.t)


def edge(chance, graph, node):
    names = [*graph.initializer] and [t.name for t in graph.initializer]
    names = names + [o for n in graph.node for o in n.output] + [graph.input[0].name]
    kind = chance.randrange(8)
    if kind == 0 and node.input:
        del node.input[-1]
    elif kind == 1 and node.input:
        node.input[chance.randrange(len(node.input))] = ""
    elif kind == 2:
        node.input.append(chance.choice(names))
    elif kind == 3:
        node.output.append(chance.choice([f"{node.output[0]}.more", "", chance.choice(names)]))
    elif kind == 4 and len(node.input) > 1:
        node.input[0], node.input[1] = node.input[1], node.input[0]
    elif node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice(names)


def tensor(chance, found):
    kind = chance.randrange(7)
    if kind == 0:
        found.dims.append(chance.choice([0, 1, 1, 2, -1]))
    elif kind == 1 and found.dims:
        del found.dims[-1]
    elif kind == 2 and found.dims:
        found.dims[chance.randrange(len(found.dims))] = chance.choice(INTEGERS[:10])
    elif kind == 3:
        found.data_type = chance.choice(TYPES)
    else:
        try:
            values = numpy_helper.to_array(found)
        except Exception:
            return
        if kind == 4 and values.ndim > 1:
            values = values.swapaxes(0, 1).copy()
        elif kind == 5:
            values = values.reshape([1, *values.shape])
        elif values.dtype == np.int64 and values.size:
            values = values.copy()
            values.reshape(-1)[chance.randrange(values.size)] = chance.choice(INTEGERS)
        else:
            values = values.astype(chance.choice([np.float64, np.int64, np.float16, np.int32]))
        found.CopyFrom(numpy_helper.from_array(values, found.name))


def ports(chance, graph):
    port = chance.choice([*graph.input, *graph.output, *graph.value_info])
    found = port.type.tensor_type
    kind = chance.randrange(5)
    if kind == 0:
        found.elem_type = chance.choice(TYPES)
    elif kind == 1:
        found.shape.dim.add().dim_value = 1
    elif kind == 2 and found.shape.dim:
        del found.shape.dim[-1]
    elif found.shape.dim:
        found.shape.dim[chance.randrange(len(found.shape.dim))].dim_value = chance.choice(INTEGERS[1:10])


def node_between(chance, graph, at):
    node = graph.node[at]
    if not node.input:
        return
    which = chance.randrange(len(node.input))
    made = helper.make_node(chance.choice(OPERATORS), [node.input[which]] * chance.choice([1, 1, 2, 3]), [f"made.{at}"], name=f"made.{at}")
    node.input[which] = f"made.{at}"
    graph.node.insert(at, made)


def changed(chance, model):
    graph = model.graph
    at = chance.randrange(len(graph.node))
    node = graph.node[at]
    kind = chance.randrange(20)
    if kind < 6:
        attribute(chance, node)
    elif kind < 9:
        edge(chance, graph, node)
    elif kind < 12 and graph.initializer:
        tensor(chance, chance.choice(graph.initializer))
    elif kind == 12:
        ports(chance, graph)
    elif kind == 13:
        node.op_type = chance.choice(OPERATORS)
    elif kind == 14:
        model.opset_import[0].version = chance.randrange(5, 25)
    elif kind == 15:
        del graph.node[at]
        if chance.randrange(2):
            graph.node.insert(chance.randrange(len(graph.node) + 1), node)
    elif kind == 16:
        graph.node.append(node)
    elif kind == 17 and graph.initializer:
        graph.initializer.append(chance.choice(graph.initializer))
    else:
        node_between(chance, graph, at)


def mutant(models, seed):
    """The name of the model that it is made of, and the model."""
    chance = random.Random(seed)
    name = chance.choice(sorted(models))
    model = copy.deepcopy(models[name])
    for _ in range(chance.choice([1, 1, 2])):
        changed(chance, model)
    return name, model
