"""Operators that exporters write since opset 18 or seldom, in small classifiers: the logits against ONNX's reference evaluator and ONNX Runtime on
the model as it is. Their gradients are held against finite differences in `tests/gradients`; here, those of sequences against the same network
without them.
"""
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, Graph, relative_error, rewrite
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

BATCH, CLASSES = 2, 3
make = helper.make_node


def random(label, shape):
    return np.random.RandomState(len(label) + 7 * int(np.prod(shape))).uniform(-1, 1, shape).astype(np.float32)


def classifier(nodes, constants, width, opset, image=(3, 8, 8), path=None):
    """`nodes` go from `h`, what a convolution of four channels makes of the images, to `y`."""
    weights = {"conv.weight": random("c", (4, 3, 1, 1)), "fc.weight": random("fc.weight", (CLASSES, width)) / width**0.5, "fc.bias": random("b", (CLASSES,))}
    nodes = [make("Conv", ["images", "conv.weight"], ["h"]), *nodes, make("Flatten", ["y"], ["flat"]), make("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], transB=1)]
    graph = helper.make_graph(
        nodes, "newer", [helper.make_tensor_value_info("images", TensorProto.FLOAT, (BATCH, *image))], [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (BATCH, CLASSES))],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (weights | constants).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10 if opset < 24 else 12)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return model


def tokens(*more):
    """`[N, 4, 8, 8]` as 16 tokens of width 16, and their queries, keys and values."""
    constants = {"by_token": np.array([BATCH, 16, 16])} | {f"{n}.weight": random(n, (16, 16)) / 2 for n in "qkv"}
    return [make("Reshape", ["h", "by_token"], ["t"]), *(make("MatMul", ["t", f"{n}.weight"], [n]) for n in "qkv"), *more], constants


def attention(opset, mask=None, **attributes):
    nodes, constants = tokens(make("Attention", ["q", "k", "v", *(["mask"] if mask is not None else [])], ["y"], q_num_heads=4, kv_num_heads=4, **attributes))
    return nodes, constants | ({"mask": mask} if mask is not None else {}), 256, opset


def shown(mode):
    nodes, constants = tokens(
        make("Attention", ["q", "k", "v"], ["a", "key", "", "scores"], q_num_heads=2, kv_num_heads=2, qk_matmul_output_mode=mode),
        make("Flatten", ["scores"], ["s"]),
        make("Flatten", ["a"], ["fa"]), make("Flatten", ["key"], ["fk"]), make("Concat", ["fa", "fk", "s"], ["y"], axis=1),
    )  # fmt: skip
    return nodes, constants, 256 + 256 + 512, 23


def rotary(places, **attributes):
    angles = np.arange(16)[:, None] * np.array([[1.0, 0.3]])
    nodes, constants = tokens(make("RotaryEmbedding", ["q", "cos", "sin", "places"], ["y"], num_heads=4, **attributes))
    return nodes, constants | {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32), "places": np.array(places)}, 256, 23


def one(op, opset, width, constants=(), **attributes):
    names = [n if v is not None else "" for n, v in dict(constants).items()]
    return [make(op, ["h", *names], ["y"], **attributes)], {n: v for n, v in dict(constants).items() if v is not None}, width, opset


def resized(scales, **attributes):
    constants = {"roi": None, "scales": np.array([1, 1, *scales], np.float32)}
    return one("Resize", 18, 4 * int(8 * scales[0]) * int(8 * scales[1]), constants, antialias=1, **attributes)


def counted():
    """Channels weighed by a range of floats, and by shifted integers."""
    constants = {n: np.float32(v) for n, v in dict(start=0.25, limit=2.1, delta=0.5).items()} | {"two": np.array([1, 2, 3, 0], np.uint8), "bits": np.array([8], np.uint8)}
    nodes = [
        make("Range", ["start", "limit", "delta"], ["r"]), make("BitShift", ["bits", "two"], ["b"], direction="RIGHT"), make("Cast", ["b"], ["f"], to=1),
        make("Add", ["r", "f"], ["w"]), make("Unsqueeze", ["w", "behind"], ["wide"]), make("Mul", ["h", "wide"], ["y"]),
    ]  # fmt: skip
    return nodes, constants | {"behind": np.array([1, 2])}, 256, 17


