"""Which operators of a training step TensorFlow Lite and Core ML have, from their own lists: the table of docs/runtimes.md.

`make operator-table`, with a Python that has tflite and coremltools (which is read, not run), onnx and what the module spgraph needs. The steps are of
bundles of MODELS, in standard operators alone.

TensorFlow Lite's list is the enumeration BuiltinOperator of its file format in the package tflite, Core ML's the operators that coremltools defines for MIL, with the
newest definition of each. ONNX's operators are written in theirs by MEANS; a name that is not in the list is said to be lacking.
"""
import ast
import collections
import importlib.metadata
import importlib.util
import pathlib
import re
import tempfile

import lab
import onnx

# A residual network, one with depthwise convolutions and hard activations, one that shuffles channels, and one with tokens.
MODELS = ["models/resnet20-source.onnx", "tests/fixtures/mobilenet.bn.onnx", "tests/fixtures/shuffle.bn.onnx", "tests/fixtures/tokens.onnx"]
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "runtimes.md"
BEGIN, END = "<!-- made by tests/runtimes/operators.py -->\n", "<!-- end of operators -->\n"
# ONNX: TensorFlow Lite, Core ML. What a constant is needs no operator.
MEANS = {
    "Add": ("ADD", "add"), "Sub": ("SUB", "sub"), "Mul": ("MUL", "mul"), "Div": ("DIV", "real_div"), "Sum": ("ADD_N", "add"), "Neg": ("NEG", "mul"),
    "Sqrt": ("SQRT", "sqrt"), "Exp": ("EXP", "exp"), "Log": ("LOG", "log"), "Pow": ("POW", "pow"), "Abs": ("ABS", "abs"), "Sign": ("SIGN", "sign"),
    "Max": ("MAXIMUM", "maximum"), "Min": ("MINIMUM", "minimum"), "Clip": ("MAXIMUM MINIMUM", "clip"), "Relu": ("RELU", "relu"), "Sigmoid": ("LOGISTIC", "sigmoid"),
    "HardSwish": ("HARD_SWISH", "sigmoid_hard mul"), "HardSigmoid": ("MUL ADD MAXIMUM MINIMUM", "sigmoid_hard"), "Tanh": ("TANH", "tanh"), "Erf": ("ERF", "erf"),
    "Equal": ("EQUAL", "equal"), "Less": ("LESS", "less"), "Greater": ("GREATER", "greater"), "And": ("LOGICAL_AND", "logical_and"), "Not": ("LOGICAL_NOT", "logical_not"), "Where": ("SELECT_V2", "select"),
    "Cast": ("CAST", "cast"), "Identity": ("RESHAPE", "identity"), "Reshape": ("RESHAPE", "reshape"), "Flatten": ("RESHAPE", "reshape"), "Transpose": ("TRANSPOSE", "transpose"), "Squeeze": ("SQUEEZE", "squeeze"), "Unsqueeze": ("EXPAND_DIMS", "expand_dims"),
    "Slice": ("STRIDED_SLICE", "slice_by_index"), "Concat": ("CONCATENATION", "concat"), "Split": ("SPLIT_V", "split"), "Pad": ("PADV2", "pad"), "Expand": ("BROADCAST_TO", "tile"), "Gather": ("GATHER", "gather"),
    "Conv": ("CONV_2D", "conv"), "ConvTranspose": ("TRANSPOSE_CONV", "conv_transpose"), "MatMul": ("BATCH_MATMUL", "matmul"), "Gemm": ("FULLY_CONNECTED", "matmul add"), "BatchNormalization": ("MUL ADD", "batch_norm"),
    "GlobalAveragePool": ("MEAN", "reduce_mean"), "MaxPool": ("MAX_POOL_2D", "max_pool"), "AveragePool": ("AVERAGE_POOL_2D", "avg_pool"),
    "ReduceSum": ("SUM", "reduce_sum"), "ReduceMean": ("MEAN", "reduce_mean"), "ReduceMax": ("REDUCE_MAX", "reduce_max"), "ReduceSumSquare": ("MUL SUM", "reduce_sum_square"), "ArgMax": ("ARG_MAX", "reduce_argmax"),
    "Softmax": ("SOFTMAX", "softmax"), "LogSoftmax": ("LOG_SOFTMAX", "softmax log"), "ScatterND": ("SCATTER_ND", "scatter_nd"),
}
# Tensors, in contrast to strides and the like.
TENSORS = {"x", "y", "weight", "bias", "mean", "variance", "gamma", "beta"}


def installed(package):
    return pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])


def lite():
    text = (installed("tflite") / "BuiltinOperator.py").read_text()
    return {name: [] for name in re.findall(r"^    ([A-Z0-9_]+) = \d+", text, re.M)}


def core_ml():
    """Each operator with the tensors that must be constants."""
    found = {}
    for folder in sorted((installed("coremltools") / "converters/mil/mil/ops/defs").glob("iOS*")):
        for file in sorted(folder.glob("*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef):
                    spec = [n.value for n in ast.walk(node) if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == "input_spec"]
                    inputs = [k for s in spec for c in ast.walk(s) if isinstance(c, ast.Call) and getattr(c.func, "id", "") == "InputSpec" for k in c.keywords]
                    fixed = [k.arg for k in inputs if k.arg in TENSORS and any(w.arg == "const" for w in getattr(k.value, "keywords", []))]
                    # Of an activation it is a number.
                    fixed = [name for name in fixed if name != "beta" or "gamma" in fixed]
                    found[node.name] = fixed if spec else found.get(node.name, [])
    return found


def nodes(model, folder):
    import spgraph

    spgraph.run("rewrite", lab.ROOT / model, "--dialect", "inlined", "-o", folder / pathlib.Path(model).stem)
    return collections.Counter(n.op_type for n in onnx.load(folder / pathlib.Path(model).stem / "step.onnx", load_external_data=False).graph.node)


def said(means, listed):
    if means is None:
        return "**not known here**"
    words = []
    for name in means.split():
        fixed = listed.get(name, [])
        words.append(f"**no `{name}`**" if name not in listed else f"`{name}`" + (f" ({', '.join(fixed)} constant)" if fixed else ""))
    return " ".join(words)


def table():
    with tempfile.TemporaryDirectory() as folder:
        counted = sum((nodes(model, pathlib.Path(folder)) for model in MODELS), collections.Counter())
    lists = {"TensorFlow Lite": lite(), "Core ML": core_ml()}
    versions = [f"tflite {importlib.metadata.version('tflite')}", f"coremltools {importlib.metadata.version('coremltools')}"]
    lines = [f"By the lists of {' and '.join(versions)}, for every operator in the steps of bundles of {', '.join(f'`{m}`' for m in MODELS)} (`make operator-table`).", ""]
    lines += ["| ONNX | nodes | " + " | ".join(lists) + " |", "|---|---|---|---|"]
    for op, number in counted.most_common():
        if op != "Constant":
            means = MEANS.get(op, (None, None))
            lines.append(f"| {op} | {number} | " + " | ".join(said(m, listed) for m, listed in zip(means, lists.values())) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    PAGE.write_text(before + BEGIN + table() + END + rest.split(END)[1])
