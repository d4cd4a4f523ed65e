"""One small classifier for every operator and way of writing it: a 1×1 convolution, the operator, and a linear layer. (The convolution has no
bias, which many a normalization would take away again.)

Both the generator of golden values (`tests/generate/operators.py`) and the test make the models here. Weights and images come from
numpy's `RandomState`, whose numbers never change.
"""
import zlib
from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto, helper, numpy_helper

BATCH, CHANNELS, SIZE, CLASSES = 2, 4, 4, 3
WHOLE = (CHANNELS, SIZE, SIZE)


@dataclass
class Case:
    op: str
    opset: int
    attributes: dict = field(default_factory=dict)
    #: Further inputs: the shape of a parameter (a tuple), or a constant (an array); None where one is left out.
    inputs: list = field(default_factory=list)
    #: What the operator gives for one image.
    out: tuple = WHOLE
    #: Into what the convolution's result is brought: "" (any number), "positive", "unit" (between −1 and 1), "beyond" (above 1).
    domain: str = ""
    #: Where the convolution's result stands among the inputs.
    place: int = 0
    #: Whether the result, as numbers, is added to what it was computed of: a network learns nothing through it.
    beside: bool = False
    #: Between which numbers the operator's own parameters lie.
    range: tuple = (0.5, 1.5)

    @property
    def name(self):
        shown = [f"{k}={v}" for k, v in self.attributes.items()] + [str(i if isinstance(i, tuple) else np.asarray(i).tolist()) for i in self.inputs]
        return " ".join([f"{self.op}-{self.opset}", *shown, *([f"place={self.place}"] if self.place else [])])


def ints(*values):
    return np.array(values, np.int64)


def each(op, opsets, *variants, **common):
    """The operator at every opset, with every set of attributes."""
    return [Case(op, opset, variant, **common) for opset in opsets for variant in variants or ({},)]


def reductions():
    cases = []
    for op, domain in [("L1", ""), ("L2", ""), ("LogSum", "positive"), ("LogSumExp", ""), ("Max", ""), ("Mean", ""), ("Min", ""), ("Prod", ""), ("Sum", ""), ("SumSquare", "")]:
        name, first = f"Reduce{op}", 13 if op == "Sum" else 18
        for axes, keep, out in [  # a product of 64 numbers is none in float32
            ([1], 1, (1, SIZE, SIZE)), ([-1, 2], 0, (CHANNELS,)), ([1, 2, 3], 0, (1,))][: 2 if op == "Prod" else 3]:
            cases.append(Case(name, 11, {"axes": axes, "keepdims": keep}, out=out, domain=domain))
            cases.append(Case(name, first, {"keepdims": keep}, [ints(*axes)], out, domain))
    for op in ["Max", "Mean", "Min", "Prod", "Sum"]:
        cases.append(Case(f"Reduce{op}", 18, {"noop_with_empty_axes": 1}))
    return cases


def pools():
    kernel = {"kernel_shape": [2, 2]}
    three = {"kernel_shape": [3, 3], "strides": [2, 2]}
    return [
        *each("LpPool", [11, 18, 22], kernel | {"p": 2}, out=(CHANNELS, 3, 3)),
        Case("LpPool", 11, three | {"p": 1, "pads": [1, 1, 1, 1]}, out=(CHANNELS, 2, 2)),
        Case("LpPool", 11, three | {"p": 3, "auto_pad": "SAME_UPPER"}, out=(CHANNELS, 2, 2)),
        Case("LpPool", 18, three | {"p": 2, "ceil_mode": 1}, out=(CHANNELS, 2, 2)),
        *each("GlobalLpPool", [7, 22], {}, {"p": 1}, {"p": 3}, out=(CHANNELS, 1, 1)),
        *each("AveragePool", [19, 22], kernel, out=(CHANNELS, 3, 3)),
        *each("AveragePool", [10, 19, 22], three | {"ceil_mode": 1}, three | {"pads": [1, 1, 1, 1]}, three | {"pads": [1, 1, 1, 1], "count_include_pad": 1}, out=(CHANNELS, 2, 2)),
        *each("MaxPool", [12, 22], three | {"ceil_mode": 1}, kernel | {"dilations": [2, 2]}, out=(CHANNELS, 2, 2)),
    ]  # fmt: skip


