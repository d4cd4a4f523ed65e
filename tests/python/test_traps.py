"""Members of the kinds of network that could be misread: right, beside central differences of the network itself, or refused with a reason."""
import json
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, Bundle, relative_error, spgraph
from onnx import helper, numpy_helper
from test_constants import CLASSES, IMAGES, Network, differences, loss

BATCH = IMAGES[0]


def features(net, channels=3):
    y = net.node("Conv", "x", net.weight(channels, 2, 3, 3, links=0), net.weight(channels, links=0), pads=[1, 1, 1, 1])
    return net.node("Tanh", y)


def pooled(net, y):
    return net.node("Flatten", net.node("GlobalAveragePool", y))


def classifier(net, y, channels=3):
    return net.node("Gemm", y, net.weight(channels, CLASSES, links=0), net.weight(CLASSES, links=0))


def number(net, value):
    return net.constant(np.array(float(value)), "/Constant_output")


def built(net, output, batch="N"):
    model = net.model(output)
    for port in (model.graph.input[0], model.graph.output[0]):
        if batch != "N":
            port.type.tensor_type.shape.dim[0].dim_value = batch
    return model


def rewritten(model, folder, *options):
    """The bundle, or what the refusal says."""
    onnx.save(model, folder / "model.onnx")
    command = [BINARY, "rewrite", folder / "model.onnx", "-o", folder / "bundle", "--batch", BATCH, "--penalty", "none", "--head", "keep", "--split", *options]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode in (0, 1, 2) and "panicked" not in done.stderr, done.stderr
    return (Bundle(folder / "bundle"), done.stdout) if done.returncode == 0 else (None, done.stderr)


def gradients(net, bundle):
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, BATCH)
    return bundle.gradients(bundle.graph("grad")(bundle.feeds(bundle.start(), images, target))), images, target


MIXES = {
    "a mean over the batch": lambda net, y: net.node("Sub", y, net.node("ReduceMean", y, axes=[0])),
    "a mean over everything": lambda net, y: net.node("Sub", y, net.node("ReduceMean", y)),
    "a softmax over the batch": lambda net, y: net.node("Softmax", y, axis=0),
    "a norm over the batch": lambda net, y: net.node("LpNormalization", y, axis=0),
    "sums along the batch": lambda net, y: net.node("CumSum", y, net.constant(np.array(0), "axis")),
    "the largest of the batch": lambda net, y: net.node("Sub", y, net.node("ReduceMax", y, axes=[0])),
}


@pytest.mark.parametrize("batch", ["N", 1, 2])
@pytest.mark.parametrize("kind", MIXES)
def test_a_network_that_mixes_images_is_refused(kind, batch, tmp_path):
    net = Network(0)
    bundle, said = rewritten(built(net, classifier(net, pooled(net, MIXES[kind](net, features(net)))), batch), tmp_path)
    assert bundle is None and "mixes" in said and "images" in said, said


APART = {
    "turned and back": lambda net, y: net.node("Transpose", net.node("Softmax", net.node("Transpose", y, perm=[2, 3, 0, 1]), axis=-1), perm=[2, 3, 0, 1]),
    "a mean over channels": lambda net, y: net.node("Sub", y, net.node("ReduceMean", y, axes=[1])),
    "groups": lambda net, y: net.node("Reshape", net.node("Softmax", net.node("Reshape", y, net.ints(0, 1, -1)), axis=2), net.ints(0, 3, 6, 6)),
}


@pytest.mark.parametrize("batch", ["N", 1])
@pytest.mark.parametrize("kind", APART)
def test_a_network_that_keeps_images_apart_is_not(kind, batch, tmp_path):
    net = Network(1)
    model = built(net, classifier(net, pooled(net, APART[kind](net, features(net)))), batch)
    bundle, said = rewritten(model, tmp_path)
    assert bundle, said


