"""`spgraph lower`: ONNX's own backend tests of the four preview operators for training, in a stock runtime, and what those tests do not have."""
import importlib

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import spgraph
from onnx import TensorProto, helper
from onnx.backend.test.case.model import collect_testcases as collect_models
from onnx.backend.test.case import node as node_cases

DOMAIN = "ai.onnx.preview.training"
# Cases of a node register themselves when their module is imported; all modules together take ten seconds.
for module in ("adam", "adagrad", "momentum"):
    importlib.import_module(f"{node_cases.__name__}.{module}")


def uses_preview(case):
    return any(o.domain == DOMAIN for o in case.model.opset_import)


CASES = {c.name: c for c in node_cases._NodeTestCases if uses_preview(c)}
CASES |= {c.name: c for c in collect_models() if c.model is not None and uses_preview(c)}


def lowered(model, folder):
    """The model in a stock runtime; its ports are as they were."""
    onnx.save(model, folder / "model.onnx")
    spgraph("lower", folder / "model.onnx", "-o", folder / "lowered.onnx")
    result = onnx.load(folder / "lowered.onnx")
    onnx.checker.check_model(result, full_check=True)
    assert {o.domain for o in result.opset_import} == {""}
    for ports in ("input", "output"):
        assert [p.name for p in getattr(result.graph, ports)] == [p.name for p in getattr(model.graph, ports)]
    return onnxruntime.InferenceSession(folder / "lowered.onnx", providers=["CPUExecutionProvider"])


def test_all_of_them_are_here():
    assert {"test_adam", "test_adam_multiple", "test_adagrad", "test_adagrad_multiple", "test_momentum", "test_momentum_multiple"} <= CASES.keys()
    assert {"test_nesterov_momentum", "test_gradient_of_add", "test_gradient_of_add_and_mul"} <= CASES.keys()


@pytest.mark.parametrize("name", sorted(CASES))
def test_onnx_s_own(tmp_path, name):
    case = CASES[name]
    session = lowered(case.model, tmp_path)
    for inputs, outputs in case.data_sets:
        found = session.run(None, dict(zip([i.name for i in session.get_inputs()], map(np.asarray, inputs))))
        for value, expected in zip(found, outputs):
            np.testing.assert_allclose(value, expected, rtol=case.rtol, atol=case.atol)


def model(nodes, inputs, outputs, opset=17, initializers=()):
    ports = [[helper.make_tensor_value_info(n, t, s) for n, t, s in p] for p in (inputs, outputs)]
    graph = helper.make_graph(nodes, "g", *ports, initializer=list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)], ir_version=8)


def training_step():
    """A linear classifier with its loss, differentiated, and moved by Adam, in ONNX alone."""
    f, n = TensorProto.FLOAT, helper.make_node
    nodes = [
        n("Gemm", ["x", "w", "b"], ["scores"]),
        n("LogSoftmax", ["scores"], ["logs"], axis=1),
        n("Mul", ["logs", "target"], ["picked"]),
        n("ReduceSum", ["picked"], ["sum"], keepdims=0),
        n("Neg", ["sum"], ["loss"]),
        n("Gradient", ["w", "b", "x"], ["dw", "db"], domain=DOMAIN, xs=["w", "b"], zs=["x"], y="loss"),
        n("Adam", ["r", "t", "w", "b", "dw", "db", "vw", "vb", "hw", "hb"], ["w2", "b2", "vw2", "vb2", "hw2", "hb2"], domain=DOMAIN, norm_coefficient_post=0.01),
    ]
    state = [(k, f, s) for k, s in (("w", [4, 3]), ("b", [3]), ("vw", [4, 3]), ("vb", [3]), ("hw", [4, 3]), ("hb", [3]))]
    given = [("r", f, []), ("t", TensorProto.INT64, []), ("x", f, [5, 4]), ("target", f, [5, 3])]
    return model(nodes, given + state, [("loss", f, [])] + [(f"{k}2", f, s) for k, _, s in state])