def cases():
    channel, c = (CHANNELS, 1, 1), (CHANNELS,)
    whole = WHOLE
    return [
        *each("Elu", [7, 22], {}, {"alpha": 0.3}),
        *each("Selu", [7, 22], {}, {"alpha": 0.5, "gamma": 2.0}),
        *each("Celu", [12], {}, {"alpha": 0.3}),
        *each("Gelu", [20], {}, {"approximate": "tanh"}),
        *each("Mish", [18, 22]),
        *each("Swish", [24], {}, {"alpha": 1.7}),
        *each("ThresholdedRelu", [10, 22], {}, {"alpha": 0.2}),
        *each("Shrink", [9], {}, {"lambd": 0.3, "bias": 0.2}),
        *each("HardSwish", [14, 22]),
        *each("HardSigmoid", [7, 22]),
        *each("LeakyRelu", [7, 16]),
        *each("Softplus", [7, 22]),
        *each("Softsign", [7, 22]),
        *each("Erf", [9, 13]),
        *each("PRelu", [7, 9, 16], inputs=[channel]),
        *each("PRelu", [16], inputs=[(1,)]),
        *(c for op in ["Sin", "Cos", "Atan"] for c in each(op, [7, 22])),
        *(c for op in ["Sinh", "Cosh", "Asinh"] for c in each(op, [9, 22])),
        *(c for op in ["Tan", "Asin", "Acos"] for c in each(op, [7, 22], domain="unit")),
        *each("Atanh", [9, 22], domain="unit"),
        *each("Acosh", [9, 22], domain="beyond"),
        *each("Reciprocal", [7, 13], domain="positive"),
        *each("Max", [8, 13], inputs=[channel, whole], range=(-0.5, 0.5)),
        *each("Min", [8, 13], inputs=[channel], range=(-0.5, 0.5)),
        *each("Mean", [8, 13], inputs=[channel, whole]),
        *each("Sum", [8, 13], inputs=[channel, whole]),
        *each("Pow", [7, 13, 15], inputs=[channel], domain="positive"),
        *each("Pow", [15], inputs=[channel], domain="positive", place=1),
        *each("Pow", [13], inputs=[ints(3)]),
        *each("Mod", [10, 13], {"fmod": 1}, inputs=[(CHANNELS, SIZE, 1)], domain="beyond"),
        *reductions(),
        *(c for op in ["Softmax", "LogSoftmax"] for c in [*each(op, [7, 11], {}, {"axis": 2}), *each(op, [13], {}, {"axis": 1})]),
        *each("LayerNormalization", [17], {}, {"axis": 2, "epsilon": 0.1}, inputs=[(SIZE,), (SIZE,)]),
        *each("LayerNormalization", [17], {"axis": 1}, inputs=[whole, whole]),
        *each("LayerNormalization", [17], {"axis": -2}, inputs=[(SIZE, 1)]),
        *each("InstanceNormalization", [7, 22], {}, {"epsilon": 0.1}, inputs=[c, c]),
        *each("GroupNormalization", [21], {"num_groups": 2}, {"num_groups": 1, "epsilon": 0.1}, inputs=[c, c]),
        *each("GroupNormalization", [18], {"num_groups": 2}, inputs=[(2,), (2,)]),
        *each("RMSNormalization", [23], {}, {"axis": -2, "epsilon": 0.1}, inputs=[(SIZE,)]),
        *each("LpNormalization", [7, 22], {}, {"axis": 1}, {"p": 1, "axis": -2}),
        *each("LRN", [7, 13], {"size": 3, "alpha": 0.5}, {"size": 5, "alpha": 0.7, "beta": 0.5, "bias": 2.0}),
        *each("MeanVarianceNormalization", [9, 13], {"axes": [1, 2, 3]}),  # without: statistics over the batch, which are refused
        *pools(),
        *(c for op in ["Floor", "Ceil", "Sign"] for c in each(op, [9, 13], beside=True)),
        *each("Round", [11, 22], beside=True),
        *each("IsNaN", [9, 20], beside=True),
        *each("IsInf", [10, 20], {}, {"detect_negative": 0}, beside=True),
        *each("Hardmax", [11, 13], {"axis": 2}, beside=True),
        *(c for op in ["ArgMax", "ArgMin"] for c in each(op, [11, 13], {"axis": 1, "keepdims": 1}, beside=True)),
    ]  # fmt: skip


def random(case, label, shape, low=-1.0, high=1.0):
    seed = zlib.crc32(f"{case.name} {label}".encode())
    return np.random.RandomState(seed).uniform(low, high, shape).astype(np.float32)


def images(case, size=SIZE):
    return random(case, "images", (BATCH, 3, size, size))


def target(case):
    return np.random.RandomState(zlib.crc32(case.name.encode())).randint(0, CLASSES, BATCH)


