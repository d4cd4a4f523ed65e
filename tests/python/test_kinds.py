"""Classifiers of further kinds: right beside central differences of the file itself, or refused with what to do; whatever moves the loss is trained or named.

Each kind is generated in float64 and evaluated by ONNX's reference evaluator.
"""
import json

import numpy as np
import onnx
import pytest
from harness import spgraph
from onnx import TensorProto, helper, numpy_helper
from test_constants import CLASSES, IMAGES, Network, differences
from test_traps import classifier, features, gradients, number, pooled, rewritten


def opset(model, version):
    model.opset_import[0].version = version
    model.ir_version = 3 if version < 9 else 8 if version < 20 else 10
    if version < 9:
        model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer)
    return model


def check(net, model, folder, *options, known=()):
    """Every constant has the gradient of the file, or is named, and then it is one of `known`."""
    bundle, said = rewritten(model, folder, "--batch-norm", "frozen", *options)
    assert bundle, said
    found, images, target = gradients(net, bundle)
    named = {c["name"] for c in json.loads(spgraph("inspect", folder / "model.onnx", "--json"))["constants"]}
    for name, tensor in net.tensors.items():
        if tensor.dtype.kind != "f":
            continue
        expected = differences(model, name, tensor, images, target)
        if name in found:
            error = np.linalg.norm(found[name] - expected)
            assert error < 1e-6 * np.linalg.norm(expected) + 1e-8, f"{name}: {found[name]} for {expected}\n{said}"
        elif np.linalg.norm(expected) > 1e-8:
            assert name in named or name.startswith(("running", "ratio")), f"{name} moves the loss by {expected}\n{said}"
            assert name.startswith(("/", "running", *known)), f"{name} is not trained\n{said}"
    return said


def dropped(net, how):
    """Features behind a Dropout that does nothing in inference."""
    y, out = pooled(net, features(net)), net.name("dropped")
    inputs, outputs, attributes = [y], [out], {}
    if how.startswith("attribute"):
        attributes["ratio"] = 0.3
    else:
        inputs.append("" if "half" in how else net.constant(np.array(0.3), "ratio"))
    if "mask" in how:
        outputs.append(net.name("mask"))
    if "off" in how:
        inputs.append(net.constant(np.array(False), "mode"))
    if "branch" in how:
        taken = lambda value, name: helper.make_graph(
            [helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value)))], name, [], [helper.make_tensor_value_info(name, TensorProto.BOOL, [])]
        )
        net.nodes.append(helper.make_node("If", [net.constant(np.array(False), "on")], ["mode"], name="/if", then_branch=taken(True, "yes"), else_branch=taken(False, "no")))
        inputs.append("mode")
    net.nodes.append(helper.make_node("Dropout", inputs, outputs, name="/drop", **attributes))
    return out


@pytest.mark.parametrize(
    "how, version",
    [("attribute", 7), ("attribute, mask", 7), ("attribute", 10), ("attribute, mask", 11), ("number", 12), ("number, off", 13), ("number, mask, off", 13), ("number, branch", 13), ("number, off", 22)],
)
def test_dropouts_of_every_opset(how, version, tmp_path):
    net = Network(0)
    y = dropped(net, how)
    check(net, opset(net.model(classifier(net, y)), version), tmp_path)


def test_a_mask_of_a_dropout_that_is_read_is_refused_as_such(tmp_path):
    net = Network(0)
    y = dropped(net, "number, mask")
    y = net.node("Mul", y, net.node("Cast", net.nodes[-1].output[1], to=11))
    bundle, said = rewritten(net.model(classifier(net, y)), tmp_path)
    assert bundle is None and "is a further result of Dropout (node `/drop`), which it has in training only; export the network in evaluation mode" in said, said


def scores(net):
    return classifier(net, pooled(net, features(net)))


TEMPERATURES = {
    "divided": lambda net, z: net.node("Div", z, net.constant(np.array(1.7), "temperature")),
    "divided by a list": lambda net, z: net.node("Div", z, net.constant(np.array([1.7]), "temperature")),
    "divided by a number": lambda net, z: net.node("Div", z, number(net, 1.7)),
    "exponential": lambda net, z: net.node("Mul", z, net.node("Exp", net.constant(np.array(0.4), "logit_scale"))),
    "exponential, bound": lambda net, z: net.node("Mul", z, net.node("Min", net.node("Exp", net.constant(np.array(0.4), "logit_scale")), net.constant(np.array(100.0), "/max"))),
    "softplus": lambda net, z: net.node("Div", z, net.node("Add", net.node("Softplus", net.constant(np.array([0.2]), "temperature")), number(net, 0.5))),
    "of each class": lambda net, z: net.node("Mul", z, net.constant(1 + net.draw(CLASSES), "scale")),
    "a prior": lambda net, z: net.node("Add", z, net.node("Log", net.constant(np.linspace(0.1, 0.4, CLASSES), "prior"))),
}


