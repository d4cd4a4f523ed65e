"""Artifacts other than the bundle, each run by a loop that knows nothing else, against the bundle's own steps."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from safetensors import safe_open
from harness import ENTRIES, Graph, read_tensors, relative_error, rewrite_fixture, spgraph

OPTIONS = ["--alpha", "0.1"]


def batches(name, count):
    """Different batches of the fixture's images."""
    golden = read_tensors(ENTRIES[name]["golden"])
    return [(np.roll(golden["input"], k, axis=-1), np.roll(golden["target"], k)) for k in range(count)]


def steps(bundle, given, state=None, reference=False):
    """The bundle's state after a step on each batch, in ONNX Runtime or in ONNX's reference evaluator."""
    step, state = Graph(bundle.folder / "step.onnx", double=reference), state or bundle.start()
    for images, target in given:
        state = bundle.next_state(step(bundle.feeds(state, images, target)))
    return state


def train_single(path, given):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    manifest = json.loads(session.get_modelmeta().custom_metadata_map["spgraph.manifest"])
    image, label = manifest["data"]["input"], manifest["data"]["target"]
    names, state = [o.name for o in session.get_outputs()], {}
    for images, target in given:
        feeds = {image["name"]: images.astype(image["dtype"]), label["name"]: target}
        outputs = dict(zip(names, session.run(None, feeds | state)))
        state = {s["input"]: outputs[s["output"]] for s in manifest["state"]}
    return {s["name"]: state[s["input"]] for s in manifest["state"]}


def agree(found, expected, tolerance=1e-6):
    assert found.keys() == expected.keys()
    worst = max((relative_error(found[n], expected[n]), n) for n in expected if np.any(expected[n]))
    assert worst[0] <= tolerance, worst


@pytest.mark.parametrize("options", [[], ["--optimizer", "adamw", "--ema", "0.9"], ["--dialect", "inlined", "--nesterov"]], ids=str)
def test_single(tmp_path, options):
    bundle = rewrite_fixture("basic.bn", tmp_path / "bundle", *OPTIONS, *options, mode="train", penalty="l2-sp")
    given = batches("basic.bn", 3)
    expected = steps(bundle, given)
    made, direct = tmp_path / "one.onnx", tmp_path / "direct"
    spgraph("convert", tmp_path / "bundle", "--to", "single", "-o", made)
    spgraph("rewrite", "--from-manifest", tmp_path / "bundle" / "manifest.json", "--artifact", "single", "-o", direct, bundle_source())
    assert [f.name for f in direct.iterdir()] == ["step.onnx"]
    assert made.read_bytes() == (direct / "step.onnx").read_bytes()
    onnx.checker.check_model(onnx.load(made))
    agree(train_single(made, given), expected)


def bundle_source():
    from harness import FIXTURES

    return FIXTURES / ENTRIES["basic.bn"]["file"]


def test_two_halves_of_a_training_by_way_of_an_artifact(tmp_path):
    """A bundle whose start is what a bundle has reached goes on to the same weights."""
    bundle = rewrite_fixture("basic.bn", tmp_path / "bundle", *OPTIONS, mode="train", penalty="l2-sp")
    spgraph("convert", tmp_path / "bundle", "--to", "bundle", "-o", tmp_path / "again")
    for file in ("init", "step", "eval", "template"):
        assert (tmp_path / "bundle" / f"{file}.onnx").read_bytes() == (tmp_path / "again" / f"{file}.onnx").read_bytes(), file


def combined(model):
    """What ONNX says `training_info` means: the algorithm's graph appended to the model's."""
    (info,) = model.training_info
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.training_info[:]
    for field in ("node", "initializer", "input", "output"):
        getattr(whole.graph, field).extend(getattr(info.algorithm, field))
    return whole, info


def bound(binding):
    return {entry.key: entry.value for entry in binding}