MASKS = {"shut": np.arange(256).reshape(16, 16) % 3 != 1, "bias": random("bias", (4, 16, 16)), "row": np.arange(16)[:, None] + np.zeros((1, 16), int) != 5}
CASES = {
    "attention": attention(23),
    "attention, a scale and a cap": attention(24, scale=0.4, softcap=2.0),
    "attention, causal": attention(24, is_causal=1),
    "attention, some shut out": attention(23, MASKS["shut"]),
    "attention, a query that sees nothing": attention(24, MASKS["row"]),
    "attention, a bias for each head": attention(24, MASKS["bias"]),
    "attention, a bias and causal": attention(24, MASKS["bias"], is_causal=1),
    "attention, a window": attention(25, left_window_size=2, right_window_size=1),
    **{f"attention, its scores {mode}": shown(mode) for mode in (0, 1, 3)},
    "rotary": rotary([list(range(16))] * BATCH),
    "rotary, interleaved": rotary([[3, 1] * 8] * BATCH, interleaved=1),
    "dilated means": one("AveragePool", 19, 4 * 4 * 3, kernel_shape=[3, 2], dilations=[2, 3], strides=[1, 2]),
    "dilated means of padding": one("AveragePool", 22, 4 * 4 * 4, kernel_shape=[3, 3], dilations=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1, ceil_mode=1),
    "dilated means without padding": one("AveragePool", 19, 4 * 3 * 3, kernel_shape=[3, 3], dilations=[2, 2], strides=[2, 2], pads=[1, 1, 1, 1]),
    "dilated norms": one("LpPool", 18, 4 * 6 * 5, kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 0, 1, 0], p=2),
    "smaller, linear": resized((0.5, 0.625), mode="linear"),
    "smaller and larger, cubic": resized((0.375, 1.5), mode="cubic"),
    "smaller, cubic, nothing from outside": resized((0.5, 0.25), mode="cubic", exclude_outside=1),
    "ranges and shifts": counted(),
}  # fmt: skip
# What this version of ONNX Runtime has no kernel for, or computes otherwise than ONNX's own evaluator.
RUNTIME_LACKS = {"attention, a window"}


@pytest.mark.parametrize("name", CASES)
def test_logits_are_the_models_own(name, tmp_path):
    model = classifier(*CASES[name], path=tmp_path / "model.onnx")
    bundle = rewrite(tmp_path / "model.onnx", tmp_path / "bundle", batch=BATCH)
    images = random("images", (BATCH, 3, 8, 8))
    evaluation = bundle.graph("eval")
    found = evaluation(bundle.feeds(bundle.start(), images, np.zeros(BATCH, np.int64)))[evaluation.outputs[0]]
    [reference] = ReferenceEvaluator(model).run(None, {"images": images})
    assert relative_error(found, reference) < 1e-5, "ONNX's reference evaluator"
    if name not in RUNTIME_LACKS:
        assert relative_error(found, Graph(tmp_path / "model.onnx")({"images": images})["logits"]) < 1e-5, "ONNX Runtime"


def halves(sequences):
    """Channels split in parts, each through a weight of its own, and joined in another order."""
    constants = {n: random(n, (2, 1, 1)) for n in ("first", "second")} | {"two": np.array(2), "zero": np.array(0), "last": np.array(-1)}
    if sequences:
        parts = [make("SplitToSequence", ["h", "two"], ["s"], axis=1), make("SequenceAt", ["s", "zero"], ["a"]), make("SequenceAt", ["s", "last"], ["b"])]
        join = [make("SequenceConstruct", ["ya"], ["one"]), make("SequenceInsert", ["one", "yb", "zero"], ["both"]), make("ConcatFromSequence", ["both"], ["y"], axis=1)]
    else:
        parts = [make("Split", ["h", "sizes"], ["a", "b"], axis=1)]
        join = [make("Concat", ["yb", "ya"], ["y"], axis=1)]
        constants = {n: v for n, v in constants.items() if n in ("first", "second")} | {"sizes": np.array([2, 2])}
    return [*parts, make("Mul", ["a", "first"], ["ya"]), make("Mul", ["b", "second"], ["yb"]), *join], constants, 256, 17


def test_sequences_are_what_they_hold(tmp_path):
    gradients = []
    for kind in (True, False):
        classifier(*halves(kind), path=tmp_path / "model.onnx")
        bundle = rewrite(tmp_path / "model.onnx", tmp_path / f"{kind}", "--split", batch=BATCH)
        outputs = bundle.graph("grad")(bundle.feeds(bundle.start(), random("images", (BATCH, 3, 8, 8)), np.array([0, 2])))
        gradients.append(bundle.gradients(outputs))
    assert gradients[0].keys() == gradients[1].keys() and {"first", "second"} <= gradients[0].keys()
    for name, gradient in gradients[0].items():
        np.testing.assert_array_equal(gradient, gradients[1][name], err_msg=name)


