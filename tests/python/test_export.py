"""`spgraph export` without training gives the source back: every tensor bit for bit, every node, equal logits."""
import numpy as np
import onnx
import pytest
from harness import ENTRIES, FIXTURES, Graph, read_tensors, rewrite_fixture, spgraph


def tensors_of(model):
    """Initializers and Constant values by name."""
    found = {t.name: t for t in model.graph.initializer}
    found |= {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant" and n.attribute[0].name == "value"}
    return {n: onnx.numpy_helper.to_array(t) for n, t in found.items()}


@pytest.mark.parametrize("name", ENTRIES)
def test_export_without_steps_is_the_source(name, tmp_path):
    entry = ENTRIES[name]
    rewrite_fixture(name, tmp_path / "bundle", mode=entry["batch_norm"][0], penalty="l2-sp")
    out = tmp_path / "tuned.onnx"
    spgraph("export", tmp_path / "bundle", "-o", out)
    onnx.checker.check_model(str(out), full_check=True)
    source, tuned = onnx.load(FIXTURES / entry["file"]), onnx.load(out)

    before, after = tensors_of(source), tensors_of(tuned)
    assert list(before) == list(after)
    for n in before:
        assert before[n].dtype == after[n].dtype and before[n].shape == after[n].shape and before[n].tobytes() == after[n].tobytes(), n
    without = [n for n in source.graph.node if n.op_type != "Constant"], [n for n in tuned.graph.node if n.op_type != "Constant"]
    assert [n.SerializeToString(deterministic=True) for n in without[0]] == [n.SerializeToString(deterministic=True) for n in without[1]]
    assert [n.output[0] for n in source.graph.node] == [n.output[0] for n in tuned.graph.node]
    for field in ("input", "output"):
        assert [str(v) for v in getattr(source.graph, field)] == [str(v) for v in getattr(tuned.graph, field)]
    assert {(o.domain, o.version) for o in source.opset_import} == {(o.domain, o.version) for o in tuned.opset_import}
    assert source.ir_version == tuned.ir_version

    images = read_tensors(entry["golden"])["input"].astype(entry["dtype"])
    # What takes one image stays what takes one image.
    batches = [image[None] for image in images] if name.endswith(".one_image") else [images]
    graphs = [Graph(path, entry["dtype"] == "float64") for path in (FIXTURES / entry["file"], out)]
    for batch in batches:
        np.testing.assert_array_equal(*[graph({"input": batch})["logits"] for graph in graphs])