@pytest.mark.parametrize("kind", TEMPERATURES)
def test_temperatures(kind, tmp_path):
    net = Network(1)
    check(net, net.model(TEMPERATURES[kind](net, scores(net))), tmp_path)


def unit(net, y, axis, how):
    """`y` over its norm."""
    if how == "operator":
        return net.node("LpNormalization", y, axis=axis, p=2)
    if how == "power":
        return net.node("Mul", y, net.node("Pow", net.node("ReduceSumSquare", y, axes=[axis], keepdims=1), number(net, -0.5)))
    norm = net.node("ReduceL2", y, axes=[axis], keepdims=1)
    if how == "bound":
        norm = net.node("Expand", net.node("Clip", norm, net.constant(np.array(1e-12), "/eps")), net.node("Shape", y))
    return net.node("Div", y, norm)


@pytest.mark.parametrize("scale", ["none", "named", "number", "margin"])
@pytest.mark.parametrize("how", ["operator", "power", "bound", "norm"])
def test_cosines(how, scale, tmp_path):
    net = Network(2)
    rows = unit(net, net.constant(net.draw(CLASSES, 3), "prototypes"), 1, how)
    z = net.node("MatMul", unit(net, pooled(net, features(net)), 1, how), net.node("Transpose", rows, perm=[1, 0]))
    if scale == "named":
        z = net.node("Mul", z, net.constant(np.array(16.0), "scale"))
    elif scale == "number":
        z = net.node("Mul", z, number(net, 16))
    elif scale == "margin":
        # As ArcFace shifts the angle.
        z = net.node("Mul", net.node("Cos", net.node("Add", net.node("Acos", net.node("Mul", z, number(net, 0.9))), number(net, 0.2))), number(net, 16))
    check(net, net.model(z), tmp_path)


@pytest.mark.parametrize("how", ["operator", "power", "norm"])
def test_weight_normalization(how, tmp_path):
    net = Network(3)
    w = net.node("Mul", net.constant(1 + net.draw(CLASSES, 1), "fc.weight_g"), unit(net, net.constant(net.draw(CLASSES, 3), "fc.weight_v"), 1, how))
    check(net, net.model(net.node("Gemm", pooled(net, features(net)), w, net.constant(net.draw(CLASSES), "fc.bias"), transB=1)), tmp_path)


def test_nodes_of_one_name_are_told_apart(tmp_path):
    """ONNX asks for other names, and its checker and runtimes do not."""
    net = Network(34)
    model = net.model(scores(net))
    for node in model.graph.node:
        node.name = "layer"
    check(net, model, tmp_path)
    spgraph("export", tmp_path / "bundle", "-o", tmp_path / "tuned.onnx")
    names = [node.name for node in onnx.load(tmp_path / "tuned.onnx").graph.node]
    assert names[0] == "layer" and len(set(names)) == len(names), names


@pytest.mark.parametrize("begin, end", [(1, 1), (2, 0), (0, 3), (6, 6)])
def test_padding_from_the_other_end(begin, end, tmp_path):
    net = Network(35)
    pads = net.ints(0, 0, begin, end, 0, 0, end, begin)
    y = net.node("Pad", features(net), pads, mode="wrap")
    y = net.node("Tanh", net.node("Conv", y, net.weight(3, 3, 3, 3, links=0)))
    check(net, opset(net.model(classifier(net, pooled(net, y))), 19), tmp_path)


OF_SIZES = {
    "a mean by a product": (lambda net, y: net.node("Mul", net.node("ReduceSum", y, net.ints(2, 3), keepdims=0), number(net, 1 / 36)), "makes a mean of the 36 numbers"),
    "a mean by a quotient": (lambda net, y: net.node("Div", net.node("Flatten", net.node("ReduceSum", y, net.ints(2, 3))), number(net, 36)), "makes a mean of the 36 numbers"),
    "a slice": (lambda net, y: pooled(net, net.node("Slice", y, net.ints(0, 0), net.ints(6, 6), net.ints(2, 3))), "and a part of it at this one"),
    "a mean": (lambda net, y: net.node("ReduceMean", y, axes=[2, 3], keepdims=0), None),
    "a scale": (lambda net, y: net.node("Mul", pooled(net, y), number(net, 0.5)), None),
    "a part": (lambda net, y: pooled(net, net.node("Slice", y, net.ints(0), net.ints(2), net.ints(1))), None),
}


