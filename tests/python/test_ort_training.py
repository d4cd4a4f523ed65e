"""What ONNX Runtime's training API loads, read by other means: the checkpoint by the flatbuffers package, the models by the ONNX checker.

The API itself, which needs Python 3.11 and its last release, trains them in `make test-ort-training`.
"""
import json

import flatbuffers
import numpy as np
import onnx
import pytest
from flatbuffers import number_types
from flatbuffers.table import Table
from harness import rewrite_fixture, spgraph

GIVEN = ["--alpha", "0.1"]


class Reader:
    """A table of a flatbuffer by the numbers of its fields."""

    def __init__(self, data, at):
        self.table = Table(data, at)

    @classmethod
    def root(cls, data):
        assert data[4:8] == b"ODTC"
        return cls(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0))

    def at(self, slot):
        return self.table.Offset(4 + 2 * slot)

    def number(self, slot, flags, default=0):
        offset = self.at(slot)
        return self.table.Get(flags, self.table.Pos + offset) if offset else default

    def text(self, slot):
        return self.table.String(self.table.Pos + self.at(slot)).decode()

    def table_at(self, slot):
        offset = self.at(slot)
        return Reader(self.table.Bytes, self.table.Indirect(self.table.Pos + offset)) if offset else None

    def tables(self, slot):
        offset = self.at(slot)
        if not offset:
            return []
        start = self.table.Vector(offset)
        return [Reader(self.table.Bytes, self.table.Indirect(start + 4 * i)) for i in range(self.table.VectorLen(offset))]

    def array(self, slot, flags):
        offset = self.at(slot)
        assert self.table.Vector(offset) % flags.bytewidth == 0, "elements are not aligned"
        return np.frombuffer(self.table.Bytes, flags.py_type if flags.bytewidth == 8 else np.uint8, self.table.VectorLen(offset), self.table.Vector(offset))

    def tensor(self):
        offset = self.at(2)
        dims = np.frombuffer(self.table.Bytes, np.int64, self.table.VectorLen(offset), self.table.Vector(offset))
        offset = self.at(4)
        data = np.frombuffer(self.table.Bytes, np.uint8, self.table.VectorLen(offset), self.table.Vector(offset))
        assert self.number(3, number_types.Int32Flags) == onnx.TensorProto.FLOAT
        return self.text(0), data.view(np.float32).reshape(dims) if len(data) else None


def checkpoint(path):
    root = Reader.root(bytearray(path.read_bytes()))
    assert root.number(0, number_types.Int32Flags) == 2
    module = root.table_at(1)
    tensors = [dict(t.tensor() for t in module.tables(slot)) for slot in (0, 1)]
    floats = {t.text(0): t.number(1, number_types.Float32Flags) for t in root.table_at(3).tables(1)}
    return *tensors, bool(module.number(2, number_types.BoolFlags)), floats, root.tables(2)


@pytest.mark.parametrize("options", [["--momentum", "0"], [], ["--optimizer", "adamw"]], ids=str)
def test_artifact(tmp_path, options):
    bundle = rewrite_fixture("basic.bn", tmp_path / "bundle", *GIVEN, *options, mode="train", penalty="l2-sp")
    spgraph("convert", tmp_path / "bundle", "--to", "ort-training", "-o", tmp_path / "ort")
    start = bundle.start()
    trained, own, nominal, floats, groups = checkpoint(tmp_path / "ort" / "checkpoint")
    momenta = [s["name"] for s in bundle.state if s["role"] == "optimizer" and "adamw" not in options]
    for tensors, names in ((trained, bundle.named("shared", "new")), (own, bundle.named("buffer") + momenta)):
        assert set(tensors) == set(names) and names
        for name in names:
            assert np.array_equal(tensors[name], start[name]), name
    assert not nominal and not groups and floats["learning_rate"] == np.float32(1e-4 if "adamw" in options else 0.01)
    names, frozen, nominal, *_ = checkpoint(tmp_path / "ort" / "nominal_checkpoint")
    assert nominal and names.keys() == trained.keys() and frozen.keys() == own.keys() and not any(v is not None for v in names.values())
    models = {name: onnx.load(tmp_path / "ort" / f"{name}_model.onnx") for name in ("training", "eval", "optimizer")}
    graph = models["training"].graph
    inputs, image = [i.name for i in graph.input], bundle.manifest["data"]
    parameters = list(trained) + list(own)
    buffers = [f"{p}_grad.accumulation.buffer" for p in trained]
    assert inputs == [image["input"]["name"], image["target"]["name"], *parameters, *buffers, "lazy_reset_grad"]
    assert [i.name for i in models["eval"].graph.input] == [image["input"]["name"], *parameters]
    assert [o.name for o in graph.output][1:] and {o.name for o in graph.output[1:]} == {f"{p}_grad.accumulation.out" for p in parameters}
    assert sum(n.op_type == "InPlaceAccumulatorV2" for n in graph.node) == len(parameters)
    (node,) = models["optimizer"].graph.node
    assert node.op_type == ("AdamWOptimizer" if "adamw" in options else "SGDOptimizerV2")
    for model in models.values():
        onnx.checker.check_model(model)
        assert not model.functions


@pytest.mark.parametrize("options, word", [(["--optimizer", "lars"], "lars"), (["--ema", "0.9"], "average"), (["--prox"], "proximal"), (["--decoupled"], "decoupled")], ids=str)
def test_what_the_api_cannot_do_is_refused(tmp_path, options, word):
    rewrite_fixture("basic.bn", tmp_path / "bundle", *options, penalty="l1-sp" if "--prox" in options else "l2-sp")
    with pytest.raises(AssertionError, match=word):
        spgraph("convert", tmp_path / "bundle", "--to", "ort-training", "-o", tmp_path / "ort")
    assert not (tmp_path / "ort").exists()


def test_a_checkpoint_becomes_a_run(tmp_path):
    """What was not trained exports what it came from; a checkpoint of another model, and none, are refused."""
    bundle = rewrite_fixture("basic.bn", tmp_path / "bundle", *GIVEN, mode="train", penalty="l2-sp")
    spgraph("convert", tmp_path / "bundle", "--to", "ort-training", "-o", tmp_path / "ort")
    spgraph("import-checkpoint", tmp_path / "bundle", tmp_path / "ort" / "checkpoint", "-o", tmp_path / "run")
    spgraph("export", tmp_path / "run", "-o", tmp_path / "run.onnx")
    spgraph("export", tmp_path / "bundle", "-o", tmp_path / "bundle.onnx")
    weights = [{t.name: t.raw_data for t in onnx.load(tmp_path / f"{n}.onnx").graph.initializer} for n in ("run", "bundle")]
    assert weights[0] == weights[1]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "complete"
    rewrite_fixture("bottleneck.bn", tmp_path / "other", *GIVEN, mode="train", penalty="l2-sp")
    spgraph("convert", tmp_path / "other", "--to", "ort-training", "-o", tmp_path / "other.ort")
    for wrong, word in ((tmp_path / "other.ort" / "checkpoint", "not of this bundle"), (tmp_path / "ort" / "nominal_checkpoint", "nominal"), (bundle.folder / "init.onnx", "no checkpoint")):
        with pytest.raises(AssertionError, match=word):
            spgraph("import-checkpoint", tmp_path / "bundle", wrong, "-o", tmp_path / "no")
        assert not (tmp_path / "no").exists()