def test_one_image_in_float64_is_checked(tmp_path):
    # ONNX Runtime has no convolution of float64.
    net = Network(2)
    bundle, said = rewritten(built(net, classifier(net, net.node("Reshape", net.node("GlobalAveragePool", features(net)), net.ints(1, 3))), 1), tmp_path)
    assert bundle, said


def reciprocal(net, z):
    return net.node("Reciprocal", net.node("Add", net.node("Exp", net.node("Neg", z)), number(net, 1)))


def quotient(net, z):
    e = net.node("Exp", net.node("Mul", number(net, -1), z))
    return net.node("Div", number(net, 1), net.node("Add", number(net, 1), e))


def odds(net, z):
    e = net.node("Exp", z)
    return net.node("Div", e, net.node("Add", number(net, 1), e))


def exponential(net, z):
    return net.node("Exp", net.node("LogSoftmax", z, axis=1))


def less_log_sum(net, z):
    return net.node("Exp", net.node("Sub", z, net.node("ReduceLogSumExp", z, axes=[1], keepdims=1)))


def times_inverse(net, z):
    e = net.node("Exp", z)
    return net.node("Mul", net.node("Reciprocal", net.node("ReduceSum", e, net.ints(1))), e)


@pytest.mark.parametrize("spelt, plain", [(reciprocal, "Sigmoid"), (quotient, "Sigmoid"), (odds, "Sigmoid"), (exponential, "Softmax"), (less_log_sum, "Softmax"), (times_inverse, "Softmax")])
def test_an_activation_that_is_spelt_out_has_its_own_loss(spelt, plain, tmp_path):
    found = []
    for k, close in enumerate((spelt, lambda net, z: net.node(plain, z))):
        net = Network(3)
        model = built(net, close(net, classifier(net, pooled(net, features(net)))))
        (tmp_path / str(k)).mkdir()
        bundle, said = rewritten(model, tmp_path / str(k))
        assert bundle, said
        found.append((said[said.index("loss") :].splitlines()[0], gradients(net, bundle)[0]))
    assert found[0][0] == found[1][0]
    for name, expected in found[1][1].items():
        assert relative_error(found[0][1][name], expected) < 1e-9, name


def tanh_sigmoid(net, z):
    half = number(net, 0.5)
    return net.node("Mul", half, net.node("Add", number(net, 1), net.node("Tanh", net.node("Mul", z, half))))


def shares(net, z):
    positive = net.node("Add", net.node("Softplus", z), number(net, 1))
    return net.node("Div", positive, net.node("ReduceSum", positive, net.ints(1)))


def powers(net, z):
    power = net.node("Pow", number(net, 2), z)
    return net.node("Div", power, net.node("ReduceSum", power, net.ints(1)))


def cut(net, z):
    return net.node("Clip", z, number(net, 0), number(net, 1))


@pytest.mark.parametrize("close", [tanh_sigmoid, shares, powers, cut])
def test_probabilities_of_another_form_are_no_logits(close, tmp_path):
    net = Network(4)
    bundle, said = rewritten(built(net, close(net, classifier(net, pooled(net, features(net))))), tmp_path)
    assert bundle is None and "Export the network up to its logits" in said, said


@pytest.mark.parametrize("start", ["as trained", "zero"])
def test_a_layer_that_is_used_twice_is_trained_as_one(start, tmp_path):
    net = Network(5)
    kernel, bias = net.weight(3, 3, 3, 3, links=0), net.constant(net.draw(3) if start == "as trained" else np.zeros(3), "bias")
    y = features(net)
    for _ in range(2):
        y = net.node("Tanh", net.node("Conv", y, kernel, bias, pads=[1, 1, 1, 1]))
    model = built(net, classifier(net, pooled(net, y)))
    bundle, said = rewritten(model, tmp_path)
    found, images, target = gradients(net, bundle)
    for name in (kernel, bias):
        assert relative_error(found[name], differences(model, name, net.tensors[name], images, target)) < 1e-6, f"{name}\n{said}"


