"""The same networks in every opset and IR version: converted by ONNX's own converter, they give the same logits and gradients, or are refused with
a reason where the converter, not spgraph, was right to speak of an operator."""
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY, ENTRIES, FIXTURES, Bundle, mismatches
from onnx import version_converter

# Residual and depthwise networks, attention, poolings, and what exporters write of shapes.
NAMES = ["basic.bn", "mobilenet.bn", "chains11", "leaky.bn", "average_pool", "pool_ceil", "bottleneck.dynamo", "slices.bn", "grouped"]
OLDEST, NEWEST = 7, 26
#: The oldest IR version with which the checker takes an opset, for tests of the newest.
IR_OF = {7: 3, 8: 3, 9: 4, 10: 5, 11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13}


def judged(path, folder, batch, mode):
    """Logits and gradients, or what was said instead."""
    command = [BINARY, "rewrite", path, "-o", folder, "--batch", batch, "--batch-norm", mode, "--head", "keep", "--penalty", "none", "--split", "--force"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        assert done.returncode == 1 and done.stderr.startswith("error: ") and "panicked" not in done.stderr, done.stderr
        return done.stderr
    bundle = Bundle(folder)
    start, data = bundle.start(), bundle.manifest["data"]["input"]
    random = np.random.default_rng(5)
    feeds = bundle.feeds(start, random.normal(size=data["shape"]).astype(np.float32), random.integers(0, 2, batch))
    return {"logits": next(iter(bundle.graph("eval")(feeds).values()))} | bundle.gradients(bundle.graph("grad")(feeds))


@pytest.fixture(scope="module", params=NAMES)
def network(request, tmp_path_factory):
    """A network in the opset in which it was exported, and what it gives there."""
    entry = ENTRIES.get(request.param, dict(file=f"{request.param}.onnx", input_shape=[2], batch_norm=["frozen"]))
    model, folder = onnx.load(FIXTURES / entry["file"]), tmp_path_factory.mktemp("network")
    batch, mode = entry["input_shape"][0], entry["batch_norm"][0]
    expected = judged(FIXTURES / entry["file"], folder / "bundle", batch, mode)
    assert isinstance(expected, dict), expected
    return request.param, model, batch, mode, expected


def converted(model, opset):
    """The model in that opset; none where ONNX's converter has no way."""
    try:
        made = version_converter.convert_version(model, opset)
    except Exception:  # whatever it says of an operator that it cannot bring there
        return stamped(model, opset)
    made.ir_version = IR_OF[opset]
    return made


def stamped(model, opset):
    """The nodes as they are, where they are nodes of that opset too: there is no way back in the converter, and most operators have not changed."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.opset_import[:]
    made.opset_import.append(onnx.helper.make_opsetid("", opset))
    made.ir_version = max(IR_OF[opset], 4)  # before, initializers must be inputs as well
    try:
        onnx.checker.check_model(made, full_check=True)
        return made
    except Exception:  # an operator or attribute that the opset does not have
        return None


@pytest.mark.parametrize("opset", range(OLDEST, NEWEST + 1))
def test_every_opset_is_the_same_network(network, opset, tmp_path):
    name, model, batch, mode, expected = network
    made = converted(model, opset)
    if made is None:
        pytest.skip("ONNX's converter cannot")
    path = tmp_path / "model.onnx"
    onnx.save(made, path)
    found = judged(path, tmp_path / "bundle", batch, mode)
    if isinstance(found, str):
        assert not valid(path), f"{name} in opset {opset} is refused, though ONNX's checker takes it: {found}"
        return
    # By place: the converter gives nodes and values other names.
    assert len(found) == len(expected)
    renamed = dict(zip(expected, found.values())) if found.keys() != expected.keys() else found
    lines = mismatches(renamed, expected, 1e-5)
    assert not lines, "\n".join(lines)


def valid(path):
    """Whether ONNX itself takes what its converter has written."""
    try:
        onnx.checker.check_model(str(path), full_check=True)
        return True
    except Exception:
        return False


@pytest.mark.parametrize("opset", [9, 13, 17, 21, 24, 26])
def test_many_of_them_are_converted(opset):
    """That the test above tests something. ONNX's converter knows few ways back below 13."""
    models = [onnx.load(FIXTURES / f"{n}.onnx") for n in NAMES]
    least = len(NAMES) // 3 if opset >= 13 else 1
    assert sum(converted(m, opset) is not None for m in models) >= least


def test_opsets_beyond_are_refused(tmp_path):
    model = onnx.load(FIXTURES / "basic.bn.onnx")
    for opset in (6, 27):
        del model.opset_import[:]
        model.opset_import.append(onnx.helper.make_opsetid("", opset))
        onnx.save(model, tmp_path / "model.onnx")
        said = judged(tmp_path / "model.onnx", tmp_path / "bundle", 2, "frozen")
        assert isinstance(said, str) and f"opset {opset}" in said and "version_converter" in said, said
