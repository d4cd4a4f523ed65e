"""Which of several outputs is the classifier's: the one, or a refusal until it is named. Members of kinds, generated.

Classifiers of many forms stand beside an embedding, before or behind it. The expected gradient comes from central differences of the loss, computed by
ONNX's reference evaluator on the model itself.
"""
import numpy as np
import pytest
from harness import relative_error
from onnx import helper
from onnx.reference import ReferenceEvaluator
from test_constants import CLASSES, differences
from test_scores import IMAGES, WIDTH, Classifier, rewritten

EMBEDDED = 7


class Several(Classifier):
    """The same network with several outputs, of any number of scores."""

    def __init__(self, seed=0, dtype=np.float64):
        super().__init__(seed, dtype)
        self.body = self.node("Tanh", self.node("Conv", "x", self.weight(WIDTH, 3, 3, 3, links=0), self.weight(WIDTH, links=0), pads=[1, 1, 1, 1]))
        self.pooled = self.node("Flatten", self.node("GlobalAveragePool", self.body))
        self.neck = self.node("Gemm", self.pooled, self.constant(self.draw(EMBEDDED, WIDTH), "neck.weight"), transB=1)

    def features(self):
        return self.neck

    def head(self, classes=CLASSES):
        return self.scores(self.neck, classes, EMBEDDED)

    def model(self, *outputs):
        model = super().model(outputs[0])
        element = model.graph.output.pop().type.tensor_type.elem_type
        model.graph.output.extend(helper.make_tensor_value_info(output, element, None) for output in outputs)
        given = ReferenceEvaluator(model).run(None, {"x": np.zeros(IMAGES, self.dtype)})
        for port, value in zip(model.graph.output, given):
            port.CopyFrom(helper.make_tensor_value_info(port.name, element, ["N", *value.shape[1:]]))
        return model


def mean_of_two(net):
    one = net.head()
    return net.node("Mul", net.node("Add", one, net.scores(net.neck, CLASSES, EMBEDDED)), net.number(0.5)), one


def scaled_by_class(net):
    return net.node("Mul", net.head(), net.constant(1 + 0.1 * net.draw(CLASSES), "scale")), net.neck


def normalized(net):
    gain, bias, mean = (net.constant(net.draw(CLASSES), base) for base in ("gamma", "beta", "running_mean"))
    return net.node("BatchNormalization", net.head(), gain, bias, mean, net.constant(np.ones(CLASSES), "running_var")), net.neck


def prototypes(net):
    away = net.node("Sub", net.node("Unsqueeze", net.neck, net.ints(1)), net.constant(net.draw(CLASSES, EMBEDDED), "prototypes"))
    return net.node("Neg", net.node("ReduceSum", net.node("Mul", away, away), net.ints(2), keepdims=0)), net.neck


def maps(net):
    return net.node("Conv", net.body, net.weight(CLASSES, WIDTH, 1, 1, links=0), net.weight(CLASSES, links=0))


def rectified_maps(net):
    return net.node("Flatten", net.node("GlobalAveragePool", net.node("Relu", maps(net)))), net.neck


def highest_of_maps(net):
    return net.node("ReduceMax", maps(net), axes=[2, 3], keepdims=0), net.neck


def shares_of_scaled(net):
    return net.node("Softmax", scaled_by_class(net)[0], axis=1), net.neck


FORMS = [mean_of_two, scaled_by_class, normalized, prototypes, rectified_maps, highest_of_maps, shares_of_scaled]


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("form", FORMS)
def test_a_classifier_of_any_form_is_not_passed_over(form, first, tmp_path):
    net = Several(1)
    classifier, other = form(net)
    outputs = [classifier, other] if first else [other, classifier]
    for options in (["--head", "keep"], ["--classes", "6"]):
        bundle, said = rewritten(net.model(*outputs), tmp_path, *options, "--batch-norm", "frozen", "--force")
        assert bundle is None and "which of them is the classifier's is not clear" in said and f"`{classifier}` " in said and "--output NAME" in said, said
    # Named, it is trained, with the gradient of that output.
    bundle, said = rewritten(net.model(*outputs), tmp_path, "--head", "keep", "--batch-norm", "frozen", "--output", classifier, "--force")
    assert bundle, said
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, IMAGES[0])
    found = bundle.gradients(bundle.graph("grad")(bundle.feeds(bundle.start(), images, target)))
    alone = net.model(scaled_by_class_logits(net) if form is shares_of_scaled else classifier)
    for name, gradient in found.items():
        expected = differences(alone, name, net.tensors[name], images, target)
        assert relative_error(gradient, expected) < 1e-6 or np.linalg.norm(gradient - expected) < 1e-8, name


