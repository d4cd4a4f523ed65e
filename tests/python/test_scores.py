"""What a network gives out is logits, or probabilities that a loss looks through, or refused: members of kinds, generated.

Probabilities in forms that no loss knows are refused, and `predict` says them as the network does. Classifiers in forms that nobody lists are trained
with the gradient of the network itself, by central differences.
"""
import json
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, Bundle, relative_error
from onnx import helper
from onnx.reference import ReferenceEvaluator
from test_constants import CLASSES, Network, differences

IMAGES = (3, 3, 8, 8)
WIDTH = 5


class Classifier(Network):
    """A small network of images with three channels, of which the end is generated."""

    def number(self, value):
        return self.constant(np.array(float(value)), "/Constant_output")

    def features(self):
        y = self.node("Conv", "x", self.weight(WIDTH, 3, 3, 3, links=0), self.weight(WIDTH, links=0), pads=[1, 1, 1, 1])
        return self.node("Flatten", self.node("GlobalAveragePool", self.node("Tanh", y)))

    def scores(self, features=None, classes=CLASSES, width=WIDTH):
        features = features or self.features()
        return self.node("Gemm", features, self.weight(width, classes, links=0), self.weight(classes, links=0))

    def model(self, output, classes=CLASSES):
        model = super().model(output)
        for port, sizes in ((model.graph.input[0], IMAGES[1:]), (model.graph.output[0], (classes,))):
            port.CopyFrom(helper.make_tensor_value_info(port.name, port.type.tensor_type.elem_type, ["N", *sizes]))
        return model


def rewritten(model, folder, *options):
    """The bundle, or what the refusal says."""
    onnx.save(model, folder / "model.onnx")
    command = [BINARY, "rewrite", folder / "model.onnx", "-o", folder / "bundle", "--batch", IMAGES[0], "--penalty", "none", "--split", *options]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode in (0, 1, 2) and "panicked" not in done.stderr, done.stderr
    return (Bundle(folder / "bundle"), done.stdout) if done.returncode == 0 else (None, done.stderr)


POSITIVE = {
    "softplus": lambda net, z: net.node("Softplus", z),
    "rectified": lambda net, z: net.node("Add", net.node("Relu", z), net.number(0.1)),
    "squared": lambda net, z: net.node("Mul", z, z),
    "absolute": lambda net, z: net.node("Abs", z),
    "exponential": lambda net, z: net.node("Exp", z),
}  # fmt: skip
SUMS = {
    "a little added": lambda net, e: net.node("Add", net.node("ReduceSum", e, net.ints(1)), net.number(1e-6)),
    "at least": lambda net, e: net.node("Clip", net.node("ReduceL1", e, axes=[1]), net.number(1e-6)),
    "the larger": lambda net, e: net.node("Max", net.node("ReduceSum", e, net.ints(1)), net.number(1e-6)),
    "expanded": lambda net, e: net.node("Expand", net.node("ReduceL1", e, axes=[1]), net.node("Shape", e)),
}  # fmt: skip


def share(net, kind):
    positive, total = kind
    e = POSITIVE[positive](net, net.scores())
    return net.node("Div", e, SUMS[total](net, e))


def lp_norm(net, kind):
    return net.node("LpNormalization", POSITIVE[kind](net, net.scores()), axis=1, p=1)


def merged(net, kind):
    """Probabilities of finer classes, summed up or mixed by a matrix."""
    p = net.node("Softmax", net.scores(classes=6), axis=1)
    matrix = np.eye(CLASSES)[[0, 0, 1, 2, 3, 3]] if kind == "groups" else net.rng.dirichlet(np.ones(CLASSES), 6)
    return net.node("MatMul", p, net.constant(matrix, "matrix")) if kind != "Gemm" else net.node("Gemm", p, net.constant(matrix.T, "matrix"), transB=1)