@pytest.mark.parametrize("kind", OF_SIZES)
def test_numbers_that_stand_for_the_declared_size(kind, tmp_path):
    net, (make, refusal) = Network(36), OF_SIZES[kind]
    model = net.model(classifier(net, make(net, features(net)), 2 if kind == "a part" else 3))
    for size in (6, 12):
        bundle, said = rewritten(model, tmp_path, "--input-shape", f"2x{size}x{size}", "--force")
        assert bool(bundle) == (size == 6 or refusal is None), said
    if refusal:
        assert refusal in said and "which declares 2x6x6" in said, said


NOT_NEGATIVE = {
    "bound": lambda net, y: net.node("Clip", y, number(net, 1e-6)),
    "rectified": lambda net, y: net.node("Relu", y),
    "a distance": lambda net, y: net.node("Abs", y),
    "a square": lambda net, y: net.node("Mul", y, y),
    "an even power": lambda net, y: net.node("Pow", y, number(net, 4)),
    "a root": lambda net, y: net.node("Sqrt", net.node("Add", net.node("Mul", y, y), number(net, 0.1))),
    "positive": lambda net, y: net.node("Div", net.node("Exp", y), number(net, 2)),
    "a mean": lambda net, y: net.node("AveragePool", net.node("Relu", y), kernel_shape=[3, 3]),
}
MAYBE_NEGATIVE = {
    "features": lambda net, y: y,
    "centred": lambda net, y: net.node("Sub", y, net.node("ReduceMean", y, axes=[1], keepdims=1)),
    "times a gain": lambda net, y: net.node("Mul", net.node("Relu", y), net.constant(np.full((3, 1, 1), 0.5), "gain")),
}


@pytest.mark.parametrize("base", NOT_NEGATIVE)
def test_a_learnt_exponent(base, tmp_path):
    """As generalized-mean pooling has it, whose second exponent is made of the first."""
    net = Network(31)
    p = net.constant(np.array([2.5]), "pool.p")
    y = net.node("GlobalAveragePool", net.node("Pow", NOT_NEGATIVE[base](net, features(net)), p))
    y = net.node("Flatten", net.node("Pow", y, net.node("Div", number(net, 1), p)))
    check(net, net.model(classifier(net, y)), tmp_path)


@pytest.mark.parametrize("name", ["exponent", "pow_y", "Constant_12", "Constant339", "Const__9", "const_fold_opt__45", "p2o.pd_op.full.0", "tmp_0", "model/ln/pow/y:0"])
@pytest.mark.parametrize("base", MAYBE_NEGATIVE)
def test_an_exponent_of_what_may_be_negative_is_no_parameter(base, name, tmp_path):
    net = Network(32)
    net.tensors[name] = np.array(2.0)
    model = net.model(classifier(net, pooled(net, net.node("Pow", MAYBE_NEGATIVE[base](net, features(net)), name))))
    check(net, model, tmp_path, known=[name])
    if name == "exponent":
        (tmp_path / "asked").mkdir()
        bundle, said = rewritten(model, tmp_path / "asked", "--train", name)
        assert bundle is None and name in said, said
    told = {c["name"]: c["why"] for c in json.loads(spgraph("inspect", tmp_path / "model.onnx", "--json"))["constants"]}
    assert "logarithm" in told[name], told


@pytest.mark.parametrize("kernel, strides", [([1, 1], [1, 1]), ([1, 1], [2, 2]), ([1, 2], [1, 2])])
def test_steps_of_small_windows_are_loaded(kernel, strides, tmp_path):
    """Where a window is one pixel its gradient is the cotangent itself, which no function may hand on."""
    net = Network(33, np.float32)
    y = net.node("MaxPool", features(net), kernel_shape=kernel, strides=strides)
    bundle, said = rewritten(net.model(classifier(net, pooled(net, y))), tmp_path)
    assert bundle, said
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, IMAGES[0])
    assert bundle.graph("step")(bundle.feeds(bundle.start(), images, target))


