"""`--opset`: the emitted graphs pass ONNX's checker in each opset and compute what those of opset 17 compute, to the last bit; what an opset has no words for is refused."""
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, ENTRIES, FIXTURES, Bundle, rewrite_fixture, spgraph

OPSETS = [13, 14, 15, 16, 18, 19, 20, 21, 22, 23]
# Convolutions, batch statistics and branches; windows and clipping; slices and concatenation; reductions of regularizers; a transformer's parts.
CASES = [
    ("basic.bn", ["--regularizer", "lwf", "--clip-norm", "1"], 14),
    ("mobilenet.bn", ["--optimizer", "adamw", "--ema", "0.9"], 14),
    ("inception.bn", ["--optimizer", "lars"], 14),
    ("slices.bn", ["--penalty", "gl-sp", "--prox"], 14),
    ("silu.bn", ["--regularizer", "bss", "--spd", "1", "--optimizer", "adamw"], 14),
    ("vgg", [], 13),
    ("tokens", ["--optimizer", "adamw"], 13),
]


def outputs(bundle, seed=0):
    """Two steps, and the network's own output."""
    random, data = np.random.default_rng(seed), bundle.manifest["data"]
    step, state, found = bundle.graph("step"), bundle.start(), {}
    for k in range(2):
        images = random.standard_normal(data["input"]["shape"])
        target = random.integers(0, bundle.manifest["class_count"], data["target"]["shape"])
        result = step(bundle.feeds(state, images, target))
        state = bundle.next_state(result)
        found |= {f"{n} {k}": v for n, v in result.items()}
    return found | bundle.graph("eval")(bundle.feeds(state, images, target))


def demand(bundle, opset, expected):
    for name in ("init", "step", "eval"):
        path = str(bundle.folder / f"{name}.onnx")
        onnx.checker.check_model(path, full_check=True)
        versions = {o.domain: o.version for o in onnx.load(path, load_external_data=False).opset_import}
        assert name == "init" or versions[""] == opset, versions
    found = outputs(bundle)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("dialect", ["functions", "inlined"])
@pytest.mark.parametrize("name, options, least", CASES, ids=[c[0] for c in CASES])
def test_every_opset_computes_the_same(tmp_path, name, options, least, dialect):
    penalty = options[options.index("--penalty") + 1] if "--penalty" in options else "l2-sp"
    options = [o for o in options if o not in ("--penalty", "gl-sp")] if "--penalty" in options else options
    mode = ENTRIES[name]["batch_norm"][-1]
    make = lambda folder, *more: rewrite_fixture(name, folder, "--dialect", dialect, *options, *more, mode=mode, penalty=penalty, batch=4)  # noqa: E731
    expected = outputs(make(tmp_path / "17"))
    for opset in (o for o in OPSETS if o >= least):
        demand(make(tmp_path / str(opset), "--opset", opset), opset, expected)


@pytest.mark.parametrize("opset", [15, 23])
def test_what_is_made_of_such_a_bundle(tmp_path, opset):
    """spgraph reads its own graphs of another opset: native operators, a single file, training information, and a run."""
    plain, other = (rewrite_fixture("basic.bn", tmp_path / name, *more, mode="train", penalty="l2-sp", batch=4) for name, more in (("a", []), ("b", ["--opset", opset])))
    for bundle in (plain, other):
        for kind in ("single", "training-info", "native"):
            spgraph("convert", bundle.folder, "--to", kind, "-o", f"{bundle.folder}.{kind}.onnx")
    native = [onnx.load(f"{b.folder}.native.onnx") for b in (plain, other)]
    assert [[n.op_type for n in m.graph.node] for m in native][0] == [n.op_type for n in native[1].graph.node]
    for kind in ("single", "training-info"):
        onnx.checker.check_model(f"{other.folder}.{kind}.onnx", full_check=True)
        assert {o.domain: o.version for o in onnx.load(f"{other.folder}.{kind}.onnx").opset_import}[""] == opset


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("basic.bn", ["--opset", "12"], ["--opset 12", "13 to 23"]),
        ("basic.bn", ["--opset", "24"], ["--opset 24", "13 to 23"]),
        ("transformers/convnext.dynamo.onnx", ["--opset", "16"], ["LayerNormalization", "opset 16", "came with opset 17"]),
        ("basic.bn", ["--for", "openvno"], ["openvino"]),
    ],
)
def test_what_an_opset_cannot_say_is_refused(tmp_path, name, options, words):
    command = [BINARY, "rewrite", FIXTURES / (ENTRIES[name]["file"] if name in ENTRIES else name), "-o", tmp_path / "no", *options]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode != 0 and all(w in done.stderr for w in words), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_form_for_a_runtime_has_no_operator_that_is_wrong_there(tmp_path):
    expected = outputs(rewrite_fixture("basic.bn", tmp_path / "a", mode="train", penalty="l2-sp", batch=4))
    bundle = rewrite_fixture("basic.bn", tmp_path / "b", "--for", "openvino", mode="train", penalty="l2-sp", batch=4)
    for name in ("step", "eval"):
        assert "HardSigmoid" not in {n.op_type for n in onnx.load(bundle.folder / f"{name}.onnx").graph.node}
    found = outputs(bundle)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