def cut(net, kind):
    """Keras' hard sigmoid, as exporters write it."""
    z = net.node("Add", net.node("Mul", net.scores(), net.number(0.2)), net.number(0.5))
    if kind == "outside":
        return net.node("Max", net.number(0), net.node("Min", net.number(1), z))
    return net.node("Min", net.node("Max", z, net.number(0)), net.number(1))


DISGUISED = [(share, (p, list(SUMS)[i % len(SUMS)])) for i, p in enumerate(POSITIVE)] + [(share, ("softplus", s)) for s in SUMS if s != "a little added"]
DISGUISED += [(lp_norm, "squared"), (merged, "groups"), (merged, "noise"), (merged, "Gemm"), (cut, "inside"), (cut, "outside")]


@pytest.mark.parametrize("make, kind", DISGUISED)
def test_probabilities_in_a_form_of_their_own_are_refused(make, kind, tmp_path):
    net = Classifier(len(str(kind)))
    bundle, said = rewritten(net.model(make(net, kind)), tmp_path, "--head", "keep")
    assert bundle is None and ("no logits" in said or "hides the logits" in said), said


@pytest.mark.parametrize("make, kind", [(share, ("softplus", "a little added")), (merged, "noise")])
def test_and_told_as_they_are(make, kind, tmp_path):
    """`predict` on a model that only gives such probabilities."""
    net = Classifier(3, np.float32)
    model = net.model(make(net, kind))
    done, image = predicted(model, net, tmp_path)
    given = {guess["label"]: guess["probability"] for guess in json.loads(done.stdout)[0]["guesses"]}
    expected = ReferenceEvaluator(model).run(None, {"x": (image / 255).transpose(2, 0, 1)[None].astype(np.float32)})[0][0]
    assert "they were taken for probabilities" in done.stderr
    np.testing.assert_allclose([given[i] for i in range(CLASSES)], expected, atol=1e-5)
    # Nor do such numbers pass for logits where a class is drawn from their softmax.
    command = [BINARY, "fisher", tmp_path / "model.onnx", "--data", tmp_path / "images", "-o", tmp_path / "f.safetensors"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 1 and ("no logits" in done.stderr or "hides the logits" in done.stderr), done.stderr
    assert not (tmp_path / "f.safetensors").exists()


def predicted(model, net, folder):
    """What `predict` says of an image of noise, and the image."""
    onnx.save(model, folder / "model.onnx")
    image = net.rng.integers(0, 256, IMAGES[2:] + (3,)).astype(np.uint8)
    (folder / "images" / "a").mkdir(parents=True)
    path = folder / "images" / "a" / "image.ppm"
    path.write_bytes(b"P6 8 8 255\n" + image.tobytes())
    command = [BINARY, "predict", folder / "model.onnx", path, "--json", "--top", CLASSES, "--mean", "0,0,0", "--std", "1,1,1"]
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, check=True), image


def prototypes(net):
    d = net.node("Sub", net.node("Unsqueeze", net.features(), net.ints(1)), net.constant(net.draw(CLASSES, WIDTH), "prototypes"))
    return net.node("Neg", net.node("ReduceSumSquare", d, axes=[2], keepdims=0))


def cosine(net):
    f = net.features()
    w = net.weight(CLASSES, WIDTH, links=0)
    f, w = (net.node("Div", v, net.node("ReduceL2", v, axes=[1])) for v in (f, w))
    return net.node("Mul", net.node("MatMul", f, net.node("Transpose", w, perm=[1, 0])), net.constant(np.array(8.0), "logit_scale"))


def ensemble(net):
    f = net.features()
    return net.node("Mul", net.node("Add", net.scores(f), net.scores(net.node("Tanh", f))), net.number(0.5))


def flipped(net):
    """The same weights on the image and its mirror image."""
    kernel, head = net.weight(WIDTH, 3, 3, 3, links=0), net.weight(WIDTH, CLASSES, links=0)
    mirror = net.node("Slice", "x", net.ints(-1), net.ints(-100), net.ints(3), net.ints(-1))
    passes = [net.node("Tanh", net.node("Conv", x, kernel, strides=[2, 2])) for x in ("x", mirror)]
    return net.node("Add", *(net.node("MatMul", net.node("Flatten", net.node("GlobalAveragePool", y)), head) for y in passes))


