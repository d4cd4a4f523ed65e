"""`--dropout keep`: a step's loss and gradients are those of the network with the masks in the place of its Dropouts, as an independent numpy program makes
the masks (dropout_masks.py) and ONNX's reference evaluator runs the network in float64; stopped runs, parts of batches and other runtimes draw the same."""
import json
import subprocess
import time

import dropout_masks
import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, FIXTURES, Bundle, rewrite, spgraph
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file

CLASSES = 3
BATCH = 4
IMAGE = [2, 4, 6]


class Net:
    """A network in float64 whose layers are smooth, with Dropouts as the opset writes them."""

    def __init__(self, seed, opset=13, image=IMAGE):
        self.random = np.random.default_rng(seed)
        self.opset, self.nodes, self.constants, self.ratios, self.count = opset, [], [], [], 0
        self.image = image
        self.shape, self.at = ["N", *image], "input"

    def constant(self, value, name=None):
        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, op, inputs, shape=None, **attributes):
        self.count += 1
        out = f"v{self.count}"
        self.nodes.append(helper.make_node(op, inputs, [out], f"/n{self.count}/{op}", **attributes))
        self.at, self.shape = out, self.shape if shape is None else shape
        return out

    def weight(self, *shape):
        return self.constant(self.random.normal(size=shape) / np.sqrt(np.prod(shape[1:]) or 1), f"w{len(self.constants)}.weight")

    def dropout(self, ratio, of=None, training=False):
        """None: what ONNX takes where nothing is said."""
        self.ratios.append(0.5 if ratio is None else ratio)
        inputs, attributes = [of or self.at], {}
        if self.opset < 12:
            attributes = {} if ratio is None else {"ratio": ratio}
        else:
            inputs += [] if ratio is None and not training else [self.constant(np.float32(self.ratios[-1]))]
            inputs += [self.constant(np.bool_(True))] if training else []
        return self.node("Dropout", inputs, **attributes)

    def tanh(self):
        return self.node("Tanh", [self.at])

    def linear(self, width):
        inside = self.shape[-1]
        if len(self.shape) == 2:
            bias = self.constant(self.random.normal(size=width), f"b{len(self.constants)}.bias")
            return self.node("Gemm", [self.at, self.weight(width, inside), bias], [self.shape[0], width], transB=1)
        return self.node("MatMul", [self.at, self.constant(self.random.normal(size=(inside, width)) / np.sqrt(inside), f"w{len(self.constants)}.weight")], [*self.shape[:-1], width])

    def conv(self, channels):
        return self.node("Conv", [self.at, self.weight(channels, self.shape[1], 3, 3)], [self.shape[0], channels, *self.shape[2:]], pads=[1, 1, 1, 1])

    def batch_norm(self):
        channels, uniform = self.shape[1], self.random.uniform
        parts = [("weight", uniform(0.5, 2, channels)), ("bias", uniform(-1, 1, channels)), ("running_mean", uniform(-1, 1, channels)), ("running_var", uniform(0.5, 2, channels))]
        return self.node("BatchNormalization", [self.at, *(self.constant(v, f"bn{len(self.constants)}.{name}") for name, v in parts)])

    def pool(self):
        return self.node("GlobalAveragePool", [self.at], [self.shape[0], self.shape[1], 1, 1])

    def flat(self):
        width = int(np.prod(self.shape[1:]))
        return self.node("Flatten", [self.at], ["N", width], axis=1)

    def reshape(self, shape, symbols):
        return self.node("Reshape", [self.at, self.constant(np.array(shape, np.int64))], symbols)

    def transpose(self, order):
        return self.node("Transpose", [self.at], [self.shape[a] for a in order], perm=order)

    def model(self):
        nodes = [*self.nodes]
        nodes[-1].output[0] = "logits"
        inputs = [helper.make_tensor_value_info("input", TensorProto.DOUBLE, ["N", *self.image])]
        outputs = [helper.make_tensor_value_info("logits", TensorProto.DOUBLE, ["N", CLASSES])]
        graph = helper.make_graph(nodes, "net", inputs, outputs, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.checker.check_model(made, full_check=True)
        return made


def mlp(net):
    net.dropout(0.2)
    net.flat(), net.linear(7), net.tanh(), net.dropout(0.5), net.linear(6), net.tanh(), net.dropout(0.1), net.linear(CLASSES)


def convolutional(net):
    net.conv(5), net.tanh(), net.dropout(0.3), net.conv(6), net.tanh(), net.pool(), net.dropout(0.4), net.flat(), net.linear(CLASSES)


def sequence(net):
    channels, *rest = net.image
    net.reshape([0, channels, -1], ["N", channels, int(np.prod(rest))])
    net.linear(5), net.tanh(), net.dropout(0.25)
    net.transpose([1, 0, 2]), net.dropout(0.35), net.linear(4), net.tanh()
    net.transpose([1, 0, 2]), net.flat(), net.dropout(0.5), net.linear(CLASSES)


def shared(net):
    net.flat(), net.linear(8), net.tanh()
    x = net.at
    parts = [net.dropout(ratio, of=x) for ratio in (0.5, 0.5, 0.2)]
    net.node("Sum", parts), net.linear(CLASSES)


def merged(net):
    """The batch and another axis in one."""
    channels, height, width = net.image
    net.reshape([-1, width], ["N", width])
    net.dropout(0.3), net.linear(5), net.tanh(), net.dropout(0.3)
    net.reshape([-1, channels * height * 5], ["N", channels * height * 5])
    net.dropout(0.3), net.linear(CLASSES)


def nothing_said(net):
    net.flat(), net.linear(6), net.tanh(), net.dropout(None), net.linear(CLASSES)


def nothing_dropped(net):
    net.flat(), net.linear(6), net.tanh(), net.dropout(0.0), net.linear(5), net.dropout(0.5), net.linear(CLASSES)


def in_training_mode(net):
    net.flat(), net.linear(6), net.tanh(), net.dropout(0.3, training=True), net.linear(CLASSES)


def whole_channels(net):
    """Ones of every channel through a Dropout, times the maps."""
    net.conv(6), net.tanh()
    maps, shape = net.at, net.shape
    sizes = net.node("Shape", [maps])
    two = net.node("Slice", [sizes, net.constant(np.array([0])), net.constant(np.array([2]))])
    four = net.node("Concat", [two, net.constant(np.array([1, 1]))], axis=0)
    net.node("ConstantOfShape", [four], value=helper.make_tensor("one", TensorProto.DOUBLE, [1], [1.0]))
    net.shape = [shape[0], shape[1], 1, 1]
    ones = net.dropout(0.5)
    net.node("Mul", [maps, ones], shape)
    net.pool(), net.flat(), net.linear(CLASSES)


MEMBERS = {f.__name__: (f, opset) for f in (mlp, convolutional, sequence, shared, merged, nothing_said, nothing_dropped, in_training_mode, whole_channels) for opset in (13,)}
MEMBERS |= {f"{name}.opset{opset}": (MEMBERS[name][0], opset) for name, opset in (("mlp", 7), ("nothing_said", 10), ("convolutional", 22))}


def random_net(net):
    """A chain of layers with Dropouts anywhere between."""
    choose = net.random
    for _ in range(choose.integers(1, 5)):
        rank = len(net.shape)
        steps = [net.tanh, lambda: net.dropout(float(choose.choice([0.1, 0.25, 0.5, 0.75])))]
        if rank == 4 and net.shape[2] > 1:
            steps += [lambda: net.conv(int(choose.integers(2, 7))), net.flat]
        if rank == 4 and net.shape[0] == "N":
            c, rest = net.shape[1], int(np.prod(net.shape[2:]))
            steps += [lambda c=c, rest=rest: net.reshape([0, c, rest], ["N", c, rest])]
        if rank == 3:
            steps += [lambda: net.linear(int(choose.integers(2, 7)))]
        if rank == 2:
            steps += [lambda: net.linear(int(choose.integers(4, 9)))]
        steps[choose.integers(len(steps))]()
        net.dropout(float(choose.choice([0.1, 0.25, 0.5, 0.75])))
    if len(net.shape) != 2:
        net.flat()
    net.linear(CLASSES)


def masked(model, images, seed, step):
    """The network with masks in the place of its Dropouts, each for the shape that its input has for these images."""
    of_shapes = onnx.ModelProto()
    of_shapes.CopyFrom(model)
    for node in of_shapes.graph.node:
        if node.doc_string.startswith("mask "):
            node.CopyFrom(helper.make_node("Identity", [node.doc_string.split()[1]], list(node.output), node.name))
    drops = [n for n in model.graph.node if n.op_type == "Dropout" or n.doc_string.startswith("mask ")]
    reads = lambda n: n.doc_string.split()[1] if n.doc_string.startswith("mask ") else n.input[0]
    del of_shapes.graph.output[:]
    of_shapes.graph.output.extend(helper.make_empty_tensor_value_info(reads(n)) for n in drops)
    known = ReferenceEvaluator(of_shapes).run(None, {model.graph.input[0].name: images}) if drops else []
    known = {n.name: v.shape for n, v in zip(drops, known)}
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    number = 0
    for node in made.graph.node:
        if node.name in known and node.op_type != "Dropout":
            # A product with a random mask: what it multiplies, the share that is dropped, and the axes along which the mask differs.
            _, of, ratio, axes = node.doc_string.split()
            axes = [int(a) for a in axes.split(",") if a != "-"]
            shape = known[node.name]
            values = dropout_masks.mask([shape[a] for a in axes], float(ratio), images.dtype.type, seed=seed, step=step, number=number)
            number += 1
            made.graph.initializer.append(numpy_helper.from_array(np.reshape(values, [n if a in axes else 1 for a, n in enumerate(shape)]), f"{node.name}.mask"))
            node.CopyFrom(helper.make_node("Mul", [of, f"{node.name}.mask"], list(node.output), node.name))
            continue
        if node.op_type != "Dropout":
            continue
        attribute = [a.f for a in node.attribute if a.name == "ratio"]
        ratio = attribute[0] if attribute else float(constants[node.input[1]]) if len(node.input) > 1 else 0.5
        values = np.ones(known[node.name], images.dtype)
        if ratio > 0:
            values = dropout_masks.mask(known[node.name], ratio, images.dtype.type, seed=seed, step=step, number=number)
            number += 1
        made.graph.initializer.append(numpy_helper.from_array(values, f"{node.name}.mask"))
        inputs, outputs, name = [node.input[0], f"{node.name}.mask"], list(node.output), node.name
        node.CopyFrom(helper.make_node("Mul", inputs, outputs, name))
    return made


class Reference:
    """Loss and its slopes, of a network with masks."""

    def __init__(self, model):
        self.model = model
        self.weights = {t.name: t for t in self.model.graph.initializer if t.name.endswith((".weight", ".bias"))}
        self.evaluator = None

    def loss(self, images, target, moved=None):
        model = self.model
        if moved:
            model = onnx.ModelProto()
            model.CopyFrom(self.model)
            for t in model.graph.initializer:
                if t.name in moved:
                    t.CopyFrom(numpy_helper.from_array(moved[t.name], t.name))
        logits = ReferenceEvaluator(model).run(None, {"input": images})[0]
        shifted = logits - logits.max(1, keepdims=True)
        chances = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        return -chances[np.arange(len(target)), target].mean()

    def slope(self, name, direction, images, target):
        start, by = numpy_helper.to_array(self.weights[name]), 1e-5
        ahead, behind = (self.loss(images, target, {name: start + s * by * direction}) for s in (1, -1))
        return (ahead - behind) / (2 * by)


def check(model, folder, batch, seed=0, steps=2, source=None, mode="keep", batch_norm="frozen"):
    onnx.save(source or model, folder / "net.onnx")
    bundle = rewrite(folder / "net.onnx", folder / "bundle", "--dropout", mode, "--split", "--seed", seed, batch=batch, batch_norm=batch_norm)
    random = np.random.default_rng(seed + 17)
    image = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    images, target = random.normal(size=(BATCH, *image)), random.integers(0, CLASSES, BATCH)
    grad, state = bundle.graph("grad"), bundle.start()
    for step in range(steps):
        expected = masked(model, images, seed, step)
        for node in expected.graph.node:
            if node.op_type == "BatchNormalization" and batch_norm == "train":
                node.attribute.append(helper.make_attribute("training_mode", 1))
                node.output.extend([f"{node.name}.mean", f"{node.name}.variance"])
        reference = Reference(expected)
        outputs = grad(bundle.feeds(state, images, target))
        assert abs(outputs["loss"] - reference.loss(images, target)) < 1e-12, step
        found = bundle.gradients(outputs)
        assert found.keys() == reference.weights.keys()
        for name, gradient in found.items():
            direction = random.normal(size=gradient.shape)
            slope = reference.slope(name, direction, images, target)
            # Differences of losses near 1 over 2e-5: to about 1e-10.
            assert abs((gradient * direction).sum() - slope) < 1e-8 + 1e-7 * abs(slope), (step, name)
        counter = [s for s in bundle.state if s.get("meaning") == "random"]
        for s in counter:
            assert (outputs[s["output"]] == [seed % dropout_masks.P, step + 1]).all()
            state[s["name"]] = outputs[s["output"]]
    return bundle


@pytest.mark.parametrize("batch", [BATCH, "dynamic"])
@pytest.mark.parametrize("name", MEMBERS)
def test_loss_and_gradients_are_those_of_the_masked_network(name, batch, tmp_path):
    build, opset = MEMBERS[name]
    net = Net(len(name), opset)
    build(net)
    check(net.model(), tmp_path, batch, seed=len(name))


@pytest.mark.parametrize("seed", range(8))
def test_so_are_those_of_any_chain(seed, tmp_path):
    net = Net(seed)
    random_net(net)
    check(net.model(), tmp_path, [BATCH, "dynamic"][seed % 2], seed=[seed, 2**40 + seed][seed % 3 == 0])


def with_dropouts(model, ratio):
    """The model with a Dropout behind every second rectifier."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.graph.initializer.append(numpy_helper.from_array(np.float32(ratio), "ratio"))
    nodes, behind = [], {}
    for node in made.graph.node:
        node.input[:] = [behind.get(name, name) for name in node.input]
        nodes.append(node)
        if node.op_type == "Relu" and sum(n.op_type == "Relu" for n in nodes) % 2:
            out = node.output[0]
            behind[out] = f"{out}.dropped"
            nodes.append(helper.make_node("Dropout", [out, "ratio"], [behind[out]], f"{node.name}/Dropout"))
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del made.graph.node[:], made.graph.value_info[:]
    made.graph.node.extend(nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


@pytest.mark.parametrize("mode", ["train", "frozen"])
@pytest.mark.parametrize("batch", [BATCH, "dynamic"])
def test_beside_live_batch_norm(batch, mode, tmp_path):
    net = Net(5, 14)
    net.conv(5), net.batch_norm(), net.tanh(), net.dropout(0.3), net.conv(4), net.batch_norm(), net.tanh(), net.pool(), net.dropout(0.4), net.flat(), net.linear(CLASSES)
    check(net.model(), tmp_path, batch, batch_norm=mode)


@pytest.mark.parametrize("options", [["--regularizer", "delta"], ["--regularizer", "lwf"]], ids=" ".join)
def test_the_source_network_beside_the_trained_one_drops_nothing(options, tmp_path):
    onnx.save(with_dropouts(onnx.load(FIXTURES / "basic.bn.onnx"), 0.25), tmp_path / "net.onnx")
    nodes = {}
    for mode in ("off", "keep"):
        spgraph("rewrite", tmp_path / "net.onnx", "--dropout", mode, "-o", tmp_path / mode, "--batch", BATCH, "--classes", "3", *options)
        nodes[mode] = [(n.name, n.op_type) for n in onnx.load(tmp_path / mode / "step.onnx").graph.node]
    assert sum("DropoutTrain" in op for _, op in nodes["keep"]) >= 4
    off, keep = ({n: op for n, op in nodes[mode] if n.startswith("source")} for mode in ("off", "keep"))
    assert keep.items() >= off.items() and len(off) > 5
    assert not any("Dropout" in op for op in keep.values())


@pytest.mark.parametrize("batch", [BATCH, "dynamic"])
def test_a_share_is_dropped_before_the_classifier(batch, tmp_path):
    """As if the file had such a Dropout there, and none elsewhere."""
    nets = [Net(3) for _ in range(2)]
    for net, own in zip(nets, (True, False)):
        net.conv(5), net.tanh(), net.pool()
        # Of the same layers, and the same weights.
        net.dropout(0.5) if own else net.node("Identity", [net.at])
        net.flat()
        net.node("Identity", [net.at]) if own else net.dropout(0.3)
        net.linear(CLASSES)
    source, expected = (net.model() for net in nets)
    check(expected, tmp_path, batch, source=source, mode="0.3")


@pytest.mark.parametrize("mode", ["keep", "0.5"])
def test_what_shrinks_features_sees_all_of_them(mode, tmp_path):
    """Batch spectral shrinkage looks at the features before they are dropped: its value is that without dropout, as long as the weights are."""
    values = {}
    for dropout in ("off", mode):
        options = ["--classes", "3", "--batch", "4", "--regularizer", "bss=0.01", "--dropout", dropout, "--split", "-o", tmp_path / dropout]
        spgraph("rewrite", FIXTURES / "dropout.onnx", *options)
        bundle = Bundle(tmp_path / dropout)
        random = np.random.default_rng(0)
        feeds = bundle.feeds(bundle.start(), random.normal(size=(4, 3, 16, 16)).astype(np.float32), random.integers(0, 3, 4))
        values[dropout] = bundle.graph("grad")(feeds)["regularizer"]
    if mode == "keep":
        # An earlier Dropout changes the features themselves.
        assert values["off"] != values[mode]
    else:
        assert values["off"] == values[mode] > 0


TRAIN = ["--workers", "1", "--log", "none", "--lr", "0.05", "--warmup", "0"]


def metrics(run):
    return [r for line in (run / "metrics.jsonl").read_text().splitlines() if (r := json.loads(line)).get("kind") == "step"]


def losses(run):
    return np.array([r["data_loss"] for r in metrics(run)])


def train(model, run, images, *options, engine="ort", threads=1):
    spgraph("finetune", model, "--data", images, "-o", run, "--engine", engine, "--threads", threads, *TRAIN, *options)
    return run


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    work = tmp_path_factory.mktemp("images") / "images"
    spgraph("synth", "--task", "target-a", "--per-class", "4", "-o", work)
    return work


DROPOUT = FIXTURES / "dropout.onnx"


def test_a_stopped_run_ends_with_the_same_bits_on_any_number_of_threads(images, tmp_path):
    keep = ["--dropout", "keep", "--batch", "5", "--seed", "3"]
    whole = train(DROPOUT, tmp_path / "whole", images, *keep, "--steps", "12")
    train(DROPOUT, tmp_path / "parts", images, *keep, "--steps", "7", "--schedule", "constant")
    spgraph("finetune", "--resume", "-o", tmp_path / "parts", "--steps", "+5")
    at_once = train(DROPOUT, tmp_path / "at-once", images, *keep, "--steps", "12", "--schedule", "constant")
    threads = train(DROPOUT, tmp_path / "threads", images, *keep, "--steps", "12", threads=2)
    again = tmp_path / "again"
    spgraph("finetune", "--config", whole / "config.toml", "-o", again)
    assert len(losses(whole)) == 12
    expected = (whole / "state.safetensors").read_bytes()
    assert (losses(tmp_path / "parts") == losses(at_once)).all()
    assert (tmp_path / "parts" / "state.safetensors").read_bytes() == (at_once / "state.safetensors").read_bytes()
    for run in (threads, again):
        assert (run / "state.safetensors").read_bytes() == expected, run
    settings = (whole / "config.toml").read_text()
    assert 'dropout = "keep"' in settings
    assert json.loads((whole / "manifest.json").read_text())["rewriting"]["options"]["dropout"] == "keep"
    off = train(DROPOUT, tmp_path / "off", images, "--batch", "5", "--seed", "3", "--steps", "12")
    assert (losses(off) != losses(whole)).all()
    assert 'dropout = "off"' in (off / "config.toml").read_text()


def test_a_killed_run_goes_on_with_the_same_masks(images, tmp_path):
    keep = ["--dropout", "keep", "--batch", "5", "--steps", "60", "--checkpoint-every", "7"]
    whole = train(DROPOUT, tmp_path / "whole", images, *keep)
    command = [BINARY, "finetune", DROPOUT, "--data", images, "-o", tmp_path / "killed", "--engine", "ort", "--threads", "1", *TRAIN, *keep]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list((tmp_path / "killed").glob("checkpoint*")):
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert not (tmp_path / "killed" / "state.safetensors").exists(), "it was through before it could be killed"
    spgraph("finetune", "--resume", "-o", tmp_path / "killed")
    assert (tmp_path / "killed" / "state.safetensors").read_bytes() == (whole / "state.safetensors").read_bytes()


def test_the_masks_of_a_run_are_those_of_its_seed_on_every_engine(images, tmp_path):
    options = ["--dropout", "keep", "--batch", "4", "--steps", "4"]
    runs = {(engine, seed): train(DROPOUT, tmp_path / f"{engine}-{seed}", images, *options, "--seed", seed, engine=engine) for engine, seed in (("ort", 1), ("tract", 1), ("ort", 2))}
    a, b, c = (losses(run) for run in runs.values())
    assert np.abs(a - b).max() < 1e-5 and (a != c).all()
    for (_, seed), run in runs.items():
        assert (load_file(run / "optimizer.safetensors")["optimizer.dropout"] == [seed, 4]).all()


def test_a_bundle_of_any_batch_draws_what_one_of_a_fixed_batch_draws(images, tmp_path):
    for batch in ("4", "dynamic"):
        spgraph("rewrite", DROPOUT, "--classes", "6", "--dropout", "keep", "--batch", batch, "-o", tmp_path / batch)
    fixed, free = (train(tmp_path / batch, tmp_path / f"run-{batch}", images, "--steps", "5", *more) for batch, more in (("4", []), ("dynamic", ["--batch", "4"])))
    assert np.abs(losses(fixed) - losses(free)).max() < 1e-5
    tract = train(tmp_path / "dynamic", tmp_path / "tract", images, "--steps", "5", "--batch", "4", engine="tract")
    assert np.abs(losses(fixed) - losses(tract)).max() < 1e-5


def step_and_halves(bundle, feeds, state):
    whole = bundle.graph("step")(bundle.feeds(state, *feeds))
    first = bundle.graph("grad")(bundle.feeds(state, *feeds))
    gradients = {s["gradient"]: first[s["gradient"]] for s in bundle.state if "gradient" in s}
    second = bundle.graph("apply")(bundle.feeds(state, *feeds) | gradients)
    return whole, first | second


@pytest.mark.parametrize("options", [[], ["--precision", "rounded-f16"], ["--precision", "rounded-bf16"], ["--dialect", "inlined"], ["--start", "input"], ["--optimizer", "adamw", "--ema", "0.9"]], ids=" ".join)
def test_the_halves_draw_what_the_step_draws(options, tmp_path):
    spgraph("rewrite", DROPOUT, "--classes", "3", "--batch", "4", "--dropout", "keep", "--split", "--seed", "9", "-o", tmp_path / "b", *options)
    bundle = Bundle(tmp_path / "b")
    random = np.random.default_rng(0)
    feeds = random.normal(size=(4, 3, 16, 16)).astype(np.float32), random.integers(0, 3, 4)
    state = bundle.start()
    begin = {s["start"]: state[s["name"]] for s in bundle.state if "start" in s}
    bundle.feeds, plain = (lambda *a: plain(*a) | begin), bundle.feeds
    seen = []
    for step in range(3):
        whole, halves = step_and_halves(bundle, feeds, state)
        for s in bundle.state:
            assert np.array_equal(whole[s["output"]], halves[s["output"]]), s["name"]
        seen.append(float(whole["data_loss"]))
        state = bundle.next_state(whole)
        assert (state["optimizer.dropout"] == [9, step + 1]).all()
    assert len(set(seen)) == 3


def test_the_masks_drop_their_share_and_have_nothing_to_do_with_each_other():
    """Of the numpy program: what the step draws is what it draws, by the tests above."""
    for ratio in (0.1, 0.5):
        share = float(np.float32(ratio))
        places = [(seed, step, number) for seed in (0, 1, 2) for step in (0, 1, 7) for number in (0, 1)]
        masks = {at: dropout_masks.stays((64, 768), ratio, *at) for at in places}
        several = np.array([m.ravel() for m in masks.values()], float)
        n = several.shape[1]
        counts = (several.sum(1) - n * (1 - share)) / np.sqrt(n * share * (1 - share))
        assert np.abs(counts).max() < 4.5, counts
        apart = np.corrcoef(several)[np.triu_indices(len(several), 1)] * np.sqrt(n)
        assert np.abs(apart).max() < 4.5 and 0.7 < apart.std() < 1.3
        one = masks[0, 0, 0].astype(float) - (1 - share)
        for lag in (1, 2, 3, 5, 8, 64):
            for a, b in ((one[:, lag:], one[:, :-lag]), (one[lag:], one[:-lag])):
                if a.size:
                    assert abs((a * b).mean()) * np.sqrt(a.size) / (share * (1 - share)) < 4.5, lag
        # Eight in a row, along each axis: 256 patterns.
        ones = np.array([bin(i).count("1") for i in range(256)])
        for bits in (several.reshape(-1, 8), np.concatenate([m.T.reshape(-1, 8) for m in masks.values()])):
            found = np.bincount((bits.astype(int) << np.arange(8)).sum(1), minlength=256)
            expected = (1 - share) ** ones * share ** (8 - ones) * len(bits)
            enough = expected > 5
            chi = ((found - expected) ** 2 / expected)[enough].sum()
            assert abs(chi - enough.sum()) < 5 * np.sqrt(2 * enough.sum())


def test_the_scores_are_spread_evenly_over_their_range():
    scores = dropout_masks.scores((64, 4096), 5, 11, 2)
    found = np.histogram(scores, 512, (0, dropout_masks.P))[0]
    assert scores.min() >= 0 and scores.max() < dropout_masks.P
    assert abs(((found - scores.size / 512) ** 2 / (scores.size / 512)).sum() - 511) < 5 * np.sqrt(2 * 511)


def test_evaluation_and_export_have_the_dropouts_of_the_file(images, tmp_path):
    run = train(DROPOUT, tmp_path / "run", images, "--dropout", "keep", "--batch", "4", "--steps", "3")
    source, tuned = onnx.load(DROPOUT), onnx.load(run / "tuned.onnx")
    kinds = [[(n.op_type, n.name, list(n.input)) for n in m.graph.node] for m in (source, tuned)]
    assert kinds[0] == kinds[1] and any(op == "Dropout" for op, *_ in kinds[0])
    spgraph("rewrite", DROPOUT, "--classes", "3", "--batch", "4", "--dropout", "keep", "-o", tmp_path / "b")
    assert {n.op_type for n in onnx.load(tmp_path / "b" / "eval.onnx").graph.node} <= {"Conv", "Relu", "MaxPool", "Flatten", "Identity", "Gemm"}
    session = onnxruntime.InferenceSession(tmp_path / "b" / "eval.onnx", providers=["CPUExecutionProvider"])
    assert "optimizer.dropout" not in [i.name for i in session.get_inputs()]
