"""An ONNX file as a function of its float constants, computed by PyTorch in float64: what PyTorch's autograd says of the file itself.

    file = File("model.onnx")
    loss, gradients, free = file.loss(images, target)

An implementation that shares nothing with spgraph. It runs what PyTorch's exporters write for classifiers; any other operator or attribute is a
`KeyError` or `NotImplementedError`, never a guess.
"""
import numpy as np
import onnx
import onnx.inliner
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper

ONNX = {v: k for k, v in {torch.float32: 1, torch.int32: 6, torch.int64: 7, torch.bool: 9, torch.float64: 11}.items()}


class File:
    def __init__(self, path):
        model = onnx.load(path)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        self.opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self.nodes = model.graph.node
        self.constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant":
                attribute = node.attribute[0]
                value = helper.get_attribute_value(attribute)
                value = numpy_helper.to_array(value) if attribute.name == "value" else np.array(value, np.float32 if attribute.type in (1, 6) else np.int64)
                self.constants[node.output[0]] = value
        self.inputs = [i.name for i in model.graph.input if i.name not in self.constants]
        self.outputs = [o.name for o in model.graph.output]

    def floats(self):
        """The float constants by name."""
        return {n: v for n, v in self.constants.items() if v.dtype.kind == "f"}

    def loss(self, images, target, train=False):
        """Mean cross-entropy of single images (a batch if `train`: statistics of the batch), and the gradient of every float constant, in float64.
        The file's first output are scores, or probabilities where each image's sum to 1."""
        leaves = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in self.floats().items()}
        others = {n: torch.tensor(v) for n, v in self.constants.items() if n not in leaves}
        images, target = torch.from_numpy(images).double(), torch.from_numpy(target)
        parts = [images] if train else images.split(1)
        [image], output = self.inputs, self.outputs[0]
        maker = next((n for n in self.nodes if output in n.output), None)
        if maker is not None and maker.op_type == "Softmax":
            output = maker.input[0]  # its logarithm is exact where a probability is too small for a number
        logits = torch.cat([self.run(leaves | others | {image: part}, train)[output] for part in parts]).flatten(1)
        closed = bool((logits.sum(1) - 1).abs().max() < 1e-6 and logits.min() >= 0)
        loss = F.nll_loss(logits.log(), target) if closed else F.cross_entropy(logits, target)
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        return float(loss.detach()), {n: np.zeros(v.shape) if g is None else g.numpy() for (n, v), g in zip(leaves.items(), found)}

    def __call__(self, feeds):
        """All outputs by name, in float64."""
        values = {n: torch.tensor(v) for n, v in (self.constants | {n: feeds[n] for n in self.inputs}).items()}
        with torch.no_grad():
            values = self.run({n: v.double() if v.is_floating_point() else v for n, v in values.items()}, False)
        return {n: values[n].numpy() for n in self.outputs}

    def run(self, values, train):
        for node in self.nodes:
            if node.op_type == "Constant":
                continue
            if node.domain not in ("", "ai.onnx"):
                raise NotImplementedError(f"domain {node.domain}")
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            inputs = [values[n] if n else None for n in node.input]
            while inputs and inputs[-1] is None:
                inputs.pop()
            context = Context(attributes, self.opset, train, len(node.output))
            outputs = OPERATORS[node.op_type](context, *inputs)
            if left := attributes.keys() - context.read:
                raise NotImplementedError(f"{node.op_type}: {', '.join(sorted(left))}")
            for name, value in zip(node.output, outputs if isinstance(outputs, (tuple, list)) else [outputs]):
                values[name] = value
        return values


class Context:
    def __init__(self, attributes, opset, train, outputs):
        self.attributes, self.opset, self.train, self.outputs, self.read = attributes, opset, train, outputs, set()

    def __call__(self, name, default=None):
        self.read.add(name)
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else list(value) if isinstance(value, (tuple, list)) else value

    def only(self, name, *allowed):
        """An attribute of which one value is understood; the first is the default."""
        if (value := self(name, allowed[0])) not in allowed:
            raise NotImplementedError(f"{name} {value}")


def numbers(tensor):
    return [int(i) for i in tensor.reshape(-1).tolist()]


def apply(function):
    return lambda c, *inputs: function(*inputs)


def padded(c, x, value, spatial):
    """With the node's `pads`, which may differ at both ends."""
    c.only("auto_pad", "NOTSET")
    pads = c("pads", [0] * 2 * spatial)
    return F.pad(x, [p for i in reversed(range(spatial)) for p in (pads[i], pads[i + spatial])], value=value) if any(pads) else x


