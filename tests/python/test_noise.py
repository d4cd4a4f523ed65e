"""Stochastic depth, Dropout2d and the like, as exporters write them from networks in training mode: random zeros and ones, divided by the share that stays.

The networks are built here in every spelling; masks, losses and slopes come from numpy and ONNX's reference evaluator, as in test_dropout.py."""
import json
import subprocess

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, FIXTURES, Bundle, relative_error, spgraph
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file
from test_dropout import BATCH, CLASSES, Net, check

SPELLINGS = ["less", "bernoulli", "behind", "flipped", "not", "shape"]


class Noisy(Net):
    """A network whose masks differ along some axes only."""

    def __init__(self, seed, declared=None, **options):
        super().__init__(seed, 15, **options)
        self.declared = declared

    def sizes(self, axes):
        """The mask's shape, as a value; written down where the batch is."""
        if self.declared:
            shape = [(self.declared if n == "N" else n) if a in axes else 1 for a, n in enumerate(self.shape)]
            return self.constant(np.array(shape, np.int64))
        x = self.at
        every = self.node("Shape", [x])
        self.at = x
        parts = []
        for axis in range(len(self.shape)):
            parts.append(self.node("Slice", [every, self.constant(np.array([axis])), self.constant(np.array([axis + 1]))]) if axis in axes else self.constant(np.array([1])))
        sizes = self.node("Concat", parts, axis=0)
        self.at = x
        return sizes

    def noise(self, ratio, axes, spelling):
        x, shape, keep = self.at, self.shape, 1 - ratio
        # One number, of any rank that makes the mask none larger.
        number = lambda v: self.constant(np.full([1] * int(self.random.integers(len(shape) + 1)), float(v)))
        filled = lambda v: self.node("ConstantOfShape", [self.sizes(axes)], value=helper.make_tensor("v", TensorProto.DOUBLE, [1], [v]))
        double = {"to": TensorProto.DOUBLE}
        scaled = True
        if spelling == "shape":
            if not self.declared:
                return self.noise(ratio, axes, "less")
            name = self.sizes(axes)
            sizes = numpy_helper.to_array(next(t for t in self.constants if t.name == name))
            self.constants = [t for t in self.constants if t.name != name]
            drawn = self.node("RandomUniform", [], dtype=TensorProto.DOUBLE)
            self.nodes[-1].attribute.append(helper.make_attribute("shape", sizes.tolist()))
            mask = self.node("Div", [self.node("Cast", [self.node("Less", [drawn, number(keep)])], **double), number(keep)])
        elif spelling == "bernoulli":
            mask = self.node("Mul", [number(1 / keep), self.node("Bernoulli", [filled(keep)])])
        else:
            drawn = self.node("RandomUniformLike", [filled(0.0)], dtype=TensorProto.DOUBLE)
            if spelling == "less":
                stays = self.node("Less", [drawn, number(keep)])
            elif spelling == "behind":
                stays = self.node("GreaterOrEqual", [drawn, number(ratio)])
            elif spelling == "flipped":
                stays = self.node("Greater", [number(keep), drawn])
            else:
                stays = self.node("Not", [self.node("Less", [drawn, number(ratio)])])
            mask = self.node("Cast", [stays], **double)
            scaled = spelling != "behind"
            if scaled:
                mask = self.node("Div", [mask, number(keep)])
        order = [x, mask] if self.random.integers(2) else [mask, x]
        self.node("Mul", order, shape)
        self.nodes[-1].doc_string = f"mask {x} {ratio} {','.join(map(str, axes)) or '-'}"
        if not scaled:
            # The reference has the division in its mask.
            self.node("Div", [self.at, number(keep)], shape)
        self.shape = shape

    def model(self):
        made = super().model()
        if self.declared:
            for port in (made.graph.input[0], made.graph.output[0]):
                port.type.tensor_type.shape.dim[0].ClearField("dim_param")
                port.type.tensor_type.shape.dim[0].dim_value = self.declared
        return made