def test_a_whole_training_step(tmp_path):
    """Against the same in numpy, in float64."""
    session, random = lowered(training_step(), tmp_path), np.random.default_rng(0)
    shapes = {i.name: i.shape for i in session.get_inputs()}
    v = {k: random.standard_normal(s) for k, s in shapes.items()} | {"r": 0.1, "t": 3}
    v |= {k: abs(v[k]) for k in ("hw", "hb")}
    v["target"] = np.eye(3)[random.integers(0, 3, 5)]
    found = dict(zip([o.name for o in session.get_outputs()], session.run(None, {k: np.asarray(x, np.int64 if k == "t" else np.float32) for k, x in v.items()})))
    scores = v["x"] @ v["w"] + v["b"]
    shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    g = {"w": v["x"].T @ (shares - v["target"]), "b": (shares - v["target"]).sum(0)}
    np.testing.assert_allclose(found["loss"], -(np.log(shares) * v["target"]).sum(), rtol=1e-5)
    for k in ("w", "b"):
        m, h = 0.9 * v["v" + k] + 0.1 * g[k], 0.999 * v["h" + k] + 0.001 * g[k] ** 2
        rate = 0.1 * np.sqrt(1 - 0.999**3) / (1 - 0.9**3)
        expected = (v[k] - rate * m / (np.sqrt(h) + 1e-6)) * 0.99
        for name, value in ((f"{k}2", expected), (f"v{k}2", m), (f"h{k}2", h)):
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_gradient_elsewhere_and_of_what_does_not_matter(tmp_path):
    """The function that xs and zs name, taken at other values; a gradient of 0; an output that nobody wants."""
    f, n = TensorProto.FLOAT, helper.make_node
    nodes = [
        n("Mul", ["a", "a"], ["square"]),
        n("Mul", ["square", "b"], ["y"]),
        n("Gradient", ["c", "d"], ["dc", ""], domain=DOMAIN, xs=["a", "b"], y="y"),
        n("Gradient", ["a", "d"], ["", "dd"], domain=DOMAIN, xs=["a", "d"], y="y"),
    ]
    session = lowered(model(nodes, [(k, f, [2]) for k in "abcd"], [("y", f, [2]), ("dc", f, [2]), ("dd", f, [2])]), tmp_path)
    a, b, c, d = (np.array(x, np.float32) for x in ([1, 2], [3, 4], [5, 6], [7, 8]))
    y, dc, dd = session.run(None, dict(zip("abcd", (a, b, c, d))))
    np.testing.assert_allclose(y, a * a * b)
    np.testing.assert_allclose(dc, 2 * c * d)
    np.testing.assert_allclose(dd, [0, 0])


@pytest.mark.parametrize(
    "node, word",
    [
        (helper.make_node("Gradient", ["a"], ["o"], domain=DOMAIN, xs=["a"], y="nothing"), "names `nothing`"),
        (helper.make_node("Gradient", ["a", "b"], ["o"], domain=DOMAIN, xs=["a"], y="y"), "`xs` and `zs` name 1"),
        (helper.make_node("Gradient", ["a"], ["o"], domain=DOMAIN, y="y"), "`xs` is missing"),
        (helper.make_node("Momentum", ["a", "b"], ["o"], domain=DOMAIN, mode="standard", alpha=0.9, beta=1.0, norm_coefficient=0.0), "Momentum"),
        (helper.make_node("Frobnicate", ["a"], ["o"], domain=DOMAIN), "Frobnicate"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(tmp_path, node, word):
    f = TensorProto.FLOAT
    nodes = [helper.make_node("Mul", ["a", "b"], ["y"]), node]
    onnx.save(model(nodes, [("a", f, [2]), ("b", f, [2])], [("y", f, [2]), ("o", f, [2])]), tmp_path / "model.onnx")
    with pytest.raises(AssertionError, match=word):
        spgraph("lower", tmp_path / "model.onnx", "-o", tmp_path / "no.onnx")
    assert not (tmp_path / "no.onnx").exists()
