"""Running statistics that reach their BatchNormalization through other nodes: never trained, moved on as numpy moves them, in the layout of the file.

Networks are float64; ONNX's reference evaluator gives what enters the layer, numpy the next statistics.
"""
import json
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, relative_error
from onnx import helper
from onnx.reference import ReferenceEvaluator
from test_constants import CLASSES, IMAGES, Network, differences
from test_traps import classifier, gradients, pooled, rewritten

CHANNELS = 6
MOVES = {
    "reshaped": ((CHANNELS, 1, 1), lambda net, v: net.node("Reshape", v, net.ints(-1))),
    "squeezed": ((1, CHANNELS, 1, 1), lambda net, v: net.node("Squeeze", v, net.ints(0, 2, 3))),
    "flattened": ((1, CHANNELS), lambda net, v: net.node("Squeeze", net.node("Flatten", v, axis=0), net.ints(0))),
    "turned": ((2, 3), lambda net, v: net.node("Reshape", net.node("Transpose", v, perm=[1, 0]), net.ints(CHANNELS))),
    "turned among others": ((3, 1, 2), lambda net, v: net.node("Reshape", net.node("Transpose", v, perm=[2, 1, 0]), net.ints(-1))),
}


def moved(how, values):
    """What the layer reads of the stored `values`, and the other way round."""
    order = np.arange(CHANNELS).reshape(MOVES[how][0])
    order = {"turned": lambda o: o.T, "turned among others": lambda o: o.transpose(2, 1, 0)}.get(how, lambda o: o)(order).reshape(-1)
    return values.reshape(-1)[order], lambda next: next[np.argsort(order)].reshape(values.shape)


def network(how, everything=False):
    """A BatchNormalization whose statistics, and with `everything` also gain and shift, come through nodes."""
    net = Network(21)
    shape, through = MOVES[how]
    y = net.node("Conv", "x", net.weight(CHANNELS, 2, 3, 3, links=0), pads=[1, 1, 1, 1])
    gain, shift = net.constant(1 + net.draw(*(shape if everything else [CHANNELS])), "gain"), net.constant(net.draw(*(shape if everything else [CHANNELS])), "shift")
    mean, variance = net.constant(net.draw(*shape), "runMean"), net.constant(0.5 + net.rng.random(shape), "runVariance")
    inputs = [through(net, v) if everything or v in (mean, variance) else v for v in (gain, shift, mean, variance)]
    normed = net.node("BatchNormalization", y, *inputs, momentum=0.75)
    z = classifier(net, pooled(net, net.node("Tanh", normed)), CHANNELS)
    return net, net.model(z), y, (gain, shift, mean, variance)


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("how", MOVES)
def test_moved_statistics_are_statistics(how, everything, tmp_path):
    net, model, y, (gain, shift, mean, variance) = network(how, everything)
    bundle, said = rewritten(model, tmp_path)
    assert bundle, said
    assert set(bundle.named("buffer")) == {mean, variance} and {gain, shift} <= set(bundle.named("shared")), said
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, IMAGES[0])
    next = bundle.statistics(bundle.graph("grad")(bundle.feeds(bundle.start(), images, target)))
    inner = onnx.ModelProto()
    inner.CopyFrom(model)
    inner.graph.output[0].CopyFrom(helper.make_tensor_value_info(y, onnx.TensorProto.DOUBLE, None))
    values = ReferenceEvaluator(inner).run(None, {"x": images})[0]
    for name, batch in ((mean, values.mean((0, 2, 3))), (variance, values.var((0, 2, 3), ddof=1))):
        own, back = moved(how, net.tensors[name])
        assert relative_error(next[name], back(0.75 * own + 0.25 * batch)) < 1e-9, name


@pytest.mark.parametrize("how", MOVES)
def test_moved_statistics_have_no_gradient(how, tmp_path):
    net, model, _, (gain, shift, *statistics) = network(how, True)
    bundle, said = rewritten(model, tmp_path, "--batch-norm", "frozen")
    assert bundle, said
    found, images, target = gradients(net, bundle)
    assert not set(statistics) & set(found)
    for name in found:
        assert relative_error(found[name], differences(model, name, net.tensors[name], images, target)) < 1e-6, name
    # A frozen gain freezes its layer's statistics.
    (tmp_path / "gain").mkdir()
    bundle, said = rewritten(model, tmp_path / "gain", "--freeze", gain)
    assert bundle, said
    assert not bundle.named("buffer"), said


COMPUTED = {
    "cut out of a table": lambda net, table: [net.node("Squeeze", net.node("Slice", table, net.ints(i), net.ints(i + 1), net.ints(0)), net.ints(0)) for i in (0, 1)],
    "times a factor": lambda net, table: [
        net.node("Mul", net.constant(v, n), net.constant(np.array([0.5]), "factor")) for n, v in (("mean", net.draw(CHANNELS)), ("variance", 1 + net.rng.random(CHANNELS)))
    ],
}


@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_statistics_stay_as_they_are(kind, tmp_path):
    net = Network(22)
    table = net.constant(0.5 + net.rng.random((2, CHANNELS)), "table")
    y = net.node("Conv", "x", net.weight(CHANNELS, 2, 3, 3, links=0), pads=[1, 1, 1, 1])
    gain, shift = net.constant(1 + net.draw(CHANNELS), "gain"), net.constant(net.draw(CHANNELS), "shift")
    normed = net.node("BatchNormalization", y, gain, shift, *COMPUTED[kind](net, table))
    model = net.model(classifier(net, pooled(net, net.node("Tanh", normed)), CHANNELS))
    bundle, said = rewritten(model, tmp_path)
    assert bundle is None and "frozen BatchNorm" in said, said
    bundle, said = rewritten(model, tmp_path, "--batch-norm", "frozen")
    assert bundle, said
    found, images, target = gradients(net, bundle)
    # Trained as it usually is, it is none that can be.
    inspected = subprocess.run([str(BINARY), "inspect", str(tmp_path / "model.onnx"), "--json"], capture_output=True, text=True)
    assert inspected.returncode == 1 and "frozen BatchNorm" in inspected.stderr + inspected.stdout
    told = {c["name"]: c["why"] for c in json.loads(inspected.stdout)["constants"]}
    for name, tensor in net.tensors.items():
        if name in found:
            assert relative_error(found[name], differences(model, name, tensor, images, target)) < 1e-6, name
            assert not name.startswith(("mean", "variance", "table", "factor")), name
        elif name.startswith(("mean", "variance")) or (name == table and kind.startswith("cut")):
            assert "running statistics" in told[name], told