def conv(c, x, w, bias=None):
    spatial = w.dim() - 2
    c("kernel_shape")
    function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[spatial]
    ones = [1] * spatial
    return function(padded(c, x, 0.0, spatial), w, bias, c("strides", ones), 0, c("dilations", ones), c("group", 1))


def conv_transpose(c, x, w, bias=None):
    spatial = w.dim() - 2
    c("kernel_shape"), c.only("auto_pad", "NOTSET")
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[spatial]
    ones, pads = [1] * spatial, c("pads", [0] * 2 * spatial)
    y = function(x, w, bias, c("strides", ones), 0, c("output_padding", [0] * spatial), c("group", 1), c("dilations", ones))
    return F.pad(y, [-p for i in reversed(range(spatial)) for p in (pads[i], pads[i + spatial])])


def extreme(function):
    def compute(c, x):
        c.only("select_last_index", 0)
        return function(x, c("axis", 0), bool(c("keepdims", 1)))
    return compute  # fmt: skip


def pool(c, x, kind):
    kernel = c("kernel_shape")
    spatial = len(kernel)
    strides, ceil = c("strides", [1] * spatial), bool(c("ceil_mode", 0))
    if kind == "max":
        c.only("storage_order", 0)
        assert c.outputs == 1
        return F.max_pool2d(padded(c, x, -torch.inf, spatial), kernel, strides, 0, c("dilations", [1] * spatial), ceil)
    assert c("dilations", [1] * spatial) == [1] * spatial
    whole = bool(c("count_include_pad", 0))
    pads = c("pads", [0] * 2 * spatial)
    if pads[:spatial] == pads[spatial:]:
        c.only("auto_pad", "NOTSET")
        return F.avg_pool2d(x, kernel, strides, pads[:spatial], ceil, whole)
    if ceil:
        raise NotImplementedError("AveragePool: uneven pads and ceil_mode")
    sums = F.avg_pool2d(padded(c, x, 0.0, spatial), kernel, strides)
    return sums if whole else sums / F.avg_pool2d(padded(c, torch.ones_like(x), 0.0, spatial), kernel, strides)


def batch_norm(c, x, scale, shift, mean, variance):
    train = c.train if c("training_mode", 0) == 0 else True
    c("momentum"), c.only("spatial", 1)
    epsilon, wide = c("epsilon", 1e-5), [-1] + [1] * (x.dim() - 2)
    if train:
        y = F.batch_norm(x, None, None, scale, shift, True, 0.0, epsilon)
    else:
        y = (x - mean.view(wide)) / (variance + epsilon).sqrt().view(wide) * scale.view(wide) + shift.view(wide)
    return [y] + [mean] * (c.outputs - 1)


def layer_norm(c, x, scale, shift=None):
    axis = c("axis", -1) % x.dim()
    c("stash_type")
    assert c.outputs == 1
    y = F.layer_norm(x, x.shape[axis:], None, None, c("epsilon", 1e-5)) * scale
    return y if shift is None else y + shift


def gemm(c, a, b, bias=None):
    a, b = (t.T if c(n, 0) else t for t, n in ((a, "transA"), (b, "transB")))
    y, beta = c("alpha", 1.0) * (a @ b), c("beta", 1.0)
    return y if bias is None else y + beta * bias


def reshape(c, x, shape):
    wanted = numbers(shape)
    if not c("allowzero", 0):
        wanted = [x.shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    return x.reshape(wanted)


def reduction(function):
    def reduce(c, x, axes=None):
        given = c("axes") if axes is None else numbers(axes)
        keep, empty = bool(c("keepdims", 1)), c("noop_with_empty_axes", 0)
        if not given and empty:
            return x
        return function(x, tuple(given or range(x.dim())), keep)
    return reduce  # fmt: skip


def product(x, axes, keep):
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keep)
    return x


def slices(c, x, starts=None, ends=None, axes=None, steps=None):
    starts, ends = (c(n) if t is None else numbers(t) for t, n in ((starts, "starts"), (ends, "ends")))
    axes = numbers(axes) if axes is not None else c("axes", list(range(len(starts))))
    for start, end, axis, step in zip(starts, ends, axes, numbers(steps) if steps is not None else [1] * len(starts)):
        places = range(x.shape[axis])[slice(start, None if step < 0 and end < -x.shape[axis] else end, step)]
        x = x.index_select(axis, torch.tensor(list(places), dtype=torch.int64))
    return x


def gather(c, x, at):
    axis = c("axis", 0) % x.dim()
    at = torch.where(at < 0, at + x.shape[axis], at)
    return x.index_select(axis, at.reshape(-1)).reshape([*x.shape[:axis], *at.shape, *x.shape[axis + 1 :]])


