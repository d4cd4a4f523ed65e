"""Half precision: trained as float32, written back in the types that the source has."""
import json

import ml_dtypes
import numpy as np
import onnx
import pytest
from harness import ENTRIES, FIXTURES, mismatches, rewrite, spgraph
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

KINDS = {"float16": (TensorProto.FLOAT16, np.float16), "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16)}
NAMES = ["basic.bn", "bottleneck.dynamo", "mobilenet.bn", "shared.bn"]


def halved(name, kind, wide=False, mixed=False):
    """The fixture with its float32 constants rounded to the type, and all of it in that type; `wide`: kept in float32 after rounding.

    `mixed`: the graph stays in float32, and the weights reach it through Cast nodes.
    """
    code, dtype = KINDS[kind]
    model = onnx.load(FIXTURES / ENTRIES[name]["file"])

    def convert(tensor):
        if tensor.data_type == TensorProto.FLOAT:
            rounded = numpy_helper.to_array(tensor).astype(dtype)
            label = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(rounded.astype(np.float32) if wide else rounded, label))
            return True
        return False

    casts = []
    for tensor in model.graph.initializer:
        if convert(tensor) and mixed and not wide:
            casts.append(helper.make_node("Cast", [tensor.name], [f"{tensor.name}.wide"], to=TensorProto.FLOAT))
    for node in model.graph.node:
        if mixed:
            node.input[:] = [f"{i}.wide" if any(c.input[0] == i for c in casts) else i for i in node.input]
            continue
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                convert(attribute.t)
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT and not wide:
                attribute.i = code
    if mixed:
        nodes = casts + list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
    elif not wide:
        for info in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
            if info.type.tensor_type.elem_type == TensorProto.FLOAT:
                info.type.tensor_type.elem_type = code
    return model


def bits(model):
    return {t.name: (t.data_type, numpy_helper.to_array(t).tobytes()) for t in model.graph.initializer}


@pytest.mark.parametrize("mixed", [False, True], ids=["whole", "mixed"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_trained_in_float32_and_written_back(name, kind, mixed, tmp_path):
    narrow, wide = halved(name, kind, mixed=mixed), halved(name, kind, wide=True, mixed=mixed)
    onnx.save(narrow, tmp_path / "narrow.onnx")
    onnx.save(wide, tmp_path / "wide.onnx")
    printed = spgraph("rewrite", tmp_path / "narrow.onnx", "-o", tmp_path / "printed", "--head", "keep")
    assert f"{kind}: trained as float32, written back as {kind}" in printed
    bundle = rewrite(tmp_path / "narrow.onnx", tmp_path / "bundle", batch=2)
    start = bundle.start()
    assert all(t.dtype == np.float32 for t in start.values() if t.dtype.kind == "f")
    initial = {t.name: numpy_helper.to_array(t) for t in wide.graph.initializer}
    for state, tensor in start.items():
        if state in initial:
            np.testing.assert_array_equal(tensor, initial[state])

    images = np.random.default_rng(0).standard_normal((2, *ENTRIES[name]["input_shape"][1:]), np.float32)
    session = InferenceSession(wide.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: images})[0]
    found = next(iter(bundle.graph("eval")(start | {session.get_inputs()[0].name: images}).values()))
    assert not mismatches({"logits": found}, {"logits": expected}, 1e-5)

    spgraph("export", tmp_path / "bundle", "-o", tmp_path / "tuned.onnx")
    tuned = onnx.load(tmp_path / "tuned.onnx")
    assert bits(tuned) == bits(narrow)
    assert [str(i) for i in tuned.graph.input] == [str(i) for i in narrow.graph.input]


@pytest.mark.parametrize("engine", ["ort", "tract"])
def test_an_export_in_float16_is_fed_in_float16(engine, tmp_path):
    spgraph("synth", "--task", "target-a", "--per-class", "1", "-o", tmp_path / "images")
    image = sorted((tmp_path / "images").rglob("*.png"))[0]
    found = {}
    for wide in (False, True):
        path = tmp_path / f"{wide}.onnx"
        onnx.save(halved("basic.bn", "float16", wide=wide), path)
        printed = json.loads(spgraph("predict", path, image, "--engine", engine, "--json", "--top", "100"))
        found[wide] = {g["label"]: g["probability"] for g in printed[0]["guesses"]}
    assert found[False].keys() == found[True].keys() and len(found[True]) > 1
    np.testing.assert_allclose([found[False][k] for k in found[True]], list(found[True].values()), atol=5e-3)


def half_ends(name, kind, ends):
    """The fixture, computing in float32, with its input or output in that type."""
    code = KINDS[kind][0]
    model = onnx.load(FIXTURES / ENTRIES[name]["file"])
    graph = model.graph
    if "input" in ends:
        info = graph.input[0]
        for node in graph.node:
            node.input[:] = [f"{i}.wide" if i == info.name else i for i in node.input]
        graph.node.insert(0, helper.make_node("Cast", [info.name], [f"{info.name}.wide"], to=TensorProto.FLOAT))
        info.type.tensor_type.elem_type = code
    if "output" in ends:
        info = graph.output[0]
        for node in graph.node:
            node.output[:] = [f"{o}.wide" if o == info.name else o for o in node.output]
        graph.node.append(helper.make_node("Cast", [f"{info.name}.wide"], [info.name], to=code))
        info.type.tensor_type.elem_type = code
    del graph.value_info[:]
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ends", ["input", "output", "input and output"])
def test_half_precision_at_the_ends_alone_is_exported(ends, kind, tmp_path):
    model = half_ends("basic.bn", kind, ends)
    onnx.save(model, tmp_path / "ends.onnx")
    spgraph("rewrite", tmp_path / "ends.onnx", "-o", tmp_path / "bundle", "--head", "keep", "--batch", "2")
    spgraph("export", tmp_path / "bundle", "-o", tmp_path / "tuned.onnx")
    tuned = onnx.load(tmp_path / "tuned.onnx")
    assert bits(tuned) == bits(model)
    assert [str(v) for v in [*tuned.graph.input, *tuned.graph.output]] == [str(v) for v in [*model.graph.input, *model.graph.output]]
