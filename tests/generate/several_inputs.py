"""Golden vector-Jacobian products of networks with several inputs and outputs, by PyTorch's autograd in float64.

    python several_inputs.py

Writes tests/fixtures/several_inputs/NAME.onnx (float32, opset 17), made of PyTorch's own formulas with the helpers of the onnx package, and NAME.safetensors: `input/<name>`, as they are fed;
for each output `output/<name>`, `cotangent/<name>`, and `<output>/<input or parameter>`, the products.
"""
import pathlib

import onnx
import onnx.helper as h
import onnx.numpy_helper
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "several_inputs"
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def weights(seed, **shapes):
    torch.manual_seed(seed)
    return {n: (torch.randn(s) * 0.3).double() for n, s in shapes.items()}


def pair():
    """Two images through one convolution, and a vector of numbers beside them: the distance of their features, and scores."""
    w = weights(1, **{"conv.weight": (4, 3, 3, 3), "conv.bias": (4,), "meta.weight": (4, 5), "head.weight": (3, 8), "head.bias": (3,)})
    inputs = {"left": torch.randn(2, 3, 6, 6), "right": torch.randn(2, 3, 6, 6), "numbers": torch.randn(2, 5)}

    def run(left, right, numbers, w):
        maps = lambda x: F.relu(F.conv2d(x, w["conv.weight"], w["conv.bias"], padding=1)).mean((2, 3))  # noqa: E731
        a, b, m = maps(left), maps(right), torch.tanh(numbers @ w["meta.weight"].T)
        return {"distance": ((a - b) ** 2).sum(1), "scores": torch.cat([a * b, m], 1) @ w["head.weight"].T + w["head.bias"]}

    nodes = []
    for name, x in (("a", "left"), ("b", "right")):
        nodes += [
            h.make_node("Conv", [x, "conv.weight", "conv.bias"], [f"{name}.conv"], f"{name}/Conv", pads=[1, 1, 1, 1]),
            h.make_node("Relu", [f"{name}.conv"], [f"{name}.relu"], f"{name}/Relu"),
            h.make_node("ReduceMean", [f"{name}.relu"], [name], f"{name}/Mean", axes=[2, 3], keepdims=0),
        ]
    nodes += [
        h.make_node("Sub", ["a", "b"], ["difference"], "Sub"),
        h.make_node("Mul", ["difference", "difference"], ["squares"], "Square"),
        h.make_node("ReduceSum", ["squares", "one"], ["distance"], "Sum", keepdims=0),
        h.make_node("Gemm", ["numbers", "meta.weight"], ["meta"], "meta/Gemm", transB=1),
        h.make_node("Tanh", ["meta"], ["m"], "Tanh"),
        h.make_node("Mul", ["a", "b"], ["product"], "Mul"),
        h.make_node("Concat", ["product", "m"], ["both"], "Concat", axis=1),
        h.make_node("Gemm", ["both", "head.weight", "head.bias"], ["scores"], "head/Gemm", transB=1),
    ]
    ports = {"left": ["N", 3, 6, 6], "right": ["N", 3, 6, 6], "numbers": ["N", 5]}, {"distance": ["N"], "scores": ["N", 3]}
    return inputs, w, run, nodes, ports, {"one": torch.tensor([1])}


def tokens():
    """Vectors of words, with whole numbers that say which count: their mean, two heads."""
    w = weights(2, **{"mix.weight": (6, 6), "mark.weight": (4, 6), "kind.weight": (2, 6)})
    inputs = {"words": torch.randn(3, 5, 6), "mask": (torch.rand(3, 5) > 0.3).long()}

    def run(words, mask, w):
        counted = mask.to(words.dtype)
        found = torch.tanh(words @ w["mix.weight"]) * counted[..., None]
        mean = found.sum(1) / (counted.sum(1, keepdim=True) + 1)
        return {"mark": mean @ w["mark.weight"].T, "kind": torch.sigmoid(mean @ w["kind.weight"].T)}

    nodes = [
        h.make_node("Cast", ["mask"], ["counted"], "Cast", to=FLOAT),
        h.make_node("MatMul", ["words", "mix.weight"], ["mixed"], "mix/MatMul"),
        h.make_node("Tanh", ["mixed"], ["vectors"], "Tanh"),
        h.make_node("Unsqueeze", ["counted", "last"], ["wide"], "Unsqueeze"),
        h.make_node("Mul", ["vectors", "wide"], ["kept"], "Mul"),
        h.make_node("ReduceSum", ["kept", "axis"], ["sum"], "Sum", keepdims=0),
        h.make_node("ReduceSum", ["counted", "axis"], ["count"], "Count", keepdims=1),
        h.make_node("Add", ["count", "unit"], ["more"], "Add"),
        h.make_node("Div", ["sum", "more"], ["mean"], "Div"),
        h.make_node("Gemm", ["mean", "mark.weight"], ["mark"], "mark/Gemm", transB=1),
        h.make_node("Gemm", ["mean", "kind.weight"], ["kind.logits"], "kind/Gemm", transB=1),
        h.make_node("Sigmoid", ["kind.logits"], ["kind"], "Sigmoid"),
    ]
    ports = {"words": ["N", 5, 6], "mask": ["N", 5]}, {"mark": ["N", 4], "kind": ["N", 2]}
    return inputs, w, run, nodes, ports, {"last": torch.tensor([-1]), "axis": torch.tensor([1]), "unit": torch.tensor(1.0)}


def write(name, made):
    inputs, w, run, nodes, (given, got), constants = made()
    info = lambda n, s: h.make_tensor_value_info(n, INT64 if n in inputs and inputs[n].dtype == torch.int64 else FLOAT, s)  # noqa: E731
    tensor = lambda n, t: onnx.numpy_helper.from_array((t.float() if t.is_floating_point() else t).numpy(), n)  # noqa: E731
    initializers = [tensor(n, t) for n, t in (w | constants).items()]
    graph = h.make_graph(nodes, name, [info(*p) for p in given.items()], [info(*p) for p in got.items()], initializers)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, FOLDER / f"{name}.onnx")
    wanted = {n: t.float().double().requires_grad_() for n, t in (inputs | w).items() if t.is_floating_point()}
    result = {f"input/{n}": t for n, t in inputs.items()}
    outputs = run(**{n: wanted.get(n, t) for n, t in inputs.items()}, w={n: wanted[n] for n in w})
    for output, value in outputs.items():
        cotangent = torch.randn(value.shape).float().double()
        found = torch.autograd.grad(value, list(wanted.values()), cotangent, retain_graph=True, allow_unused=True)
        result |= {f"output/{output}": value, f"cotangent/{output}": cotangent}
        result |= {f"{output}/{n}": g for n, g in zip(wanted, found) if g is not None}
    save_file({n: (t.detach().float() if t.is_floating_point() else t).contiguous() for n, t in result.items()}, FOLDER / f"{name}.safetensors")
    print(name, len(result))


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    torch.manual_seed(0)
    for made in (pair, tokens):
        write(made.__name__, made)