def without_division(model):
    """A source in which the division stands behind the product, as the reference takes it: with the division in the mask."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    products = {n.output[0] for n in made.graph.node if n.doc_string.startswith("mask ")}
    for node in made.graph.node:
        if node.op_type == "Div" and node.input[0] in products:
            node.CopyFrom(helper.make_node("Identity", [node.input[0]], list(node.output), node.name))
    return made


def build(net, spelling):
    """A residual branch that is dropped for whole images, then whole channels, then single features."""
    net.conv(5), net.tanh()
    x, shape = net.at, net.shape
    net.conv(5), net.noise(0.25, [0], spelling)
    net.node("Add", [x, net.at], shape)
    net.tanh(), net.noise(0.5, [0, 1], spelling)
    net.pool(), net.flat(), net.noise(0.2, [0, 1], spelling), net.linear(CLASSES)


@pytest.mark.parametrize("batch", [BATCH, "dynamic"])
@pytest.mark.parametrize("declared", [None, 1, 3])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_loss_and_gradients_are_those_of_the_masked_network(spelling, declared, batch, tmp_path):
    net = Noisy(SPELLINGS.index(spelling), declared)
    build(net, spelling)
    model = net.model()
    check(without_division(model), tmp_path, batch, source=model, seed=11)


def test_one_mask_for_the_whole_batch(tmp_path):
    net = Noisy(7)
    net.conv(5), net.tanh(), net.noise(0.5, [], "less"), net.pool(), net.flat(), net.linear(CLASSES)
    check(net.model(), tmp_path, BATCH, steps=4)


@pytest.mark.parametrize("batch", [BATCH, "dynamic"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2), (1,)], ids=str)
@pytest.mark.parametrize("declared", [None, 1, 3])
def test_masks_where_the_batch_is_the_second_axis(declared, axes, batch, tmp_path):
    net = Noisy(len(axes), declared)
    channels, height, width = net.image
    net.reshape([0, channels, -1], ["N", channels, height * width]), net.linear(5), net.tanh()
    net.transpose([1, 0, 2]), net.noise(0.25, axes, "less"), net.linear(4), net.tanh(), net.transpose([1, 0, 2])
    net.flat(), net.linear(CLASSES)
    check(net.model(), tmp_path, batch, seed=3)


@pytest.mark.parametrize("seed", range(12))
def test_so_are_those_of_any_network(seed, tmp_path):
    """Layers by chance, with noise along axes by chance anywhere between."""
    net = Noisy(100 + seed, [None, 1][seed % 2])
    choose = net.random
    for _ in range(choose.integers(1, 4)):
        rank = len(net.shape)
        [net.tanh, lambda: net.conv(int(choose.integers(2, 6))) if rank == 4 else net.linear(int(choose.integers(3, 8)))][choose.integers(2)]()
        axes = sorted({0} | set(choose.choice(rank, choose.integers(0, rank), replace=False).tolist()))
        net.noise(float(choose.choice([0.1, 0.25, 0.5])), axes, str(choose.choice(SPELLINGS)))
        if rank == 4 and choose.integers(3) == 0:
            net.flat()
    if len(net.shape) != 2:
        net.flat()
    net.linear(CLASSES)
    model = net.model()
    check(without_division(model), tmp_path, [BATCH, "dynamic"][seed % 2], source=model, seed=seed)


@pytest.mark.parametrize("declared", [None, 1])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_without_dropout_and_exported_it_is_the_network_in_inference(spelling, declared, tmp_path):
    net = Noisy(5, declared)
    build(net, spelling)
    model = without_division(net.model())
    onnx.save(net.model(), tmp_path / "net.onnx")
    said = spgraph("rewrite", tmp_path / "net.onnx", "-o", tmp_path / "bundle", "--batch", BATCH)
    assert "off: 3 nodes that drop 0.25, 0.5, 0.2" in said, said
    assert json.loads(spgraph("inspect", tmp_path / "net.onnx", "--json"))["dropout"] == [0.25, 0.5, 0.2] or pytest.fail("dropout")
    for node in model.graph.node:
        if node.doc_string.startswith("mask "):
            node.CopyFrom(helper.make_node("Identity", [node.doc_string.split()[1]], list(node.output), node.name))
    bundle = Bundle(tmp_path / "bundle")
    image = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    images = np.random.default_rng(1).normal(size=(BATCH, *image))
    found = bundle.graph("eval")(bundle.feeds(bundle.start(), images, None))["logits"]
    expected = ReferenceEvaluator(model).run(None, {"input": images})[0]
    assert abs(found - expected).max() < 1e-12
    # The file that an export fills in.
    template = onnx.load(tmp_path / "bundle" / "template.onnx")
    ops = [n.op_type for n in template.graph.node]
    assert not {"RandomUniform", "RandomUniformLike", "Bernoulli", "ConstantOfShape", "Less", "Greater"} & set(ops), ops
    read = {i for n in template.graph.node for i in n.input} | {o.name for o in template.graph.output}
    assert all(t.name in read for t in template.graph.initializer) and all(set(n.output) & read for n in template.graph.node)


def unscaled(net):
    mask = net.node("Cast", [net.node("Less", [net.node("RandomUniformLike", ["input"]), net.constant(np.float64(0.8))])], to=TensorProto.DOUBLE)
    net.at = net.node("Mul", ["input", mask])


def wrongly_scaled(net):
    mask = net.node("Cast", [net.node("Less", [net.node("RandomUniformLike", ["input"]), net.constant(np.float64(0.8))])], to=TensorProto.DOUBLE)
    net.at = net.node("Mul", ["input", net.node("Div", [mask, net.constant(np.float64(0.7))])])


def alpha(net):
    """FeatureAlphaDropout: what is dropped has another value than 0."""
    mask = net.node("Cast", [net.node("Less", [net.node("RandomUniformLike", ["input"]), net.constant(np.float64(0.8))])], to=TensorProto.DOUBLE)
    other = net.node("Mul", [net.node("Add", [mask, net.constant(np.float64(-1))]), net.constant(np.float64(1.545))])
    kept = net.node("Mul", ["input", net.node("Mul", [mask, net.constant(np.float64(0.879))])])
    net.at = net.node("Add", [kept, net.node("Add", [other, net.constant(np.float64(0.309))])])


def used_twice(net):
    mask = net.node("Cast", [net.node("Less", [net.node("RandomUniformLike", ["input"]), net.constant(np.float64(0.8))])], to=TensorProto.DOUBLE)
    mask = net.node("Div", [mask, net.constant(np.float64(0.8))])
    net.at = net.node("Add", [net.node("Mul", ["input", mask]), net.node("Exp", [mask])])


def other_numbers(net):
    drawn = net.node("RandomUniformLike", ["input"], low=-1.0, high=1.0)
    mask = net.node("Cast", [net.node("Less", [drawn, net.constant(np.float64(0.8))])], to=TensorProto.DOUBLE)
    net.at = net.node("Mul", ["input", net.node("Div", [mask, net.constant(np.float64(0.8))])])


DOUBLE = {"to": TensorProto.DOUBLE}


def one(net, *shape, value=0.8):
    return net.constant(np.full(shape, value))


def stays(net, drawn=None, than=None):
    """Zeros and ones of the mean 0.8."""
    drawn = drawn or net.node("RandomUniformLike", ["input"], dtype=TensorProto.DOUBLE)
    return net.node("Cast", [net.node("Less", [drawn, than or one(net)])], **DOUBLE)


def drop(net, mask):
    net.at = net.node("Mul", ["input", net.node("Div", [mask, one(net)])])


def computed_share(net):
    drawn = net.node("Bernoulli", [net.node("Sigmoid", ["input"])])
    mask = net.node("Cast", [net.node("Greater", [drawn, one(net, value=0.5)])], **DOUBLE)
    net.at = net.node("Mul", ["input", net.node("Div", [mask, one(net, value=0.5)])])


def several_shares(net):
    share = net.node("Expand", [net.constant(np.linspace(0.1, 0.9, 6)), net.node("Shape", ["input"])])
    mask = net.node("Cast", [net.node("Greater", [net.node("Bernoulli", [share]), one(net, value=0.5)])], **DOUBLE)
    net.at = net.node("Mul", ["input", net.node("Div", [mask, one(net, value=0.5)])])


def integers_compared(net):
    """Numbers below 1 are 0 as integers, which is always less."""
    whole = net.node("Cast", [net.node("RandomUniformLike", ["input"], dtype=TensorProto.DOUBLE)], to=TensorProto.INT32)
    drop(net, stays(net, net.node("Cast", [whole], **DOUBLE)))


def integer_share(net):
    share = net.node("Cast", [net.node("Cast", [one(net)], to=TensorProto.INT32)], **DOUBLE)
    drop(net, stays(net, than=share))


def integer_divisor(net):
    """1.2 as an integer is 1: nothing is divided."""
    by = net.node("Cast", [net.node("Cast", [one(net, value=1.25)], to=TensorProto.INT64)], **DOUBLE)
    net.at = net.node("Mul", ["input", net.node("Mul", [stays(net), by])])


def rounded(net, to=TensorProto.INT64):
    """1/0.8 as an integer is 1: the division is undone."""
    mask = net.node("Cast", [net.node("Div", [stays(net), one(net)])], to=to)
    net.at = net.node("Mul", ["input", net.node("Cast", [mask], **DOUBLE)])


def truth(net):
    rounded(net, TensorProto.BOOL)


def rounded_like(net):
    mask = net.node("CastLike", [net.node("Div", [stays(net), one(net)]), net.constant(np.int32(1))])
    net.at = net.node("Mul", ["input", net.node("Cast", [mask], **DOUBLE)])


def pooled(net):
    """Something that is smaller than the image, for the mask's numbers to make more of it."""
    net.node("GlobalAveragePool", ["input"])
    return net.at, net.node("RandomUniformLike", [net.at], dtype=TensorProto.DOUBLE)