def parameters(case):
    """Values by name; `operator.N` are those of the operator."""
    width = int(np.prod(case.out))
    # No logit stands so far above the others that the loss is flat.
    reach = width**-0.5
    found = {
        "conv.weight": random(case, "conv.weight", (CHANNELS, 3, 1, 1)),
        "fc.weight": random(case, "fc.weight", (CLASSES, width), -reach, reach),
        "fc.bias": random(case, "fc.bias", (CLASSES,)),
    }
    for i, shape in enumerate(case.inputs):
        if isinstance(shape, tuple):
            found[f"operator.{i}"] = random(case, f"operator.{i}", shape, *case.range)
    return found


DOMAINS = {"": [], "positive": ["Exp"], "unit": ["Tanh"], "beyond": ["Sigmoid", "Exp"]}


def chain():
    """A classifier of many of them, one behind the other, on images of 8×8 pixels: the nodes, and the parameters by name."""
    make, size = helper.make_node, {"c1": (8, 3, 3, 3), "c2": (8, 8, 3, 3), "c3": (8, 8, 1, 1), "slope": (8, 1, 1), "fc": (CLASSES, 8)}
    state = np.random.RandomState(7)
    values = {name: (state.uniform(-1, 1, shape) * np.prod(shape[1:]) ** -0.5).astype(np.float32) for name, shape in size.items()}
    for name in ["group", "instance", "layer", "rms"]:
        values[f"{name}.scale"] = state.uniform(0.5, 1.5, 8).astype(np.float32)
        if name != "rms":
            values[f"{name}.shift"] = state.uniform(-0.5, 0.5, 8).astype(np.float32)
    nodes = [
        make("Conv", ["images", "c1"], ["a0"], pads=[1, 1, 1, 1]),
        make("GroupNormalization", ["a0", "group.scale", "group.shift"], ["a1"], num_groups=4),
        make("Gelu", ["a1"], ["a2"]),
        make("Conv", ["a2", "c2"], ["a3"], pads=[1, 1, 1, 1], strides=[2, 2]),
        make("InstanceNormalization", ["a3", "instance.scale", "instance.shift"], ["a4"]),
        make("Mish", ["a4"], ["a5"]),
        make("PRelu", ["a5", "slope"], ["a6"]),
        make("Conv", ["a6", "c3"], ["a7"]),
        make("Swish", ["a7"], ["a8"]),
        make("Max", ["a6", "a8"], ["a9"]),
        make("LRN", ["a9"], ["a10"], size=3, alpha=0.5),
        make("Transpose", ["a10"], ["a11"], perm=[0, 2, 3, 1]),
        make("LayerNormalization", ["a11", "layer.scale", "layer.shift"], ["a12"]),
        make("RMSNormalization", ["a12", "rms.scale"], ["a13"]),
        make("Transpose", ["a13"], ["a14"], perm=[0, 3, 1, 2]),
        make("LpPool", ["a14"], ["a15"], kernel_shape=[2, 2], strides=[2, 2]),
        make("ReduceLogSumExp", ["a15", "spatial"], ["a16"], keepdims=0),
        make("Gemm", ["a16", "fc"], ["logits"], transB=1),
    ]
    return nodes, values


def chain_model():
    nodes, values = chain()
    for node in nodes:
        node.name = f"{node.output[0]}.{node.op_type}"
    return classifier(nodes, values | {"spatial": ints(2, 3)}, 8, 24)


def classifier(nodes, constants, size, opset):
    graph = helper.make_graph(
        nodes, "classifier",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def model(case):
    """The classifier, for batches of any size."""
    constants = parameters(case)
    nodes = [helper.make_node("Conv", ["images", "conv.weight"], ["h0"], name="conv")]
    for step in DOMAINS[case.domain]:
        nodes.append(helper.make_node(step, [nodes[-1].output[0]], [f"h{len(nodes)}"], name=f"before{len(nodes)}"))
    given = []
    for i, value in enumerate(case.inputs):
        given.append("" if value is None else f"operator.{i}")
        if isinstance(value, np.ndarray):
            constants[f"operator.{i}"] = value
    given.insert(case.place, nodes[-1].output[0])
    nodes.append(helper.make_node(case.op, given, ["y"], name="operator", **case.attributes))
    if case.beside:
        nodes.append(helper.make_node("Cast", ["y"], ["number"], name="number", to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Add", [nodes[-2].input[0], "number"], ["sum"], name="sum"))
    nodes.append(helper.make_node("Flatten", [nodes[-1].output[0]], ["flat"], name="flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], name="fc", transB=1))
    return classifier(nodes, constants, SIZE, case.opset)
