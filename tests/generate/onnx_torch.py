"""Evaluates an ONNX file with PyTorch, so that autograd gives the gradients of the very file that spgraph rewrites.

    network = Network("basic.onnx", torch.float64)
    logits = network(images, batch_norm="train")      # differentiable
    network.parameters, network.buffers               # leaves, keyed by the names in the file

Nothing here is shared with spgraph. Leaves are the floating-point initializers and `Constant` outputs. Exporters
deduplicate equal start values; each use stands for a parameter of its own:

- an `Identity` of an initializer is a leaf of its own, under the name of the Identity's output;
- where several nodes read one initializer as bias, scale, shift, mean or variance, the first keeps its name and every
  other gets `use_name(...)`. A shared weight stays one parameter: random weights are never equal by accident.

A leaf is a *parameter* if it reaches a weight, bias, scale or shift (see `KINDS`), perhaps through nodes that only move
elements; a *buffer* if it is a running mean or variance; everything else is constant.
"""
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper

# (operator, input) -> what a leaf at that place is.
KINDS = {
    ("Conv", 1): "weight", ("Conv", 2): "bias",
    ("Gemm", 0): "weight", ("Gemm", 1): "weight", ("Gemm", 2): "bias",
    ("MatMul", 0): "weight", ("MatMul", 1): "weight",
    ("BatchNormalization", 1): "scale", ("BatchNormalization", 2): "shift",
    ("BatchNormalization", 3): "mean", ("BatchNormalization", 4): "variance",
    ("Add", 0): "bias", ("Add", 1): "bias",
}  # fmt: skip
MOVES = {"Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Cast"}


