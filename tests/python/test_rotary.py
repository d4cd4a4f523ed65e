"""RotaryEmbedding as ONNX's text describes it, written here once more in numpy and float64: the logits of small classifiers, and their gradients by
central differences of that.
"""
import itertools

import numpy as np
import onnx
import pytest
from harness import relative_error, rewrite
from onnx import TensorProto, helper, numpy_helper
from test_traps import rewritten

BATCH, PLACES, WIDTH, HEADS, CLASSES = 3, 5, 24, 2, 4  # as many images as test_traps gives to a bundle


def rotated(x, cos, sin, ids, heads, interleaved, turned):
    """`x` is [images, places, heads · size] or [images, heads, places, size]. Without `ids` the tables have a row for each image and place."""
    flat = x.ndim == 3
    x = x.reshape(*x.shape[:2], heads, -1) if flat else x.transpose(0, 2, 1, 3)
    turned = turned or x.shape[-1]
    y = np.array(x)
    for n, place, head, k in itertools.product(*map(range, x.shape[:3]), range(turned // 2)):
        at = (ids[n][place], k) if ids is not None else (n, place, k)
        first, second = (2 * k, 2 * k + 1) if interleaved else (k, k + turned // 2)
        a, b = x[n, place, head, first], x[n, place, head, second]
        y[n, place, head, first] = a * cos[at] - b * sin[at]
        y[n, place, head, second] = a * sin[at] + b * cos[at]
    return y.reshape(*y.shape[:2], -1) if flat else y.transpose(0, 2, 1, 3)


class Classifier:
    """Tokens, a linear layer, the rotation, a linear layer."""

    def __init__(self, seed, flat, interleaved, turned, ids):
        rng = np.random.default_rng(seed)
        self.flat, self.interleaved, self.turned, self.ids = flat, interleaved, turned, ids
        angles = rng.uniform(-3, 3, (9 if ids is not None else PLACES, (turned or WIDTH // HEADS) // 2))
        if ids is None:
            # The same for every image: images would not be alike otherwise.
            angles = np.repeat(angles[None], BATCH, 0)
        self.weights = {
            "first.weight": rng.normal(0, 0.3, (6, WIDTH)), "rope.cos": np.cos(angles), "rope.sin": np.sin(angles),
            "last.weight": rng.normal(0, 0.3, (PLACES * WIDTH, CLASSES)),
        }  # fmt: skip
        self.weights = {n: w.astype(np.float32).astype(np.float64) for n, w in self.weights.items()}
        self.images = rng.normal(size=(BATCH, PLACES, 6)).astype(np.float32)
        self.target = rng.integers(0, CLASSES, BATCH)

    def save(self, path):
        constants = {n: w.astype(np.float32) for n, w in self.weights.items()} | {"split": np.array([BATCH, PLACES, HEADS, WIDTH // HEADS])}
        names = ["q", "rope.cos", "rope.sin"]
        if self.ids is not None:
            constants["ids"], names = np.array(self.ids), [*names, "ids"]
        attributes = dict(interleaved=self.interleaved, rotary_embedding_dim=self.turned)
        nodes = [helper.make_node("MatMul", ["images", "first.weight"], ["t"])]
        if self.flat:
            nodes += [helper.make_node("Identity", ["t"], ["q"]), helper.make_node("RotaryEmbedding", names, ["y"], num_heads=HEADS, **attributes)]
        else:
            nodes += [
                helper.make_node("Reshape", ["t", "split"], ["s"]), helper.make_node("Transpose", ["s"], ["q"], perm=[0, 2, 1, 3]),
                helper.make_node("RotaryEmbedding", names, ["r"], **attributes), helper.make_node("Transpose", ["r"], ["y"], perm=[0, 2, 1, 3]),
            ]  # fmt: skip
        nodes += [helper.make_node("Flatten", ["y"], ["f"]), helper.make_node("MatMul", ["f", "last.weight"], ["logits"])]
        ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("images", self.images.shape), ("logits", (BATCH, CLASSES)))]
        graph = helper.make_graph(nodes, "rotary", ports[:1], ports[1:], [numpy_helper.from_array(v, n) for n, v in constants.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        return model

    def logits(self, weights):
        q = self.images.astype(np.float64) @ weights["first.weight"]
        if not self.flat:
            q = q.reshape(BATCH, PLACES, HEADS, -1).transpose(0, 2, 1, 3)
        y = rotated(q, weights["rope.cos"], weights["rope.sin"], self.ids, HEADS, self.interleaved, self.turned)
        if not self.flat:
            y = y.transpose(0, 2, 1, 3)
        return y.reshape(BATCH, -1) @ weights["last.weight"]

    def loss(self, weights):
        z = self.logits(weights)
        z = z - z.max(1, keepdims=True)
        return -(z - np.log(np.exp(z).sum(1, keepdims=True)))[np.arange(BATCH), self.target].mean()

    def slopes(self, name, places):
        found = []
        for at in places:
            sides = []
            for sign in (1, -1):
                moved = self.weights | {name: self.weights[name].copy()}
                moved[name][at] += sign * 1e-5
                sides.append(self.loss(moved))
            found.append((sides[0] - sides[1]) / 2e-5)
        return np.array(found)


FORMS = [
    (flat, interleaved, turned, ids)
    for flat, interleaved, turned in itertools.product((True, False), (0, 1), (0, 4, 10, 12))
    for ids in (None, [[3, 0, 8, 3, 1]] * BATCH)
]


@pytest.mark.parametrize("flat, interleaved, turned, ids", FORMS)
def test_rotations_are_as_onnx_describes_them(flat, interleaved, turned, ids, tmp_path):
    net = Classifier(turned + 17 * interleaved + (ids is None), flat, interleaved, turned, ids)
    net.save(tmp_path / "model.onnx")
    bundle = rewrite(tmp_path / "model.onnx", tmp_path / "bundle", "--split", batch=BATCH)
    feeds = bundle.feeds(bundle.start(), net.images, net.target)
    assert relative_error(next(iter(bundle.graph("eval")(feeds).values())), net.logits(net.weights)) < 1e-5
    found = bundle.gradients(bundle.graph("grad")(feeds))
    assert set(found) == set(net.weights)
    rng = np.random.default_rng(1)
    for name, weight in net.weights.items():
        places = [tuple(rng.integers(0, weight.shape)) for _ in range(12)]
        expected = net.slopes(name, places)
        assert relative_error(np.array([found[name][at] for at in places]), expected) < 2e-4, name


def test_tables_that_differ_between_images_are_refused(tmp_path):
    net = Classifier(0, True, 0, 0, None)
    net.weights["rope.cos"][1] *= -1
    bundle, said = rewritten(net.save(tmp_path / "model.onnx"), tmp_path)
    assert bundle is None and "mixes its images" in said, said


def test_positions_that_differ_between_images_are_refused(tmp_path):
    net = Classifier(0, True, 0, 0, [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [0, 0, 0, 0, 0]])
    bundle, said = rewritten(net.save(tmp_path / "model.onnx"), tmp_path)
    assert bundle is None and "positions" in said and "differ between the images" in said, said