def chosen(net):
    return net.node("Gather", net.scores(classes=6), net.ints(5, 0, 2, 3), axis=1)


def both_ways(net):
    w = net.weight(WIDTH, WIDTH, links=0)
    h = net.node("Tanh", net.node("MatMul", net.features(), w))
    return net.scores(net.node("Tanh", net.node("MatMul", h, net.node("Transpose", w, perm=[1, 0]))))


def with_its_row(net):
    """A classifier whose rows are class embeddings that features also read."""
    w = net.weight(CLASSES, WIDTH, links=0)
    row = net.node("Gather", w, net.constant(np.array(2), "label"), axis=0)
    return net.node("MatMul", net.node("Add", net.features(), row), net.node("Transpose", w, perm=[1, 0]))


@pytest.mark.parametrize("make", [prototypes, cosine, ensemble, flipped, chosen, both_ways, with_its_row])
def test_classifiers_of_other_forms_have_the_gradient_of_the_network(make, tmp_path):
    net = Classifier(5)
    model = net.model(make(net))
    bundle, said = rewritten(model, tmp_path, "--head", "keep")
    assert bundle, said
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, IMAGES[0])
    found = bundle.gradients(bundle.graph("grad")(bundle.feeds(bundle.start(), images, target)))
    for name, tensor in net.tensors.items():
        if tensor.dtype == np.float64 and not name.startswith("/"):
            assert relative_error(found[name], differences(model, name, tensor, images, target)) < 1e-6, name


@pytest.mark.parametrize("make", [prototypes, cosine])
def test_what_was_not_assumed_is_not_said(make, tmp_path):
    """Scores whose numbers are no probabilities, though the nodes do not show that, are read as any classifier's."""
    net = Classifier(5, np.float32)
    done, _ = predicted(net.model(make(net)), net, tmp_path)
    assert "probabilit" not in done.stderr, done.stderr


def adapter(net):
    product = net.node("MatMul", net.weight(CLASSES, 2, links=0), net.weight(2, WIDTH, links=0))
    return net.node("Gemm", net.features(), net.node("Add", net.weight(CLASSES, WIDTH, links=0), product), transB=1)


def gained(net):
    v = net.weight(CLASSES, WIDTH, links=0)
    w = net.node("Mul", net.node("Div", v, net.node("ReduceL2", v, axes=[1])), net.constant(1 + 0.1 * net.draw(CLASSES, 1), "g"))
    return net.node("Gemm", net.features(), w, transB=1)


def pruned(net):
    mask = net.constant(net.rng.random((WIDTH, CLASSES)) < 0.6, "mask")
    return net.node("MatMul", net.features(), net.node("Where", mask, net.weight(WIDTH, CLASSES, links=0), net.number(0)))


def several(net):
    """The mean of three scores for each class."""
    return net.node("ReduceMean", net.node("Reshape", net.scores(classes=3 * CLASSES), net.ints(-1, 3, CLASSES)), axes=[1], keepdims=0)


def pooled_by_a_product(net):
    y = net.node("Conv", "x", net.weight(CLASSES, 3, 1, 1, links=0), net.weight(CLASSES, links=0))
    mean = net.constant(np.full((64, 1), 1 / 64), "/Constant_output")
    return net.node("Squeeze", net.node("MatMul", net.node("Reshape", y, net.ints(0, CLASSES, 64)), mean), net.ints(2))


@pytest.mark.parametrize("classes", [CLASSES, CLASSES + 1])
@pytest.mark.parametrize("make", [adapter, gained, pruned, several, pooled_by_a_product])
def test_a_classifier_of_several_constants_is_replaced_whole_or_not_at_all(make, classes, tmp_path):
    net = Classifier(7)
    bundle, said = rewritten(net.model(make(net)), tmp_path, "--classes", classes)
    assert bundle is None and f"--classes {classes} cannot be done" in said and "--head keep" in said and "--add-head" in said, said
    if classes == CLASSES:
        return
    # The way out.
    other = Classifier(7)
    bundle, said = rewritten(other.model(make(other)), tmp_path, "--classes", classes, "--add-head")
    assert bundle, said
    given = bundle.graph("eval")(bundle.start() | {"x": net.rng.standard_normal(IMAGES)})
    assert next(iter(given.values())).shape == (IMAGES[0], classes)