SUFFIXES = {"bias": "bias", "scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}


def use_name(node, kind):
    """PyTorch's name for a leaf, from the node that reads it: `/2/bn1/BatchNormalization` → `2.bn1.bias`.

    The exporter writes a module's path scope by scope, and a scope may repeat the one around it: `/2/downsample/downsample.1/…`.
    """
    scopes = node.name.strip("/").split("/")[:-1]
    kept = [s for s, following in zip(scopes, [*scopes[1:], ""]) if not following.startswith(f"{s}.")]
    return ".".join([*kept, SUFFIXES[kind]])


# The smallest distance of any Relu's input from its kink since this was last cleared; exact zeros count as meant.
margins = []


def watched(x):
    away = x.detach()[x.detach() != 0].abs()
    if away.numel():
        margins.append(away.min().item())
    return x


class Network:
    def __init__(self, path, dtype):
        self.model = onnx.load(path)
        graph = self.model.graph
        self.opset = next(o.version for o in self.model.opset_import if o.domain == "")
        self.dtype, self.tensors, self.kinds = dtype, {}, {}
        stored = {t.name: t for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                value = attributes(node)
                stored[node.output[0]] = value.get("value", value.get("value_ints", value.get("value_float")))
        for name, value in stored.items():
            self.tensors[name] = self.tensor(value)
        self.input = next(i.name for i in graph.input if i.name not in stored)
        self.output = graph.output[0].name
        self.alias = {}  # (index of node, index of input) -> leaf, where an initializer has been split
        self.source = {}  # leaf -> the initializer that it was split from
        self.split_identities()
        self.split_uses()
        self.find_kinds()

    def tensor(self, value):
        if isinstance(value, onnx.TensorProto):
            value = torch.from_numpy(numpy_helper.to_array(value).copy())
        value = torch.as_tensor(value)
        return value.to(self.dtype) if value.is_floating_point() else value

    def is_leaf(self, name):
        return name in self.tensors and self.tensors[name].is_floating_point()

    def split_identities(self):
        for node in self.model.graph.node:
            if node.op_type == "Identity" and self.is_leaf(node.input[0]):
                self.tensors[node.output[0]] = self.tensors[node.input[0]].clone()
                self.source[node.output[0]] = node.input[0]

    def split_uses(self):
        seen = set()
        for i, node in enumerate(self.model.graph.node):
            for k, name in enumerate(node.input):
                kind = KINDS.get((node.op_type, k), "weight")
                if kind != "weight" and self.is_leaf(name) and self.tensors[name].dim() > 0:
                    if name in seen:
                        leaf = use_name(node, kind)
                        self.tensors[leaf] = self.tensors[name].clone()
                        self.alias[i, k] = leaf
                        self.source[leaf] = name
                    seen.add(name)

    def find_kinds(self):
        nodes = list(enumerate(self.model.graph.node))
        role = {}  # value -> kind, found from the uses backwards
        for i, node in reversed(nodes):
            for k, name in enumerate(node.input):
                name = self.alias.get((i, k), name)
                if (node.op_type, k) in KINDS:
                    role.setdefault(name, KINDS[node.op_type, k])
                elif node.op_type in MOVES and k == 0 and node.output[0] in role:
                    if not self.is_leaf(node.output[0]):
                        role.setdefault(name, role[node.output[0]])
        self.kinds = {n: role[n] for n in self.tensors if n in role and self.is_leaf(n) and self.tensors[n].dim() > 0}
        self.parameters = {n: self.tensors[n] for n, k in self.kinds.items() if k not in ("mean", "variance")}
        self.buffers = {n: self.tensors[n] for n, k in self.kinds.items() if k in ("mean", "variance")}
        self.weights = [n for n, k in self.kinds.items() if k == "weight"]
        for p in self.parameters.values():
            p.requires_grad_(True)

    def __call__(self, x, batch_norm="frozen"):
        """The network's first output. With `batch_norm="train"`, batch statistics are used and `self.buffers` advance."""
        values = dict(self.tensors)
        values[self.input] = x.to(self.dtype)
        for i, node in enumerate(self.model.graph.node):
            if all(o in values for o in node.output):
                continue
            operator = OPERATORS.get(node.op_type)
            if operator is None or node.domain not in ("", "ai.onnx"):
                raise NotImplementedError(f"{node.domain}.{node.op_type} (node {node.name})")
            inputs = [values[self.alias.get((i, k), n)] if n else None for k, n in enumerate(node.input)]
            context = Attributes(node, self.opset, batch_norm)
            result = operator(context, *inputs)
            context.demand_all_read()
            outputs = result if isinstance(result, (tuple, list)) else [result]
            values.update(zip(node.output, outputs))
        self.values = values  # of the last call, by the names in the file
        return values[self.output]


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


class Attributes:
    """The attributes of one node; an attribute that nobody reads is an error."""

    def __init__(self, node, opset, batch_norm):
        self.values, self.node, self.opset, self.batch_norm, self.read = attributes(node), node, opset, batch_norm, set()

    def __call__(self, name, default=None):
        self.read.add(name)
        value = self.values.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def demand_all_read(self):
        unread = set(self.values) - self.read
        if unread:
            raise NotImplementedError(f"{self.node.op_type} {self.node.name}: attributes {sorted(unread)}")


def window(a, x, kernel):
    """Strides, dilations and pads `[begin…, end…]` of a convolution or pooling node."""
    rank = x.dim() - 2
    strides, dilations = a("strides", [1] * rank), a("dilations", [1] * rank)
    pads, auto = a("pads", [0] * 2 * rank), a("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        total = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0) for n, s, k, d in zip(x.shape[2:], strides, kernel, dilations)]
        begin = [t // 2 if auto == "SAME_UPPER" else t - t // 2 for t in total]
        pads = begin + [t - b for t, b in zip(total, begin)]
    return strides, dilations, list(pads)


def pad(x, pads, value=0.0):
    """Pads the spatial axes by ONNX `pads`."""
    rank = len(pads) // 2
    return F.pad(x, [p for k in reversed(range(rank)) for p in (pads[k], pads[rank + k])], value=value) if any(pads) else x


def conv(a, x, w, b=None):
    a("kernel_shape")
    strides, dilations, pads = window(a, x, w.shape[2:])
    return F.conv2d(pad(x, pads), w, b, strides, 0, dilations, a("group", 1))


def gemm(a, x, y, c=None):
    if c is not None and (a("transA", 0), a("transB", 0), a("alpha", 1.0), a("beta", 1.0)) == (0, 1, 1.0, 1.0):
        return F.linear(x, y, c)  # what it was exported from; autocast knows this one as a whole
    x, y = (x.t() if a("transA", 0) else x), (y.t() if a("transB", 0) else y)
    alpha, beta = a("alpha", 1.0), a("beta", 1.0)
    return alpha * (x @ y) + (0 if c is None else beta * c)


def batch_norm(a, x, scale, shift, mean, variance):
    a("training_mode"), a("spatial")
    momentum, epsilon = 1 - a("momentum", 0.9), a("epsilon", 1e-5)
    return F.batch_norm(x, mean, variance, scale, shift, a.batch_norm == "train", momentum, epsilon)


def max_pool(a, x):
    a("storage_order")
    kernel = a("kernel_shape")
    strides, dilations, pads = window(a, x, kernel)
    half = len(pads) // 2
    if pads[:half] == pads[half:]:
        return F.max_pool2d(x, kernel, strides, pads[:half], dilations, bool(a("ceil_mode", 0)))
    return F.max_pool2d(pad(x, pads, -torch.inf), kernel, strides, 0, dilations, bool(a("ceil_mode", 0)))


def average_pool(a, x):
    kernel = a("kernel_shape")
    strides, dilations, pads = window(a, x, kernel)
    half = len(pads) // 2
    if pads[:half] != pads[half:] or set(dilations) != {1}:
        raise NotImplementedError("AveragePool with uneven pads or dilations")
    return F.avg_pool2d(x, kernel, strides, pads[:half], bool(a("ceil_mode", 0)), bool(a("count_include_pad", 0)))


def axes_of(a, x, axes):
    """Axes from the input (newer opsets) or the attribute; all axes where there are none."""
    attribute = a("axes")
    axes = axes.tolist() if axes is not None else attribute
    return list(axes) if axes else list(range(x.dim()))


def reduce_mean(a, x, axes=None):
    a("noop_with_empty_axes")
    return x.mean(axes_of(a, x, axes), keepdim=bool(a("keepdims", 1)))


def flatten(a, x):
    axis = a("axis", 1)
    return x.reshape(x.shape[:axis].numel(), -1)


def reshape(a, x, shape):
    a("allowzero")
    return x.reshape([x.shape[i] if n == 0 else n for i, n in enumerate(shape.tolist())])


def unsqueeze(a, x, axes=None):
    for axis in sorted(axes_of(a, x, axes)):
        x = x.unsqueeze(axis)
    return x


def squeeze(a, x, axes=None):
    attribute = a("axes")
    axes = axes.tolist() if axes is not None else attribute
    return x.squeeze(tuple(axes)) if axes else x.squeeze()


def slice_(a, x, starts, ends, axes=None, steps=None):
    axes = range(len(starts)) if axes is None else axes.tolist()
    steps = [1] * len(starts) if steps is None else steps.tolist()
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps):
        bottom = -(2**31)  # "down to and with the first element" for a negative step
        picked = range(x.shape[axis])[start : None if step < 0 and end < bottom else end : step]
        x = x.index_select(axis, torch.tensor(picked))
    return x


def split(a, x, sizes=None):
    axis, attribute, parts = a("axis", 0), a("split"), a("num_outputs") or len(a.node.output)
    sizes = sizes.tolist() if sizes is not None else attribute
    return x.split(sizes, axis) if sizes else x.split(-(-x.shape[axis] // parts), axis)


def pad_node(a, x, pads, value=None, axes=None):
    if a("mode", "constant") != "constant" or axes is not None:
        raise NotImplementedError("Pad other than by a constant on all axes")
    pads, rank = pads.tolist(), x.dim()
    return F.pad(x, [p for k in reversed(range(rank)) for p in (pads[k], pads[rank + k])], value=0.0 if value is None else value.item())


def cast(a, x):
    kind = {1: "float", 6: torch.int32, 7: torch.int64, 11: "float"}[a("to")]
    return x.to(torch.get_default_dtype() if kind == "float" and not x.is_floating_point() else x.dtype if kind == "float" else kind)


def gather(a, x, index):
    axis = a("axis", 0)
    return x.index_select(axis, index.reshape(-1)).reshape(x.shape[:axis] + index.shape + x.shape[axis + 1 :])


def dropout(a, x, ratio=None, training=None):
    a("seed"), a("ratio")
    return x  # an inference graph's Dropout does nothing


def shape(a, x):
    return torch.tensor(list(x.shape)[slice(a("start", 0), a("end"))])


OPERATORS = {
    "Conv": conv,
    "Gemm": gemm,
    "MatMul": lambda a, x, y: x @ y,
    "BatchNormalization": batch_norm,
    "Relu": lambda a, x: F.relu(watched(x)),
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a("alpha", 0.01)),
    "Clip": lambda a, x, low=None, high=None: x.clamp(low, high),
    "HardSigmoid": lambda a, x: (a("alpha", 0.2) * x + a("beta", 0.5)).clamp(0, 1),
    "HardSwish": lambda a, x: F.hardswish(x),
    "Sigmoid": lambda a, x: x.sigmoid(),
    "Softplus": lambda a, x: F.softplus(x),
    "Add": lambda a, x, y: x + y,
    "Sub": lambda a, x, y: x - y,
    "Mul": lambda a, x, y: x * y,
    "Div": lambda a, x, y: x // y if not x.is_floating_point() else x / y,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda a, x: F.adaptive_max_pool2d(x, 1),
    "ReduceMean": reduce_mean,
    "Flatten": flatten,
    "Reshape": reshape,
    "Transpose": lambda a, x: x.permute(a("perm", list(reversed(range(x.dim()))))),
    "Concat": lambda a, *xs: torch.cat(xs, a("axis")),
    "Slice": slice_,
    "Split": split,
    "Shape": shape,
    "Gather": gather,
    "Unsqueeze": unsqueeze,
    "Squeeze": squeeze,
    "Cast": cast,
    "CastLike": lambda a, x, y: x.to(y.dtype),
    "ConstantOfShape": lambda a, s: torch.full(s.tolist(), numpy_helper.to_array(a("value")).item()),
    "Expand": lambda a, x, s: x.expand(torch.broadcast_shapes(x.shape, s.tolist())),
    "Identity": lambda a, x: x,
    "Dropout": dropout,
    "Pad": pad_node,
}