def grown_product(net):
    x, drawn = pooled(net)
    net.at = net.node("Div", [net.node("Mul", [x, stays(net, drawn)]), one(net, 2, 4, 6)])


def grown_by_a_computed_number(net):
    x, drawn = pooled(net)
    by = net.node("Expand", [one(net), net.node("Shape", ["input"])])
    net.at = net.node("Div", [net.node("Mul", [x, stays(net, drawn)]), by])


def grown_comparison(net):
    x, drawn = pooled(net)
    net.at = net.node("Mul", [x, net.node("Div", [stays(net, drawn, one(net, 2, 4, 6)), one(net)])])


def grown_mask(net):
    x, drawn = pooled(net)
    net.at = net.node("Mul", [x, net.node("Div", [stays(net, drawn), one(net, 1, 4, 6)])])


def two_masks(net):
    masks = [net.node("Div", [stays(net), one(net)]) for _ in range(2)]
    net.at = net.node("Mul", ["input", net.node("Mul", masks)])


def added(net):
    net.at = net.node("Add", ["input", net.node("RandomNormalLike", ["input"])])


OTHER = [unscaled, wrongly_scaled, alpha, used_twice, other_numbers, added, computed_share, several_shares, integers_compared, integer_share, integer_divisor, rounded, truth]
OTHER += [rounded_like, grown_product, grown_by_a_computed_number, grown_comparison, grown_mask, two_masks]