SETTINGS = {
    "a learnt bound": (lambda net, y: net.node("Clip", y, number(net, 0), net.constant(np.array(0.4), "act.alpha")), ["act.alpha"]),
    "both": (lambda net, y: net.node("Clip", y, net.constant(np.array(-0.2), "act.low"), net.constant(np.array(0.4), "act.high")), ["act.low", "act.high"]),
    "places": (
        lambda net, y: net.node("Add", y, net.node("Unsqueeze", net.node("Range", *(net.constant(np.array(v), n) for n, v in (("from", 0.1), ("to", 0.65), ("by", 0.1)))), net.ints(0, 1, 2))),
        ["from", "by"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SETTINGS)
def test_numbers_that_operators_work_by_are_named(kind, tmp_path):
    net, (through, names) = Network(11), SETTINGS[kind]
    bundle, said = rewritten(built(net, classifier(net, pooled(net, through(net, features(net))))), tmp_path)
    assert bundle, said
    constants = {c["name"].rsplit(".", 1)[0]: c for c in json.loads(spgraph("inspect", tmp_path / "model.onnx", "--json"))["constants"]}
    for name in names:
        assert name in constants and "bound" in json.dumps(constants[name]), constants
        assert name in said, said


def generated(net, value, dtype=np.float64):
    """A number under a name that an exporter makes."""
    return net.constant(np.array(value, dtype), net.rng.choice(["/Constant_output", "onnx::Clip", "scalar_tensor_default", "val_7"]))


def resized(net, y):
    scales = np.array([1, 1, 1.5, 2], np.float32)
    net.tensors["onnx::Resize_9"] = scales
    return net.node("Resize", y, "", "onnx::Resize_9", mode="linear")


OF_EXPORTERS = {
    "bounds": lambda net, y: net.node("Clip", y, generated(net, -0.2), generated(net, 0.4)),
    "converted bounds": lambda net, y: net.node("Clip", y, net.node("Cast", generated(net, -0.2, np.float32), to=11), net.node("Cast", generated(net, 0.4, np.float32), to=11)),
    "bounds of shape 1": lambda net, y: net.node("Clip", y, net.node("Squeeze", generated(net, [-0.2])), net.node("Reshape", generated(net, [0.4]), net.constant(np.array([], np.int64), "shape"))),
    "places": lambda net, y: net.node("Add", y, net.node("Unsqueeze", net.node("Range", generated(net, 0.1), generated(net, 0.65), generated(net, 0.1)), net.ints(0, 1, 2))),
    "converted places": lambda net, y: net.node("Add", y, net.node("Cast", net.node("Range", *(generated(net, v, np.float32) for v in (0.1, 0.65, 0.1))), to=11)),
    "a converted factor": lambda net, y: net.node("Mul", y, net.node("Cast", generated(net, 0.7, np.float32), to=11)),
    "a factor of two": lambda net, y: net.node("Mul", y, net.node("Mul", generated(net, 0.7), generated(net, 1.1))),
    "scales": resized,
    "padding": lambda net, y: net.node("Pad", y, net.ints(0, 0, 1, 0, 0, 0, 0, 1), generated(net, 0.3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", OF_EXPORTERS)
def test_so_are_those_that_exporters_have_named(kind, tmp_path):
    """Whatever the logits depend on smoothly is trained or listed, by the name that the file has for it."""
    net = Network(12)
    y = OF_EXPORTERS[kind](net, features(net))
    model = built(net, classifier(net, pooled(net, y)))
    bundle, said = rewritten(model, tmp_path)
    assert bundle or "its bounds are computed while the model runs" in said, said
    if bundle is None:
        return
    listed = {c["name"] for c in json.loads(spgraph("inspect", tmp_path / "model.onnx", "--json"))["constants"]}
    listed |= {s["name"] for s in bundle.state}
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, BATCH)
    for name, tensor in net.tensors.items():
        if tensor.dtype.kind == "f" and name not in listed:
            slope = differences(model, name, tensor, images, target)
            assert abs(slope).max() < 1e-6, f"{name} is neither trained nor listed, and moves the loss by {slope}"


STEPS = {
    "rounded": lambda net: net.node("Mul", net.node("Round", net.node("Mul", net.constant(net.draw(3, CLASSES), "levels"), number(net, 8))), number(net, 0.125)),
    "signs": lambda net: net.node("Mul", net.node("Sign", net.constant(net.draw(3, CLASSES), "levels")), number(net, 0.5)),
    "whole": lambda net: net.node("Cast", net.node("Cast", net.node("Mul", net.constant(net.draw(3, CLASSES), "levels"), number(net, 9)), to=6), to=11),
    "stored as bytes": lambda net: net.node("Mul", net.node("Cast", net.constant(net.rng.integers(-9, 9, (3, CLASSES)).astype(np.int8), "levels"), to=11), number(net, 0.1)),
}


@pytest.mark.parametrize("kind", STEPS)
def test_weights_without_a_gradient_are_named(kind, tmp_path):
    net = Network(6)
    model = built(net, net.node("MatMul", pooled(net, features(net)), STEPS[kind](net)))
    bundle, said = rewritten(model, tmp_path)
    assert bundle, said
    constants = json.loads(spgraph("inspect", tmp_path / "model.onnx", "--json"))["constants"]
    assert any(c["shape"] == [3, CLASSES] for c in constants), constants


def test_a_number_that_stands_for_no_bias_is_not_trained(tmp_path):
    # As PyTorch's exporter writes bias=False before its optimiser.
    net = Network(9)
    nothing = net.node("Expand", number(net, 0), net.ints(3))
    y = net.node("Tanh", net.node("Conv", features(net), net.weight(3, 3, 3, 3, links=0), nothing, pads=[1, 1, 1, 1]))
    bundle, said = rewritten(built(net, classifier(net, pooled(net, y))), tmp_path)
    assert bundle, said
    assert not [s["name"] for s in bundle.state if s["shape"] == []]


def test_a_layer_of_another_type_is_trained_in_it(tmp_path):
    net = Network(7, np.float32)
    y = pooled(net, features(net))
    net.tensors["wide"] = net.draw(3, CLASSES)
    z = net.node("Cast", net.node("MatMul", net.node("Cast", y, to=11), "wide"), to=1)
    model = built(net, z)
    bundle, said = rewritten(model, tmp_path, "--clip-norm", "1")
    assert bundle, said
    assert [s["dtype"] for s in bundle.state if s["name"] == "wide"] == ["float64"]
    found, images, target = gradients(net, bundle)
    # Along the gradient, with a step that float32 can tell.
    wide, step = net.tensors["wide"], 0.02 * found["wide"] / np.linalg.norm(found["wide"])
    sides = [loss(model, {"wide": wide + sign * step}, images.astype(np.float32), target) for sign in (1, -1)]
    assert abs((sides[0] - sides[1]) / (2 * np.sum(step * found["wide"])) - 1) < 1e-3
    step = bundle.graph("step")(bundle.feeds(bundle.start(), images, target))
    assert bundle.next_state(step)["wide"].dtype == np.float64


def later_format(model):
    model.ir_version = 99


def no_format(model):
    model.ClearField("ir_version")


def two_opsets(model):
    model.opset_import.append(helper.make_opsetid("ai.onnx", 12))


def no_number(model):
    tensor = model.graph.initializer[0]
    values = numpy_helper.to_array(tensor).copy()
    values.flat[1] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


@pytest.mark.parametrize("spoil, why", [(later_format, "ir_version"), (no_format, "ir_version"), (two_opsets, "says twice which opset"), (no_number, "not finite")])
def test_a_file_that_cannot_be_right_is_refused(spoil, why, tmp_path):
    net = Network(8)
    model = built(net, classifier(net, pooled(net, features(net))))
    spoil(model)
    bundle, said = rewritten(model, tmp_path)
    assert bundle is None and why in said, said
