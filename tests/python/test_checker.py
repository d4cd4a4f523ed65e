"""Every emitted model passes the full ONNX checker with strict shape inference, whatever the options."""
import itertools

import numpy as np
import onnx
import pytest
from harness import CASES, ENTRIES, FIXTURES, read_tensors, rewrite_fixture

AXES = {
    "dialect": [("--dialect", "functions"), ("--dialect", "inlined")],
    "split": [(), ("--split",)],
    "weights": [(), ("--external-data",)],
    "penalty": ["none", "l2", "l2-sp"],
    "optimizer": [
        ("--optimizer", "adamw", "--clip-norm", "1", "--ema", "0.9", "--spd", "1", "--lr-mult", "*=2"),
        ("--nesterov",),
        ("--optimizer", "lars"),
        ("--momentum", "0"),
    ],
}
EVERY = [dict(zip(AXES, values)) for values in itertools.product(*AXES.values())]
# Every value of every option, each pair of dialect and penalty, in six rewrites: for the fixtures that do not get EVERY.
FEW = [
    dict(zip(AXES, values))
    for values in [
        (AXES["dialect"][i % 2], AXES["split"][i // 3], AXES["weights"][(i + 1) // 2 % 2], AXES["penalty"][i % 3], AXES["optimizer"][i * 2 // 3])
        for i in range(6)
    ]
]


def label(choice):
    return " ".join(v if isinstance(v, str) else " ".join(v) for v in choice.values() if v)


def label_of(value):
    return value if isinstance(value, str) else " ".join(value)


def str_or_label(value):
    return label(value) if isinstance(value, dict) else None


def emit(name, mode, choice, folder, batch=None):
    flags = [f for axis in ("dialect", "split", "weights", "optimizer") for f in choice[axis]]
    return rewrite_fixture(name, folder, *flags, mode=mode, penalty=choice["penalty"], batch=batch)


def demand_valid(bundle, choice):
    names = {"init", "step", "eval"} | ({"grad", "apply"} if choice["split"] else set())
    # The template is the source without its weights, for `spgraph export`, and no model: test_export.py covers it.
    assert {p.stem for p in bundle.folder.glob("*.onnx")} == names | {"template"}
    assert (bundle.folder / "weights.bin").exists() == bool(choice["weights"])
    for name in sorted(names):
        path = bundle.folder / f"{name}.onnx"
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(path)
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        assert all(o.type.tensor_type.HasField("shape") for o in inferred.graph.output)
        demand_standard(model, choice)
    demand_ports(bundle)


def demand_standard(model, choice):
    """Standard operators only; functions of `ai.spgraph`, where there are any, have bodies of standard operators."""
    functions = {(f.domain, f.name) for f in model.functions}
    assert {d for d, _ in functions} <= {"ai.spgraph", "ai.spgraph.forms"}
    if choice["dialect"] == ("--dialect", "inlined"):
        assert not functions
    nodes = [*model.graph.node, *(n for f in model.functions for n in f.node)]
    strangers = {(n.domain, n.op_type) for n in nodes if n.domain not in ("", "ai.onnx")} - functions
    assert not strangers
    assert {o.domain for o in model.opset_import} <= {"", "ai.onnx", "ai.spgraph", "ai.spgraph.forms"}
    for name, metadata in ((p.key, p.value) for p in model.metadata_props):
        assert metadata, name


def demand_ports(bundle):
    """`step.onnx` takes and returns what the manifest says."""
    graph = onnx.load(bundle.folder / "step.onnx", load_external_data=False).graph
    ports = {v.name: v.type.tensor_type for v in [*graph.input, *graph.output]}
    types = {"float32": onnx.TensorProto.FLOAT, "float64": onnx.TensorProto.DOUBLE, "int64": onnx.TensorProto.INT64}
    data = bundle.manifest["data"]
    takes = {p["name"]: (p["dtype"], p["shape"]) for p in data.values()}
    takes |= {s["name"]: (data["input"]["dtype"], []) for s in bundle.manifest["scalars"]}
    takes |= {s["input"]: (s["dtype"], s["shape"]) for s in bundle.state}
    gives = {o["name"]: (data["input"]["dtype"], []) for o in bundle.manifest["outputs"] if o["meaning"] != "correct"}
    gives |= {s["output"]: (s["dtype"], s["shape"]) for s in bundle.state}
    assert {i.name for i in graph.input} == takes.keys()
    assert {o.name for o in graph.output} == gives.keys() | {"correct"}
    for name, (dtype, shape) in (takes | gives).items():
        dims = [d.dim_value if d.HasField("dim_value") else -1 for d in ports[name].shape.dim]
        assert (ports[name].elem_type, dims) == (types[dtype], list(shape)), name


@pytest.mark.parametrize("choice", EVERY, ids=label)
@pytest.mark.parametrize("name,mode", [("basic.bn", "train"), ("tokens", "frozen")])
def test_every_combination(name, mode, choice, tmp_path):
    demand_valid(emit(name, mode, choice, tmp_path), choice)


@pytest.mark.parametrize("name,mode,choice", [(*case, c) for case in CASES for c in (FEW[2:4] if ENTRIES[case[0]]["deep"] else FEW)], ids=str_or_label)
def test_every_fixture(name, mode, choice, tmp_path):
    demand_valid(emit(name, mode, choice, tmp_path), choice)


PENALTIES = [
    ("l1-sp",), ("l1-sp", "--prox"), ("gl-sp",), ("gl-sp", "--prox"), ("l2-sp", "--decoupled"), ("l2-sp", "--alpha-depth", "10"),
    ("gl-sp", "--penalize", "all", "--alpha", "*.weight=0.01"),
]  # fmt: skip
FISHER = [("l2-sp-fisher",), ("l2-sp-fisher", "--decoupled"), ("gl-sp-fisher",)]


@pytest.mark.parametrize("dialect", AXES["dialect"], ids=label_of)
@pytest.mark.parametrize("name,penalty", [(n, p) for n in ("basic.bn", "vgg", "tokens", "float64.bn") for p in PENALTIES] + [("basic.bn", p) for p in FISHER], ids=label_of)
def test_every_penalty(name, penalty, dialect, tmp_path):
    fisher = ("--fisher", FIXTURES / f"{name}.fisher.safetensors") if "fisher" in penalty[0] else ()
    bundle = rewrite_fixture(name, tmp_path, *dialect, "--split", *penalty[1:], *fisher, penalty=penalty[0])
    demand_valid(bundle, {"dialect": dialect, "split": ("--split",), "weights": ()})
    functions = {f.name.split("_")[0] for f in onnx.load(bundle.folder / "step.onnx").functions}
    if dialect == ("--dialect", "functions"):
        named = "".join(part.capitalize() for part in penalty[0].split("-"))
        assert f"{named}{'Value' if '--prox' in penalty else 'Penalty'}" in functions
        assert (f"{named}Prox" in functions) == ("--prox" in penalty)
        assert ("DecoupledPenalty" in functions) == ("--decoupled" in penalty)


@pytest.mark.parametrize("choice", FEW, ids=label)
@pytest.mark.parametrize("name,mode", [case for case in CASES if ENTRIES[case[0]]["symbolic_batch"]])
def test_dynamic_batch(name, mode, choice, tmp_path):
    demand_valid(emit(name, mode, choice, tmp_path, batch="dynamic"), choice)


@pytest.mark.parametrize("weights", [(), ("--external-data",)], ids=["inline", "external"])
def test_options_change_no_number(weights, tmp_path):
    """Dialects and the place of the weights are only form: one step gives equal numbers."""
    tensors = read_tensors(ENTRIES["basic.bn"]["golden"])
    results = []
    for dialect in ("functions", "inlined"):
        bundle = rewrite_fixture("basic.bn", tmp_path / dialect, "--dialect", dialect, *weights, mode="train", penalty="l2-sp")
        step = bundle.graph("step")
        results.append(step(bundle.feeds(bundle.start(), tensors["input"], tensors["target"])))
    assert results[0].keys() == results[1].keys()
    for name in results[0]:
        np.testing.assert_allclose(results[0][name], results[1][name], rtol=1e-6, atol=1e-7, err_msg=name)