@pytest.mark.parametrize("mode", ["off", "keep"])
@pytest.mark.parametrize("spoil", OTHER)
def test_other_noise_is_refused(spoil, mode, tmp_path):
    net = Net(1, 15)
    spoil(net)
    net.flat(), net.linear(CLASSES)
    onnx.save(net.model(), tmp_path / "net.onnx")
    done = subprocess.run([BINARY, "rewrite", tmp_path / "net.onnx", "-o", tmp_path / "bundle", "--dropout", mode], capture_output=True, text=True)
    assert done.returncode == 1 and "draws random numbers" in done.stderr and "model.eval()" in done.stderr, done.stderr
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("where", ["share", "divisor", "behind"])
def test_numbers_of_a_higher_rank_than_what_they_lie_over_are_refused(where, tmp_path):
    net = Net(1, 15)
    net.flat()
    x, at = net.at, lambda place: one(net, *[1] * (3 if place == where else 0))
    mask = stays(net, net.node("RandomUniformLike", [x], dtype=TensorProto.DOUBLE), at("share"))
    if where == "behind":
        net.node("Div", [net.node("Mul", [x, mask]), at("behind")])
    else:
        net.node("Mul", [x, net.node("Div", [mask, at("divisor")])])
    net.node("Squeeze", [net.at, net.constant(np.array([0]))]), net.linear(CLASSES)
    onnx.save(net.model(), tmp_path / "net.onnx")
    done = subprocess.run([BINARY, "rewrite", tmp_path / "net.onnx", "-o", tmp_path / "bundle"], capture_output=True, text=True)
    assert done.returncode == 1 and "its random mask of the shape 1x" in done.stderr and "model.eval()" in done.stderr, done.stderr