@pytest.mark.parametrize("interleaved", [0, 1])
def test_rotated_positions_have_the_gradient_of_what_they_are_made_of(interleaved, tmp_path):
    """Against a product with the matrix that each place is rotated by."""
    nodes, constants, *rest = rotary([list(range(16))] * BATCH, interleaved=interleaved)
    cos, sin, turned = constants["cos"], constants["sin"], np.zeros((16, 4, 4), np.float32)
    for place, pair in np.ndindex(16, 2):
        a, b = (2 * pair, 2 * pair + 1) if interleaved else (pair, pair + 2)
        c, s = cos[place, pair], sin[place, pair]
        turned[place, a, a], turned[place, a, b], turned[place, b, a], turned[place, b, b] = c, -s, s, c
    shapes = {"apart": np.array([BATCH, 16, 4, 4]), "turned": turned.transpose(0, 2, 1)}  # by place: heads in rows, a head's elements in columns
    spelled = [n for n in nodes if n.op_type != "RotaryEmbedding"] + [
        make("Reshape", ["q", "apart"], ["heads"]), make("MatMul", ["heads", "turned"], ["together"]), make("Reshape", ["together", "by_token"], ["y"]),
    ]  # fmt: skip
    found = []
    for given in ((nodes, constants), (spelled, {n: v for n, v in (constants | shapes).items() if n not in ("cos", "sin", "places")})):
        classifier(*given, *rest, path=tmp_path / "model.onnx")
        bundle = rewrite(tmp_path / "model.onnx", tmp_path / str(len(found)), "--split", batch=BATCH)
        outputs = bundle.graph("grad")(bundle.feeds(bundle.start(), random("images", (BATCH, 3, 8, 8)), np.array([0, 2])))
        found.append(bundle.gradients(outputs))
    for name in ("conv.weight", "q.weight", "fc.weight"):
        assert relative_error(found[0][name], found[1][name]) < 1e-5, name


def test_what_import_computes_is_no_parameter(tmp_path):
    """Positions cast from integers, a divisor for each window, a converted number: none has a place in the file to which it could be written back."""
    nodes = [
        make("Range", ["zero", "eight", "one"], ["places"]), make("Cast", ["places"], ["_to_copy"], to=1), make("Add", ["h", "_to_copy"], ["moved"]),
        make("Cast", ["half"], ["scalar_tensor_default"], to=1), make("Mul", ["moved", "scalar_tensor_default"], ["scaled"]),
        make("AveragePool", ["scaled"], ["y"], kernel_shape=[3, 3], dilations=[2, 2], pads=[1, 1, 1, 1]),
    ]  # fmt: skip
    constants = {"zero": np.array(0), "eight": np.array(8), "one": np.array(1), "half": np.array(0.5)}
    classifier(nodes, constants, 4 * 6 * 6, 19, path=tmp_path / "model.onnx")
    bundle = rewrite(tmp_path / "model.onnx", tmp_path / "bundle", batch=BATCH)
    assert bundle.named("shared", "new") == ["conv.weight", "fc.weight", "fc.bias"]


def refused(tmp_path, *arguments):
    classifier(*arguments, path=tmp_path / "model.onnx")
    done = subprocess.run([BINARY, "rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--batch", str(BATCH)], capture_output=True, text=True)
    assert done.returncode == 1 and not (tmp_path / "bundle").exists(), done.stdout + done.stderr
    return done.stderr


def test_randomness_and_caches_are_refused(tmp_path):
    for op in ("RandomUniformLike", "RandomNormalLike", "Bernoulli"):
        assert "draws random numbers" in refused(tmp_path, [make(op, ["h"], ["noise"]), make("Mul", ["h", "noise"], ["y"])], {}, 256, 17), op
    nodes, constants = tokens(make("Attention", ["q", "k", "v", "", "past", "past"], ["y", "present", "values"], q_num_heads=4, kv_num_heads=4))
    assert "earlier call" in refused(tmp_path, nodes, constants | {"past": random("past", (BATCH, 4, 2, 4))}, 256, 23)