def scaled_by_class_logits(net):
    """What enters the softmax: the loss reads it there."""
    return next(n.input[0] for n in net.nodes if n.op_type == "Softmax")


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
def test_a_percentage_beside_an_embedding_is_not_passed_over(first, tmp_path):
    net = Several(2, np.float32)
    percent = net.node("Mul", net.node("Softmax", net.head(), axis=1), net.number(100))
    model = net.model(*([percent, net.neck] if first else [net.neck, percent]))
    bundle, said = rewritten(model, tmp_path, "--head", "keep")
    assert bundle is None and "is not clear" in said and f"`{percent}` has weights of its own" in said, said


# What says the same in another form, or stands before the classifier.
BESIDE = {
    "pooled features": lambda net, z: net.pooled,
    "unit features": lambda net, z: net.node("Div", net.pooled, net.node("ReduceL2", net.pooled, axes=[1])),
    "percent": lambda net, z: net.node("Mul", net.node("Softmax", z, axis=1), net.number(100)),
    "confidence": lambda net, z: net.node("ReduceMax", net.node("Softmax", z, axis=1), axes=[1], keepdims=1),
    "highest score": lambda net, z: net.node("ReduceMax", z, axes=[1], keepdims=0),
    "shares": lambda net, z: net.node("Softmax", z, axis=1),
    "number": lambda net, z: net.node("Cast", net.node("ArgMax", z, axis=1), to=helper.np_dtype_to_tensor_dtype(net.dtype)),
}  # fmt: skip


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("kind", BESIDE)
def test_what_is_beside_a_classifier_does_not_hide_it(kind, first, tmp_path):
    net = Several(3)
    z = net.head()
    other = BESIDE[kind](net, z)
    model = net.model(*([z, other] if first else [other, z]))
    bundle, said = rewritten(model, tmp_path, "--head", "keep")
    assert bundle, said
    images, target = net.rng.standard_normal(IMAGES), net.rng.integers(0, CLASSES, IMAGES[0])
    found = bundle.gradients(bundle.graph("grad")(bundle.feeds(bundle.start(), images, target)))
    neck = next(name for name in found if name.startswith("neck"))
    assert relative_error(found[neck], differences(net.model(z), neck, net.tensors[neck], images, target)) < 1e-6


@pytest.mark.parametrize("kind", ["chances", "highest chance", "shares before", "maximum of several"])
def test_what_reads_the_scores_in_another_way_is_asked_for(kind, tmp_path):
    net = Several(4, np.float32)
    z = net.head()
    if kind == "chances":
        other = net.node("Mul", net.node("Sigmoid", z), net.number(100))
    elif kind == "highest chance":
        other = net.node("ReduceMax", net.node("Sigmoid", z), axes=[1], keepdims=1)
    elif kind == "shares before":
        other = net.node("Softmax", net.pooled, axis=1)
    else:
        # The four classes of eight scores.
        z = net.head(8)
        other = net.node("ReduceMax", net.node("Reshape", z, net.ints(-1, 2, CLASSES)), axes=[1], keepdims=0)
    bundle, said = rewritten(net.model(z, other), tmp_path, "--head", "keep")
    assert bundle is None and "is not clear" in said and f"`{other}` " in said, said
    bundle, said = rewritten(net.model(z, other), tmp_path, "--head", "keep", "--output", z, "--force")
    assert bundle, said


def test_running_statistics_as_outputs_are_refused_as_what_they_are(tmp_path):
    net = Several(5, np.float32)
    given = [net.name(base) for base in ("normed", "next_mean", "next_var")]
    statistics = [net.constant(value, base) for base, value in (("gamma", np.ones(WIDTH)), ("beta", np.zeros(WIDTH)), ("mean", np.zeros(WIDTH)), ("var", np.ones(WIDTH)))]
    net.nodes.append(helper.make_node("BatchNormalization", [net.body, *statistics], given, name="norm", training_mode=1))
    z = net.scores(net.node("Flatten", net.node("GlobalAveragePool", given[0])))
    model = net.model(z)
    model.graph.output.append(helper.make_tensor_value_info(given[1], model.graph.output[0].type.tensor_type.elem_type, [WIDTH]))
    bundle, said = rewritten(model, tmp_path, "--head", "keep")
    assert bundle is None and f"output `{given[1]}` is a further result of `norm` (BatchNormalization)" in said and "without that output" in said, said


def test_another_size_of_images_than_a_shape_was_written_for_is_named(tmp_path):
    net = Several(6, np.float32)
    pooled = net.node("Reshape", net.node("AveragePool", net.body, kernel_shape=[8, 8]), net.ints(-1, WIDTH))
    model = net.model(net.scores(pooled))
    bundle, said = rewritten(model, tmp_path, "--head", "keep", "--input-shape", "3x12x12")
    assert bundle is None and "25 rows for each image" in said and "--input-shape" in said, said
    bundle, said = rewritten(model, tmp_path, "--head", "keep")
    assert bundle, said