def test_a_mask_of_rows_of_the_one_image_is_refused(tmp_path):
    """Written for one image, it says nothing of the rows of several."""
    net = Noisy(3, 1)
    channels, height, width = net.image
    net.reshape([-1, width], ["N", width]), net.linear(5)
    net.noise(0.25, [1], "less"), net.reshape([-1, channels * height * 5], ["N", channels * height * 5]), net.linear(CLASSES)
    onnx.save(net.model(), tmp_path / "net.onnx")
    for batch in [BATCH, "dynamic"]:
        done = subprocess.run([BINARY, "rewrite", tmp_path / "net.onnx", "-o", tmp_path / "bundle", "--batch", str(batch)], capture_output=True, text=True)
        assert done.returncode == 1 and "its random mask of the shape 1x5" in done.stderr, done.stderr


NOISE = FIXTURES / "noise"
# What drops, with the axes along which its masks differ.
DROPS = {"paths": [(0.2, 4, (0,)), (0.1, 4, ()), (0.3, 4, (0,)), (0.4, 2, (0, 1))], "channels": [(0.25, 4, (0, 1)), (0.5, 3, (0, 1)), (0.2, 5, (0, 1))]}
FILES = sorted(p.name.removesuffix(".onnx") for p in NOISE.glob("*.onnx"))


@pytest.mark.parametrize("file", FILES)
def test_what_pytorch_exports_is_its_network_in_evaluation_mode(file, tmp_path):
    name = file.split(".")[0]
    golden = load_file(NOISE / f"{name}.safetensors")
    said = spgraph("rewrite", NOISE / f"{file}.onnx", "-o", tmp_path / "bundle", "--batch", BATCH, "--split", "--penalty", "none")
    assert f"off: {len(DROPS[name])} nodes that drop" in said, said
    bundle = Bundle(tmp_path / "bundle")
    feeds = bundle.feeds(bundle.start(), golden["input"], golden["target"])
    found = next(iter(bundle.graph("eval")(feeds).values()))
    assert relative_error(found, golden["logits"]) < 1e-5
    gradients = bundle.gradients(bundle.graph("grad")(feeds))
    assert len(gradients) == sum(key.startswith("grad/") for key in golden)
    for key, gradient in gradients.items():
        assert relative_error(gradient, golden[f"grad/{key}"]) < 1e-4, key


@pytest.mark.parametrize("file", FILES)
def test_what_pytorch_exports_drops_whole_images_and_channels(file, tmp_path):
    """Where the graph applies a mask, its zeros are whole, and as many as the share says."""
    name = file.split(".")[0]
    spgraph("rewrite", NOISE / f"{file}.onnx", "-o", tmp_path / "bundle", "--batch", 64, "--split", "--dropout", "keep")
    bundle = Bundle(tmp_path / "bundle")
    model = onnx.load(tmp_path / "bundle" / "grad.onnx")
    masks = [n.output[0] for n in model.graph.node if n.op_type.startswith("DropoutMask")]
    assert len(masks) == len(DROPS[name])
    for output in masks:
        model.graph.output.append(helper.make_tensor_value_info(output, TensorProto.BOOL, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).normal(size=(64, 3, 6, 6)).astype(np.float32)
    feeds = bundle.feeds(bundle.start(), images, np.zeros(64, np.int64))
    feeds = {k: v for k, v in feeds.items() if k in {i.name for i in session.get_inputs()}}
    for stays, (ratio, rank, axes) in zip(session.run(masks, feeds), DROPS[name]):
        if not file.endswith("batch"):
            # Of one image nobody can tell a mask for the batch from one for the image.
            axes = axes or (0,)
        own = [64 if a == 0 else stays.shape[a - rank] if a in axes else 1 for a in range(rank)] if axes else [1]
        assert stays.size == np.prod(own) and all((stays.shape[a - rank] > 1) == (a in axes) for a in range(rank) if stays.ndim == rank), (stays.shape, ratio)
        if stays.size > 1:
            assert abs(1 - stays.mean() - ratio) < 4 * np.sqrt(ratio * (1 - ratio) / stays.size), ratio