def gather_nd(c, x, at):
    c.only("batch_dims", 0)
    return x[tuple(at.unbind(-1))]


def scatter_nd(c, x, at, updates):
    c.only("reduction", "none")
    return x.index_put(tuple(at.unbind(-1)), updates)


def split(c, x, sizes=None):
    axis, parts = c("axis", 0), c("num_outputs", c.outputs)
    given = c("split") if sizes is None else numbers(sizes)
    return x.split(given or -(-x.shape[axis] // parts), axis)


def split_to_sequence(c, x, sizes=None):
    axis, keep = c("axis", 0), c("keepdims", 1)
    if sizes is None:
        parts = x.split(1, axis)
        return ([p if keep else p.squeeze(axis) for p in parts],)
    return (list(x.split(int(sizes) if sizes.dim() == 0 else numbers(sizes), axis)),)


def squeeze(c, x, axes=None):
    given = c("axes") if axes is None else numbers(axes)
    return x.squeeze(tuple(given) if given else tuple(i for i, d in enumerate(x.shape) if d == 1))


def unsqueeze(c, x, axes=None):
    given = c("axes") if axes is None else numbers(axes)
    for axis in sorted(a % (x.dim() + len(given)) for a in given):
        x = x.unsqueeze(axis)
    return x


def pad(c, x, pads=None, value=None, axes=None):
    pads = c("pads") if pads is None else numbers(pads)
    axes = numbers(axes) if axes is not None else list(range(x.dim()))
    mode, each = c("mode", "constant"), {a % x.dim(): (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)}
    value = c("value", 0.0) if value is None else float(value.detach())
    flat = [p for i in reversed(range(x.dim())) for p in each.get(i, (0, 0))]
    if mode != "constant":
        raise NotImplementedError(f"Pad {mode}")
    return F.pad(x, flat, value=value)


def clip(c, x, low=None, high=None):
    low, high = (c(n) if t is None else t for t, n in ((low, "min"), (high, "max")))
    x = x if low is None else torch.maximum(x, torch.as_tensor(low, dtype=x.dtype))
    return x if high is None else torch.minimum(x, torch.as_tensor(high, dtype=x.dtype))


def softmax(function):
    def compute(c, x):
        axis = c("axis", -1 if c.opset >= 13 else 1)
        return function(x, axis) if c.opset >= 13 else function(x.flatten(axis % x.dim()), -1).reshape(x.shape)
    return compute  # fmt: skip


def cast(c, x):
    c("saturate"), c("round_mode")
    to = c("to")
    if to in (1, 10, 11, 16):
        return x.double()
    return x.to({6: torch.int32, 7: torch.int64, 9: torch.bool}[to])


def divide(a, b):
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def gelu(c, x):
    return F.gelu(x, approximate=c("approximate", "none"))


def constant_of_shape(c, shape):
    value = c("value")
    value = torch.zeros(1, dtype=torch.float64) if value is None else torch.tensor(numpy_helper.to_array(value))
    return torch.full(numbers(shape), value.item(), dtype=torch.float64 if value.is_floating_point() else value.dtype)


def shape(c, x):
    return torch.tensor(list(x.shape)[c("start", 0) : c("end")], dtype=torch.int64)


def expand(c, x, shape):
    return x.broadcast_to(torch.broadcast_shapes(x.shape, numbers(shape)))


def flatten(c, x):
    axis = c("axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


def power(x, exponent):
    return x ** (float(exponent) if exponent.dim() == 0 and not exponent.requires_grad else exponent)


def instance_norm(c, x, scale, shift):
    return F.instance_norm(x, weight=scale, bias=shift, eps=c("epsilon", 1e-5))


def group_norm(c, x, scale, shift):
    c("stash_type")
    groups = c("num_groups")
    return F.group_norm(x, groups, scale if len(scale) == x.shape[1] else scale.repeat_interleave(x.shape[1] // groups), shift, c("epsilon", 1e-5))


def concat(c, *inputs):
    return torch.cat(inputs, c("axis"))


def identity_dropout(c, x, *rest):
    c("ratio"), c("seed")
    if rest[1:] and bool(rest[1]):
        raise NotImplementedError("Dropout in training form")
    return [x] + [torch.ones_like(x, dtype=torch.bool)] * (c.outputs - 1)


def many(function):
    def fold(c, *inputs):
        total = inputs[0]
        for i in inputs[1:]:
            total = function(total, i)
        return total
    return fold  # fmt: skip


OPERATORS = {
    **{n: apply(getattr(torch, n.lower())) for n in "Abs Acos Asin Atan Ceil Cos Erf Exp Floor Log Neg Round Sigmoid Sign Sin Sqrt Tan Tanh".split()},
    "Add": apply(torch.add), "Sub": apply(torch.sub), "Mul": apply(torch.mul), "Div": apply(divide), "Pow": apply(power), "MatMul": apply(torch.matmul),
    "Reciprocal": apply(torch.reciprocal), "Relu": apply(torch.relu), "HardSwish": apply(F.hardswish), "Softplus": apply(F.softplus), "Mish": apply(F.mish),
    "LeakyRelu": lambda c, x: F.leaky_relu(x, c("alpha", 0.01)), "PRelu": apply(lambda x, slope: torch.where(x < 0, slope * x, x)),
    "Elu": lambda c, x: F.elu(x, c("alpha", 1.0)), "HardSigmoid": lambda c, x: (c("alpha", 0.2) * x + c("beta", 0.5)).clamp(0, 1), "Gelu": gelu,
    "Swish": lambda c, x: x * torch.sigmoid(c("alpha", 1.0) * x),
    "Max": many(torch.maximum), "Min": many(torch.minimum), "Sum": many(torch.add), "Conv": conv, "ConvTranspose": conv_transpose,
    "ArgMax": extreme(torch.argmax), "ArgMin": extreme(torch.argmin), "Gemm": gemm, "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm, "InstanceNormalization": instance_norm, "GroupNormalization": group_norm,
    "MaxPool": lambda c, x: pool(c, x, "max"), "AveragePool": lambda c, x: pool(c, x, "mean"),
    "GlobalAveragePool": apply(lambda x: x.mean(tuple(range(2, x.dim())), True)), "GlobalMaxPool": apply(lambda x: x.amax(tuple(range(2, x.dim())), True)),
    "Softmax": softmax(torch.softmax), "LogSoftmax": softmax(torch.log_softmax), "Clip": clip, "Pad": pad,
    "ReduceMean": reduction(lambda x, a, k: x.mean(a, k)), "ReduceSum": reduction(lambda x, a, k: x.sum(a, k)), "ReduceMax": reduction(lambda x, a, k: x.amax(a, k)),
    "ReduceMin": reduction(lambda x, a, k: x.amin(a, k)), "ReduceL2": reduction(lambda x, a, k: torch.linalg.vector_norm(x, 2, a, k)),
    "ReduceSumSquare": reduction(lambda x, a, k: x.square().sum(a, k)), "ReduceProd": reduction(product), "ReduceL1": reduction(lambda x, a, k: x.abs().sum(a, k)),
    "Reshape": reshape, "Flatten": flatten, "Transpose": lambda c, x: x.permute(c("perm", list(range(x.dim()))[::-1])), "Concat": concat, "Split": split,
    "SplitToSequence": split_to_sequence, "SequenceAt": apply(lambda parts, at: parts[int(at)]), "SequenceConstruct": lambda c, *parts: (list(parts),),
    "ConcatFromSequence": lambda c, parts: (torch.stack if c("new_axis", 0) else torch.cat)(parts, c("axis")),
    "Slice": slices, "Gather": gather, "GatherND": gather_nd, "ScatterND": scatter_nd, "GatherElements": lambda c, x, at: x.gather(c("axis", 0), at),
    "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Expand": expand, "Shape": shape, "ConstantOfShape": constant_of_shape, "Cast": cast,
    "CastLike": apply(lambda x, like: x.to(like.dtype)), "Identity": apply(lambda x: x), "Dropout": identity_dropout,
    "Tile": apply(lambda x, times: x.repeat(numbers(times))), "Range": apply(lambda a, b, s: torch.arange(a.item(), b.item(), s.item(), dtype=a.dtype)),
    "Where": apply(torch.where), "Equal": apply(torch.eq), "Less": apply(torch.lt), "LessOrEqual": apply(torch.le), "Greater": apply(torch.gt),
    "GreaterOrEqual": apply(torch.ge), "And": apply(torch.logical_and), "Or": apply(torch.logical_or), "Not": apply(torch.logical_not),
    "LRN": lambda c, x: F.local_response_norm(x, c("size"), c("alpha", 1e-4), c("beta", 0.75), c("bias", 1.0)),
    "Einsum": lambda c, *inputs: torch.einsum(c("equation"), *inputs),
    "CumSum": lambda c, x, axis: (c.only("exclusive", 0), c.only("reverse", 0), x.cumsum(int(axis)))[2],
    "Mod": lambda c, a, b: torch.fmod(a, b) if c("fmod", 0) else torch.remainder(a, b),
}  # fmt: skip
