"""The library of native operators, in onnxruntime of this Python: the steps of `spgraph finetune` to its own bits. The Rust tests build it, and `make ops`."""
import os
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from harness import ROOT, spgraph as program
from safetensors.numpy import load_file
from test_module import STEPS, data, spgraph, the_binary, work  # noqa: F401

LIBRARY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples" / {"darwin": "libspgraph_ops.dylib", "win32": "spgraph_ops.dll"}.get(sys.platform, "libspgraph_ops.so")
pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"{LIBRARY.name} is not built: cargo build --release --example spgraph_ops")


@pytest.fixture(scope="module")
def native(work):  # noqa: F811
    program("convert", work / "bundle", "--to", "native", "-o", work / "native.onnx")
    return work / "native.onnx"


def options():
    made = onnxruntime.SessionOptions()
    made.intra_op_num_threads = 1
    made.register_custom_ops_library(str(LIBRARY))
    return made


@pytest.mark.parametrize("kind, flags", [("native", []), ("native-bf16", ["--precision", "bf16"])])
def test_the_weights_are_those_of_finetune_to_the_last_bit(work, kind, flags, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("SPGRAPH_THREADS", "1")
    bundle, run = spgraph.Bundle(work / "bundle"), work / "run"
    program("convert", work / "bundle", "--to", kind, "-o", tmp_path / "native.onnx")
    if flags:
        run = tmp_path / "run"
        program("finetune", work / "bundle", "--data", work / "images", "--steps", STEPS, "--schedule", "constant", "--warmup", 0, "--lr", 0.01, "--threads", 1, "-o", run, *flags)
    trainer = spgraph.Trainer(bundle, step=tmp_path / "native.onnx", options=options(), lr=0.01)
    for batch in data(bundle, work):
        trainer.step(*batch)
    state = trainer.state
    for name, tensor in load_file(run / "state.safetensors").items():
        np.testing.assert_array_equal(state[name], tensor, err_msg=name)
    trainer.export(tmp_path / "tuned.onnx")
    assert any(n.op_type == "ConvBf16" for n in onnx.load(tmp_path / "native.onnx").graph.node) == bool(flags)


def test_the_ports_are_the_steps_and_the_operators_are_named(work, native):  # noqa: F811
    step, made = onnx.load(work / "bundle" / "step.onnx"), onnx.load(native)
    for field in ("input", "output"):
        assert [v.name for v in getattr(step.graph, field)] == [v.name for v in getattr(made.graph, field)]
    assert sum(n.domain not in ("", "ai.onnx", "ai.spgraph") for n in made.graph.node) > 50


def test_without_the_library_or_with_a_wrong_number_the_reason_is_said(work, native, monkeypatch):  # noqa: F811
    bundle = spgraph.Bundle(work / "bundle")
    with pytest.raises(spgraph.Error, match="native.onnx"):
        spgraph.Trainer(bundle, step=native)
    monkeypatch.setenv("SPGRAPH_THREADS", "many")
    with pytest.raises(Exception, match="SPGRAPH_THREADS is `many`"):
        options()
    monkeypatch.setenv("SPGRAPH_THREADS", "1")
    monkeypatch.setenv("SPGRAPH_ISA", "avx5")
    with pytest.raises(Exception, match="avx5"):
        options()
