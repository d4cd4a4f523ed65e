"""Nearly sound models: what spgraph takes, ONNX Runtime takes, and the bundle's `eval.onnx` computes what the model itself does there.

The same mutants each time; MUTANTS_SECONDS runs others for so long, from the seed MUTANTS_SEED (the clock's).
"""
import os
import subprocess
import time

import mutants
import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, Bundle

# So many of the same mutants.
SLICE = 240
SECONDS = float(os.environ.get("MUTANTS_SECONDS", "0"))
FIRST = int(os.environ.get("MUTANTS_SEED", time.time_ns() % 2**40 if SECONDS else 0))
FEWEST_ACCEPTED = SLICE // 20


def fixed_batch(model):
    shape = model.graph.input[0].type.tensor_type.shape.dim
    return shape[0].dim_value if shape and 1 < shape[0].dim_value < 100 else None


def rewritten(model, name, folder):
    """The bundle, or None where spgraph refuses the model, in words."""
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    flags = ["--batch", str(fixed_batch(model) or 2), "--head", "keep", "--penalty", "none"]
    flags += ["--batch-norm", "frozen"] if ".bn" in name else []
    done = subprocess.run([str(BINARY), "rewrite", str(path), "-o", str(folder / "bundle"), *flags], capture_output=True, text=True)
    if done.returncode == 0:
        return Bundle(folder / "bundle")
    assert done.returncode in (1, 2) and done.stderr.count("error: ") == 1, f"exit code {done.returncode}: {done.stderr}"
    assert "panicked" not in done.stderr and "fault of spgraph" not in done.stderr, done.stderr
    return None


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    # As it is written: what an optimization takes out is judged, too.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def own_answers(folder, images):
    """What the model itself gives in ONNX Runtime, which must take it."""
    own = session(folder / "m.onnx")
    [port] = own.get_inputs()
    if port.shape and port.shape[0] == 1 and len(images) > 1:
        return [np.concatenate(parts) for parts in zip(*(own.run(None, {port.name: image[None]}) for image in images))]
    return own.run(None, {port.name: images})


def compare(bundle, folder):
    """`eval.onnx` at the start beside the model."""
    data = bundle.manifest["data"]["input"]
    images = np.random.default_rng(0).standard_normal(data["shape"]).astype(data["dtype"])
    own = own_answers(folder, images)
    found = session(folder / "bundle" / "eval.onnx")
    start = bundle.start()
    feeds = {data["name"]: images} | {s["input"]: start[s["name"]] for s in bundle.state}
    found = found.run(None, {port.name: feeds[port.name] for port in found.get_inputs()})
    assert len(own) == len(found)
    for expected, got in zip(own, found):
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * (1 + scale))


def check(models, seed, folder):
    """Whether the mutant was taken; fails where that was wrong."""
    name, model = mutants.mutant(models, seed)
    try:
        bundle = rewritten(model, name, folder)
    except ValueError:
        return False  # protobuf's own limits
    if bundle is None:
        return False
    compare(bundle, folder)
    return True


def test_what_is_taken_is_what_onnx_runtime_takes(tmp_path):
    models = mutants.seeds()
    wrong, accepted, seed, start = [], 0, FIRST, time.monotonic()
    while time.monotonic() - start < SECONDS if SECONDS else seed < FIRST + SLICE:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            accepted += check(models, seed, folder)
        except Exception as error:
            wrong.append(f"seed {seed}: {type(error).__name__}: {str(error)[:500]}")
        else:
            subprocess.run(["rm", "-r", str(folder)], check=True)
        seed += 1
    print(f"{seed - FIRST} mutants from seed {FIRST}: {accepted} accepted and equal, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
    assert accepted >= FEWEST_ACCEPTED


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7])
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool", "LpPool", "Conv"])
@pytest.mark.parametrize("name", ["strides", "dilations", "pads", "kernel_shape"])
def test_lists_of_another_length(op, name, length, tmp_path):
    """Lists of a window that are too short or too long, beyond the end of which ONNX's own shape inference once read (`convPoolShapeInference`):
    refused, or computed as ONNX Runtime does."""
    make = onnx.helper
    ports = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in [("x", ["N", 3, 8, 8]), ("y", ["N", 4])]]
    lists = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [0] * 4, name: [1] * length}
    kinds = [make.make_attribute(n, v, attr_type=onnx.AttributeProto.INTS) for n, v in lists.items()]
    window = make.make_node(op, ["x", "k"] if op == "Conv" else ["x"], ["c"], name="window")
    window.attribute.extend(kinds)
    nodes = [
        window,
        make.make_node("GlobalAveragePool", ["c"], ["g"], name="mean"),
        make.make_node("Flatten", ["g"], ["f"], name="flat"),
        make.make_node("MatMul", ["f", "h"], ["y"], name="head"),
    ]
    chance = np.random.default_rng(0)
    tensors = [onnx.numpy_helper.from_array(chance.standard_normal(s).astype(np.float32), n) for n, s in [("h", [3, 4]), ("k", [3, 3, 2, 2])]]
    graph = make.make_graph(nodes, "g", [ports[0]], [ports[1]], tensors if op == "Conv" else tensors[:1])
    # With dilations for every window.
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 19)], ir_version=9)
    bundle = rewritten(model, "made", tmp_path)
    if bundle:
        assert length in (0, 4)
        compare(bundle, tmp_path)
