"""Networks that normalise their images themselves get pixels as they are: what their first nodes do says which, from 0 to 1 or to 255."""
import json
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, spgraph
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from test_constants import CLASSES, Network

SIDE = 8
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


class Prepared(Network):
    def beside(self, values, last=False):
        """A number for each channel, or one, as it stands beside images."""
        values = np.asarray(values, np.float64)
        return self.constant(values if values.ndim == 0 or last else values.reshape(1, 3, 1, 1))

    def built(self, y, last=False, batch="N"):
        y = self.node("Conv", y, self.weight(5, 3, 3, 3, links=0), self.weight(5, links=0))
        y = self.node("Flatten", self.node("GlobalAveragePool", self.node("Tanh", y)))
        model = self.model(self.node("Gemm", y, self.weight(5, CLASSES, links=0), self.weight(CLASSES, links=0)))
        sizes = [SIDE, SIDE, 3] if last else [3, SIDE, SIDE]
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *sizes]))
        return model


def divided(net):
    return net.node("Div", net.node("Sub", "x", net.beside(MEAN)), net.beside(STD))


def multiplied(net):
    return net.node("Add", net.node("Mul", "x", net.beside(1 / STD)), net.beside(-MEAN / STD))


def bytes_divided(net):
    return net.node("Div", net.node("Sub", net.node("Div", "x", net.beside(255)), net.beside(MEAN)), net.beside(STD))


def bytes_alone(net):
    return net.node("Mul", "x", net.beside(1 / 255))


def both_sides(net):
    return net.node("Sub", net.node("Div", net.node("Identity", "x"), net.beside(127.5)), net.beside(1))


def turned(net):
    return net.node("Sub", net.beside(1), net.node("Mul", net.beside(2), "x"))


def caffe(net):
    # Blue, green, red, and no division.
    y = net.node("Slice", "x", net.ints(-1), net.ints(-100), net.ints(1), net.ints(-1))
    return net.node("Sub", y, net.beside(255 * MEAN[::-1]))


def resized(net):
    net.tensors["scales"] = np.array([1, 1, 2, 2], np.float32)
    y = net.node("Resize", "x", "", "scales", mode="nearest")
    return net.node("Div", net.node("Sub", y, net.beside(255 * MEAN)), net.beside(255 * STD))


def channels_last(net):
    y = net.node("Sub", net.node("Div", "x", net.beside(255)), net.beside(MEAN, last=True))
    return net.node("Transpose", net.node("Div", y, net.beside(STD, last=True)), perm=[0, 3, 1, 2])


def made_larger(net):
    # Pixels from 0 to 1, of which a network for bytes is made.
    return net.node("Sub", net.node("Mul", "x", net.beside(255)), net.beside(255 * MEAN))


def normalized(net, mean, variance):
    """By the statistics of a first BatchNormalization, as MXNet's `bn_data`."""
    gain, shift = (net.constant(np.full(3, value), base) for value, base in ((1.0, "gamma"), (0.0, "beta")))
    return net.node("BatchNormalization", "x", gain, shift, net.constant(mean, "running_mean"), net.constant(variance, "running_var"))


def statistics_of_bytes(net):
    return normalized(net, 255 * MEAN, (255 * STD) ** 2)


def statistics(net):
    return normalized(net, MEAN, STD**2)


OWN = {statistics: 1, statistics_of_bytes: 255, divided: 1, multiplied: 1, turned: 1, made_larger: 1, bytes_divided: 255, bytes_alone: 255, both_sides: 255, caffe: 255, resized: 255, channels_last: 255}  # fmt: skip