@pytest.mark.parametrize("layer", ["convolution", "classifier"])
def test_the_directions_of_a_spectral_norm_are_no_parameters(layer, tmp_path):
    net = Network(4)
    shape = (3, 3, 3, 3) if layer == "convolution" else (CLASSES, 3)
    w = net.constant(net.draw(*shape), "weight_orig")
    u, v = net.constant(net.draw(shape[0]), "directions.u"), net.constant(net.draw(int(np.prod(shape[1:]))), "directions.v")
    rows = net.node("Reshape", w, net.ints(shape[0], -1)) if layer == "convolution" else w
    w = net.node("Div", w, net.node("MatMul", u, net.node("MatMul", rows, v)))
    if layer == "convolution":
        y = classifier(net, pooled(net, net.node("Tanh", net.node("Conv", features(net), w, pads=[1, 1, 1, 1]))))
    else:
        y = net.node("Gemm", pooled(net, features(net)), w, transB=1)
    model = net.model(y)
    said = check(net, model, tmp_path, known=["directions"])
    assert "directions" in said, said
    (tmp_path / "asked").mkdir()
    bundle, said = rewritten(model, tmp_path / "asked", "--train", "directions*")
    assert bundle, said
    found, images, target = gradients(net, bundle)
    for name in (u, v):
        expected = differences(model, name, net.tensors[name], images, target)
        assert np.linalg.norm(found[name] - expected) < 1e-6 * np.linalg.norm(expected), name


def test_what_makes_a_number_that_multiplies_is_trained(tmp_path):
    """A gate from an embedding, and a kernel's scale of low rank."""
    net = Network(5)
    gate = net.node("Sigmoid", net.node("MatMul", net.constant(net.draw(1, 8), "embedding"), net.constant(net.draw(8, 1), "to_gate")))
    scale = net.node("MatMul", net.constant(net.draw(1, 4), "left"), net.constant(net.draw(4, 1), "right"))
    w = net.node("Mul", net.constant(net.draw(CLASSES, 3), "kernel"), scale)
    y = net.node("Mul", net.node("Gemm", pooled(net, features(net)), w, transB=1), gate)
    check(net, net.model(y), tmp_path)


@pytest.mark.parametrize("stored", [np.int8, np.uint8, np.int32])
@pytest.mark.parametrize("scale", ["one", "of each class", "none"])
def test_weights_of_whole_numbers_are_named_and_their_scales_trained(stored, scale, tmp_path):
    net = Network(5)
    net.tensors["whole"] = net.rng.integers(0, 9, (3, CLASSES)).astype(stored)
    w = net.node("Sub", net.node("Cast", "whole", to=11), number(net, 4))
    if scale != "none":
        w = net.node("Mul", w, net.constant(np.array(0.1) if scale == "one" else np.linspace(0.05, 0.2, CLASSES), "scale"))
    said = check(net, net.model(net.node("Gemm", pooled(net, features(net)), w, net.constant(net.draw(CLASSES)))), tmp_path)
    assert "trained     " in said
    constants = json.loads(spgraph("inspect", tmp_path / "model.onnx", "--json"))["constants"]
    assert any(c["shape"] == [3, CLASSES] and "whole numbers" in c["why"] for c in constants), constants


def mirrored(net):
    return net.node("Slice", "x", net.ints(-1), net.ints(-7), net.ints(3), net.ints(-1))


def mean_of_views(net, how):
    """The scores of an image and of its mirror image, both in one batch."""
    both = net.node("Concat", "x", mirrored(net), axis=0)
    y = net.node("Tanh", net.node("Conv", both, net.weight(3, 2, 3, 3, links=0), net.weight(3, links=0), pads=[1, 1, 1, 1]))
    z = classifier(net, pooled(net, y))
    if how == "split":
        halves = net.name("half"), net.name("half")
        net.nodes.append(helper.make_node("Split", [z], list(halves), axis=0, name="/split"))
        return net.node("Mean", *halves)
    apart = net.node("Reshape", z, net.ints(2, -1 if how == "open" else 1, CLASSES))
    return net.node("ReduceMean", apart, axes=[0], keepdims=0)