def test_and_behind_a_bound_as_well(tmp_path):
    """What is read as it is, by the squared error, has its classifier before the bound."""
    net = Classifier(7)
    gained = net.node("Mul", net.scores(), net.constant(1 + 0.1 * net.draw(CLASSES), "gain"))
    model = net.model(net.node("Clip", gained, net.number(0), net.number(1)))
    bundle, said = rewritten(model, tmp_path, "--classes", CLASSES, "--loss", "mse")
    assert bundle is None and "is more than its weight" in said and "gain" in said, said
    bundle, said = rewritten(model, tmp_path, "--loss", "mse", "--head", "keep")
    assert bundle, said


@pytest.mark.parametrize("identity", [False, True])
def test_a_new_classifier_has_a_bias_of_its_own(identity, tmp_path):
    """Exporters write equal tensors once: here the zeros of a hidden layer and of the classifier."""
    net = Classifier(8, np.float32)
    zeros = net.constant(np.zeros(WIDTH), "zeros")
    second = net.node("Identity", zeros) if identity else zeros
    hidden = net.node("Tanh", net.node("Gemm", net.features(), net.weight(WIDTH, WIDTH, links=0), zeros))
    model = net.model(net.node("Gemm", hidden, net.weight(WIDTH, WIDTH, links=0), second), WIDTH)
    for classes in (WIDTH, 3):
        bundle, said = rewritten(model, tmp_path, "--classes", classes, "--force")
        assert bundle, said
        new = [s for s in bundle.state if s["role"] == "new"]
        assert sorted(s["shape"] for s in new) == [[classes], [WIDTH, classes]]
        start = bundle.start()
        assert not start[zeros].any() and all(start[s["name"]].any() for s in new)
        # A bundle's export is the source's graph with these numbers.
        command = [BINARY, "export", bundle.folder, "-o", tmp_path / "tuned.onnx", "--force"]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        images = net.rng.standard_normal(IMAGES).astype(np.float32)
        expected = next(iter(bundle.graph("eval")(start | {"x": images}).values()))
        found = ReferenceEvaluator(onnx.load(tmp_path / "tuned.onnx")).run(None, {"x": images})[0]
        assert relative_error(found, expected) < 1e-5


def test_layers_that_start_with_zeros_are_layers_of_their_own(tmp_path):
    """Adapters that add nothing yet: exporters write their equal kernels once."""
    net = Classifier(9)
    zeros = net.constant(np.zeros((WIDTH, WIDTH)), "adapter")
    h = net.features()
    for _ in range(2):
        h = net.node("Add", h, net.node("MatMul", net.node("Tanh", h), zeros))
    bundle, said = rewritten(net.model(net.scores(h)), tmp_path, "--head", "keep")
    assert bundle, said
    kernels = [s["name"] for s in bundle.state if s["role"] == "shared" and s["shape"] == [WIDTH, WIDTH]]
    assert len(kernels) == 2, bundle.state