class TrainingInfo:
    """Runs a model's training by what its `training_info` says, in ONNX's reference evaluator."""

    def __init__(self, path):
        self.model, self.info = combined(onnx.load(path))
        onnx.checker.check_model(onnx.load(path), full_check=True)
        onnx.checker.check_model(self.model, full_check=True)
        self.values = {t.name: onnx.numpy_helper.to_array(t) for t in self.model.graph.initializer}
        self.runner = ReferenceEvaluator(self.model)
        self.updates = bound(self.info.update_binding)
        assert self.updates.keys() <= self.values.keys()
        assert len(set(self.updates.values())) == len(self.updates)

    def initialize(self):
        if self.info.HasField("initialization"):
            graph = onnx.helper.make_model(self.info.initialization, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)
            outputs = dict(zip([o.name for o in graph.graph.output], ReferenceEvaluator(graph).run(None, {})))
            for name, output in bound(self.info.initialization_binding).items():
                assert np.array_equal(self.values[name], outputs[output]), name

    def step(self, feeds):
        wanted = list(self.updates.values())
        found = self.runner.run(wanted, self.values | feeds)
        self.values |= dict(zip(self.updates, found))


@pytest.mark.parametrize("options", [[], ["--optimizer", "adamw", "--ema", "0.9"], ["--momentum", "0"], ["--dialect", "inlined"]], ids=str)
def test_training_info(tmp_path, options):
    """ONNX's own description of a training, executed, equals the bundle's steps."""
    bundle = rewrite_fixture("basic.bn", tmp_path / "bundle", *OPTIONS, *options, mode="train", penalty="l2-sp")
    given = batches("basic.bn", 2)
    path = tmp_path / "training.onnx"
    spgraph("convert", tmp_path / "bundle", "--to", "training-info", "-o", path)
    training = TrainingInfo(path)
    training.initialize()
    manifest = json.loads(bound(training.model.metadata_props)["spgraph.manifest"])
    for images, target in given:
        training.step({manifest["data"]["input"]["name"]: images, manifest["data"]["target"]["name"]: target})
    agree({s["name"]: training.values[s["input"]] for s in manifest["state"]}, steps(bundle, given, reference=True))
    # A stock runtime sees the network.
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    network = bundle.graph("eval")({manifest["data"]["input"]["name"]: given[0][0]} | bundle.start())
    (found,) = session.run(None, {session.get_inputs()[0].name: given[0][0]})
    assert relative_error(found, *network.values()) <= 1e-6


def test_what_a_run_has_reached(tmp_path):
    """The state after its last step, momenta included, in every artifact that holds one; and a bundle that starts there."""
    spgraph("synth", "--task", "target-a", "--per-class", "2", "--size", "16", "-o", tmp_path / "photos")
    spgraph("new", "resnet20", "--classes", "6", "--input", "3x16x16", "-o", tmp_path / "m.onnx")
    spgraph("rewrite", tmp_path / "m.onnx", "--batch", "4", "-o", tmp_path / "b.spgraph")
    spgraph("finetune", tmp_path / "b.spgraph", "--data", tmp_path / "photos", "--steps", "3", "-o", tmp_path / "run")
    kept = {}
    for file in ("state", "optimizer"):
        with safe_open(tmp_path / "run" / f"{file}.safetensors", "np") as tensors:
            kept |= {name: tensors.get_tensor(name) for name in tensors.keys()}
    assert any(n.endswith(".momentum") and np.any(t) for n, t in kept.items())
    for kind in ("single", "training-info"):
        spgraph("convert", tmp_path / "run", "--to", kind, "-o", tmp_path / f"{kind}.onnx")
        model = onnx.load(tmp_path / f"{kind}.onnx")
        graphs = [model.graph, *(i.algorithm for i in model.training_info)]
        found = {t.name: onnx.numpy_helper.to_array(t) for g in graphs for t in g.initializer}
        manifest = json.loads(bound(model.metadata_props)["spgraph.manifest"])
        for s in manifest["state"]:
            assert np.array_equal(found[s["input"]], kept[s["name"]]), s["name"]
    spgraph("convert", tmp_path / "run", "--to", "bundle", "-o", tmp_path / "on")
    start = Graph(tmp_path / "on" / "init.onnx")({})
    assert start.keys() == kept.keys() and all(np.array_equal(start[n], kept[n]) for n in kept)
    assert "rewriting" not in json.loads((tmp_path / "on" / "manifest.json").read_text())
    spgraph("finetune", tmp_path / "on", "--data", tmp_path / "photos", "--steps", "1", "-o", tmp_path / "further")