@pytest.mark.parametrize("how, batch", [("split", "N"), ("split", 1), ("open", "N"), ("open", 1), ("written", 1)])
def test_several_views_of_an_image_in_one_batch(how, batch, tmp_path):
    net = Network(6)
    z = mean_of_views(net, how)
    model = net.model(z)
    given, free = [model.graph.input[0], model.graph.output[0]], onnx.ModelProto()
    free.CopyFrom(model)
    for port in given:
        if batch == 1:
            port.type.tensor_type.shape.dim[0].dim_value = 1
    if how == "written":
        # Beside the network for any number of images.
        bundle, said = rewritten(model, tmp_path)
        assert bundle, said
        found, images, target = gradients(net, bundle)
        sizes = next(n for n, t in net.tensors.items() if t.dtype == np.int64 and list(t) == [2, 1, CLASSES])
        for t in free.graph.initializer:
            if t.name == sizes:
                t.CopyFrom(numpy_helper.from_array(np.array([2, -1, CLASSES]), sizes))
        for name in found:
            expected = differences(free, name, net.tensors[name], images, target)
            assert np.linalg.norm(found[name] - expected) < 1e-6 * np.linalg.norm(expected) + 1e-8, name
        return
    check(net, model, tmp_path)


def test_a_batch_that_is_cut_by_written_numbers_is_refused_as_such(tmp_path):
    net = Network(6)
    both = net.node("Concat", "x", mirrored(net), axis=0)
    z = classifier(net, pooled(net, net.node("Conv", both, net.weight(3, 2, 3, 3, links=0))))
    parts = [net.node("Slice", z, net.ints(at), net.ints(at + 1), net.ints(0)) for at in (0, 1)]
    model = net.model(net.node("Mean", *parts))
    for port in (model.graph.input[0], model.graph.output[0]):
        port.type.tensor_type.shape.dim[0].dim_value = 1
    bundle, said = rewritten(model, tmp_path)
    assert bundle is None and "is written into the model" in said and "dynamic batch dimension" in said, said


HIDDEN = {
    "smoothed": lambda net, z: net.node("Add", net.node("Mul", net.node("Softmax", z, axis=1), number(net, 0.9)), number(net, 0.025)),
    "mean of two": lambda net, z: net.node("Mean", net.node("Softmax", z, axis=1), net.node("Softmax", scores(net), axis=1)),
    "two groups": lambda net, z: net.node(
        "Concat", *[net.node("Softmax", net.node("Slice", z, net.ints(at), net.ints(at + 2), net.ints(1)), axis=1) for at in (0, 2)], axis=1
    ),
    "of two classes": lambda net, z: (lambda s: net.node("Concat", net.node("Sub", number(net, 1), s), s, axis=1))(
        net.node("Sigmoid", net.node("Gemm", z, net.weight(CLASSES, 1, links=0)))
    ),
    "weighed by a prior": lambda net, z: net.node("Mul", net.node("Softmax", z, axis=1), net.constant(np.linspace(0.1, 0.4, CLASSES), "prior")),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_what_hides_its_logits_is_refused(kind, tmp_path):
    net = Network(7)
    bundle, said = rewritten(net.model(HIDDEN[kind](net, scores(net))), tmp_path)
    assert bundle is None and "hides the logits" in said and "Export the network up to its logits" in said, said


@pytest.mark.parametrize("low", [-1e9, -1e4, -100.0])
def test_a_mask_on_classes_is_no_bias(low, tmp_path):
    net = Network(8)
    z = net.node("Add", net.node("MatMul", pooled(net, features(net)), net.weight(3, CLASSES, links=0)), net.constant(np.array([0.0] * (CLASSES - 1) + [low]), "shut"))
    bundle, said = rewritten(net.model(z), tmp_path)
    assert bundle, said
    assert not [s for s in bundle.state if s["name"].startswith("shut")]
    constants = json.loads(spgraph("inspect", tmp_path / "model.onnx", "--json"))["constants"]
    assert [c for c in constants if c["name"].startswith("shut") and c["why"] == "a mask"], constants


def known_branch(net, z, holds):
    """As PyTorch's older exporter writes a squeeze of an axis of a network for any batch."""
    long = net.node("Unsqueeze", z, net.ints(2))
    size = net.node("Gather", net.node("Shape", long), net.constant(np.array(2), "axis"), axis=0)
    condition = net.node("Equal", size, net.constant(np.array(1 if holds else 2), "one"))
    axes = helper.make_node("Constant", [], ["inner axes"], value=numpy_helper.from_array(np.array([2])))
    branch = lambda name, *nodes: helper.make_graph(list(nodes), name, [], [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.DOUBLE, None)])
    shorter, same = helper.make_node("Squeeze", [long, "inner axes"], ["shorter"]), helper.make_node("Identity", [long], ["same"])
    net.nodes.append(helper.make_node("If", [condition], ["chosen"], name="/if", then_branch=branch("yes", axes, shorter), else_branch=branch("no", same)))
    return "chosen"