def test_ones_and_zeros_of_a_formula_are_named(tmp_path):
    """GroupNorm as PyTorch's exporter writes it: the normalization has no parameters, those stand behind it."""
    net = Classifier(10)
    y = net.node("Conv", "x", net.weight(6, 3, 3, 3, links=0))
    ones, zeros = (net.constant(np.full(3, v), "/norm/Constant_output_0") for v in (1.0, 0.0))
    y = net.node("InstanceNormalization", net.node("Reshape", y, net.ints(0, 3, -1)), ones, zeros)
    y = net.node("Reshape", y, net.ints(0, 6, 6, 6))
    y = net.node("Add", net.node("Mul", y, net.constant(1 + 0.1 * net.draw(6, 1, 1), "gain")), net.constant(net.draw(6, 1, 1), "offset"))
    model = net.model(net.scores(net.node("Flatten", net.node("GlobalAveragePool", net.node("Tanh", y))), width=6))
    bundle, said = rewritten(model, tmp_path, "--head", "keep")
    assert bundle, said
    trained = {s["name"].split(".")[0] for s in bundle.state}
    assert {"gain", "offset"} < trained and not {ones.split(".")[0], zeros.split(".")[0]} & trained, trained
    assert "trained     202 of 208 elements" in said and "one number repeated" in said, said


@pytest.mark.parametrize("turned", [True, False])
def test_weights_that_are_stored_twice_are_named(turned, tmp_path):
    """A weight and its transpose, as exporters fold it, are two weights for training: that is said."""
    net = Classifier(9, np.float32)
    w = net.draw(WIDTH, WIDTH)
    names = net.constant(w, "tied.weight"), net.constant(w.T.copy() if turned else w, "other.weight")
    hidden = net.node("Tanh", net.node("MatMul", net.features(), names[0]))
    model = net.model(net.scores(net.node("MatMul", hidden, names[1])))
    expected = f"{names[0]} and {names[1]} hold the same numbers"
    bundle, said = rewritten(model, tmp_path, "--head", "keep")
    assert bundle and expected in said, said
    done = subprocess.run([BINARY, "inspect", tmp_path / "model.onnx"], capture_output=True, text=True, check=True)
    assert expected in done.stdout, done.stdout


@pytest.mark.parametrize("classes", [WIDTH, WIDTH + 1])
@pytest.mark.parametrize("turned", [True, False])
def test_a_classifier_whose_weight_another_layer_has_is_not_replaced(turned, classes, tmp_path):
    net = Classifier(12, np.float32)
    w = net.weight(WIDTH, WIDTH, links=0)
    h = net.node("Tanh", net.node("MatMul", net.features(), w))
    model = net.model(net.node("MatMul", h, net.node("Transpose", w, perm=[1, 0]) if turned else w), WIDTH)
    bundle, said = rewritten(model, tmp_path, "--classes", classes)
    # A weight that is used turned, too, is seen as no one layer's.
    why = "no classifier was found" if turned else f"`{w}` is shared with another layer"
    assert bundle is None and why in said and "--add-head" in said, said
    bundle, said = rewritten(model, tmp_path, "--classes", classes, "--add-head")
    assert bundle, said


@pytest.mark.parametrize("option", ["--train", "--freeze"])
def test_who_asks_for_a_setting_is_told_what_it_is(option, tmp_path):
    net = Classifier(11, np.float32)
    y = net.node("Clip", net.features(), net.constant(np.array(-0.5), "low"), net.constant(np.array(0.5), "high"))
    bundle, said = rewritten(net.model(net.scores(y)), tmp_path, "--head", "keep", option, "high*")
    assert bundle is None and "matches no parameter: `high." in said and "is not trained (" in said, said


def log_sigmoid(net):
    return net.node("Log", net.node("Sigmoid", net.scores()))


@pytest.mark.parametrize("make", [log_sigmoid, lambda net: cut(net, "inside")], ids=["log sigmoid", "cut"])
def test_what_hides_its_logits_can_be_trained_towards_numbers(make, tmp_path):
    model = Classifier(5, np.float32)
    model = model.model(make(model))
    bundle, said = rewritten(model, tmp_path, "--head", "keep")
    assert bundle is None and f"the model's output `{model.graph.output[0].name}` is " in said and "take --loss mse" in said, said
    bundle, said = rewritten(model, tmp_path, "--head", "keep", "--loss", "mse")
    assert bundle and "squared" in said, said
    done = subprocess.run([str(BINARY), "inspect", str(tmp_path / "model.onnx")], capture_output=True, text=True)
    assert "--loss mse" in done.stdout + done.stderr, done