@pytest.mark.parametrize("make", OWN)
def test_the_network_gets_what_it_expects(make, tmp_path):
    net, last, batch = Prepared(0, np.float32), make is channels_last, 1 if make in (divided, bytes_divided) else "N"
    model = net.built(make(net), last, batch)
    onnx.save(model, tmp_path / "model.onnx")
    said = spgraph("rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--head", "keep", "--batch", "2")
    told = json.loads((tmp_path / "bundle" / "manifest.json").read_text())["preprocessing"]
    assert (told["mean"], told["std"], told.get("scale", 1)) == ([0, 0, 0], [1, 1, 1], OWN[make]), said
    assert "(assumed: --resize, --channels); its first nodes normalise them" in said, said
    # And `predict` on the model itself: the network's own probabilities of these pixels.
    pixels = net.rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    (tmp_path / "image.ppm").write_bytes(b"P6 8 8 255\n" + pixels.tobytes())
    given = json.loads(spgraph("predict", tmp_path / "model.onnx", tmp_path / "image.ppm", "--json", "--top", CLASSES))
    image = (pixels * (OWN[make] / 255)).astype(np.float32)[None]
    z = ReferenceEvaluator(model).run(None, {"x": image if last else image.transpose(0, 3, 1, 2)})[0][0].astype(np.float64)
    expected = np.exp(z) / np.exp(z).sum()
    found = {guess["label"]: guess["probability"] for guess in given[0]["guesses"]}
    np.testing.assert_allclose([found[i] for i in range(CLASSES)], expected, atol=1e-5)


def untouched(net):
    return net.node("Identity", "x")


def changed_over(net):
    # From ImageNet's statistics to ±1, as torchvision's `transform_input`.
    return net.node("Add", net.node("Mul", "x", net.beside(STD / 0.5)), net.beside((MEAN - 0.5) / 0.5))


def times_one(net):
    return net.node("Mul", "x", net.beside(1))


def nearly_untouched(net):
    # A first BatchNorm of a network whose images are normalised already.
    return net.node("Add", net.node("Mul", "x", net.beside([1.02, 0.97, 1.1])), net.beside([-0.01, 0.02, 0.005]))


def statistics_of_normalised_images(net):
    return normalized(net, np.array([0.02, -0.05, 0.1]), np.array([1.1, 0.9, 1.05]))


def kept_from_0_to_1(net):
    return net.node("Add", net.node("Mul", "x", net.beside(0.98)), net.beside(0.01))


@pytest.mark.parametrize("make", [untouched, changed_over, times_one, nearly_untouched, kept_from_0_to_1, statistics_of_normalised_images])
def test_where_the_nodes_do_not_say_it_the_usual_is_assumed(make, tmp_path):
    net = Prepared(1, np.float32)
    onnx.save(net.built(make(net)), tmp_path / "model.onnx")
    said = spgraph("rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--head", "keep")
    assert "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225" in said and "(assumed: the model does not say)" in said, said


@pytest.mark.parametrize("options", [("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"), ("--scale", "255")])
def test_who_says_it_is_heard(options, tmp_path):
    net = Prepared(2, np.float32)
    onnx.save(net.built(divided(net)), tmp_path / "model.onnx")
    command = [BINARY, "rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--head", "keep", *options]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert " ".join(options) in done.stdout, done.stdout


def test_statistics_of_other_pixels_are_refused(tmp_path):
    net = Prepared(3, np.float32)
    onnx.save(net.built(untouched(net)), tmp_path / "model.onnx")
    for numbers, way in (
        (("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--scale", "255"), "--scale 1"),
        (("--mean", "123.7,116.3,103.5", "--std", "58.4,57.1,57.4", "--scale", "1"), "--scale 255"),
    ):
        command = [BINARY, "rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--head", "keep", *numbers]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        assert done.returncode == 2 and way in done.stderr, done.stderr


def test_metadata_that_cannot_be_read_is_refused_until_an_option_says_it(tmp_path):
    net = Prepared(4, np.float32)
    model = net.built(untouched(net))
    helper.set_model_props(model, {"mean": "0.5 0.5 0.5", "std": "as usual", "channels": "bgr"})
    onnx.save(model, tmp_path / "model.onnx")
    command = [BINARY, "rewrite", tmp_path / "model.onnx", "-o", tmp_path / "bundle", "--head", "keep"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 1 and "`std` is `as usual`" in done.stderr and "--std" in done.stderr, done.stderr
    done = subprocess.run([str(c) for c in (*command, "--std", "0.25,0.25,0.25")], capture_output=True, text=True)
    assert done.returncode == 0 and "--mean 0.5,0.5,0.5 --std 0.25,0.25,0.25 --channels bgr" in done.stdout, done.stdout + done.stderr
    done = subprocess.run([str(BINARY), "inspect", str(tmp_path / "model.onnx")], capture_output=True, text=True)
    assert "`std` is `as usual`" in done.stdout, done.stdout + done.stderr