@pytest.mark.parametrize("holds", [True, False])
def test_a_branch_that_is_known_beforehand_is_taken(holds, tmp_path):
    net = Network(9)
    y = known_branch(net, net.node("Tanh", scores(net)), holds)
    z = classifier(net, net.node("Flatten", y), CLASSES)
    check(net, net.model(z), tmp_path)
    done = spgraph("export", tmp_path / "bundle", "-o", tmp_path / "tuned.onnx")
    assert "If" in {n.op_type for n in onnx.load(tmp_path / "tuned.onnx").graph.node}, done


def named_branch(net, z, name):
    """What a branch that is taken calls `name`, between what comes before it and what comes after it in the graph around it."""
    before, after, one = net.node("Tanh", z), "after", number(net, 0.5)
    inner = [helper.make_node("Mul", [before, one], ["inside"]), helper.make_node("Sigmoid", ["inside"], [name or before])]
    output = lambda of: [helper.make_tensor_value_info(of, TensorProto.DOUBLE, None)]
    taken = helper.make_graph(inner, "yes", [], output(name or before))
    other = helper.make_graph([helper.make_node("Identity", [before], ["same"])], "no", [], output("same"))
    condition = net.constant(np.array(True), "on")
    net.nodes.append(helper.make_node("If", [condition], ["chosen"], name="/if", then_branch=taken, else_branch=other))
    net.nodes.append(helper.make_node("Mul", ["chosen", one], [after], name="/after"))
    # Another branch, which calls something as the first one does.
    again = helper.make_graph([helper.make_node("Neg", [after], ["inside"])], "again", [], output("inside"))
    net.nodes.append(helper.make_node("If", [condition], ["second"], name="/second", then_branch=again, else_branch=other))
    return net.node("Add", net.node("Sub", "second", after), before)


@pytest.mark.parametrize("name", ["own", "chosen", "after", "y"])
def test_a_branch_has_names_of_its_own(name, tmp_path):
    """ONNX lets a branch use a name that is given later around it; then it means two things."""
    net = Network(9)
    model = net.model(classifier(net, named_branch(net, scores(net), name), CLASSES))
    if name == "y":
        # The output's own.
        model.graph.node[-1].output[0] = model.graph.output[0].name = "y"
    onnx.checker.check_model(model)
    check(net, model, tmp_path)
    assert [o.name for o in onnx.load(tmp_path / "bundle" / "eval.onnx").graph.output] == [model.graph.output[0].name]


def test_a_branch_that_gives_a_name_again_is_refused(tmp_path):
    net = Network(9)
    model = net.model(classifier(net, named_branch(net, scores(net), None), CLASSES))
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)
    bundle, said = rewritten(model, tmp_path)
    assert bundle is None and "If (node `/if`)" in said and "a second time: the model is not valid, export it again" in said, said


def test_a_branch_that_the_images_decide_is_refused(tmp_path):
    net = Network(9)
    z = scores(net)
    condition = net.node("Greater", net.node("ReduceSum", z, keepdims=0), number(net, 0))
    branch = lambda op: helper.make_graph([helper.make_node(op, [z], [op])], op, [], [helper.make_tensor_value_info(op, TensorProto.DOUBLE, None)])
    net.nodes.append(helper.make_node("If", [condition], ["chosen"], name="/if", then_branch=branch("Neg"), else_branch=branch("Tanh")))
    bundle, said = rewritten(net.model(classifier(net, "chosen", CLASSES)), tmp_path)
    assert bundle is None and "If (node `/if`)" in said and "without control flow" in said, said


def test_sparse_weights_are_refused_as_such(tmp_path):
    values, at = numpy_helper.from_array(np.array([0.5, -0.3]), "sparse"), numpy_helper.from_array(np.array([1, 6]), "places")
    sparse = helper.make_sparse_tensor(values, at, [3, CLASSES])
    net = Network(10)
    y = pooled(net, features(net))
    net.nodes.append(helper.make_node("Constant", [], ["w"], sparse_value=sparse, name="/w"))
    bundle, said = rewritten(net.model(net.node("MatMul", y, "w")), tmp_path)
    assert bundle is None and "sparse" in said and "dense weights" in said, said
    net = Network(10)
    model = net.model(net.node("MatMul", pooled(net, features(net)), "sparse"))
    model.graph.sparse_initializer.append(sparse)
    bundle, said = rewritten(model, tmp_path)
    assert bundle is None and "sparse initializers are not supported: export the network with dense weights" in said, said
