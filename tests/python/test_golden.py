"""Loss, gradients and statistics of every fixture against PyTorch's float64 values."""
import onnx
import pytest
from harness import CASES, DOUBLE_TOLERANCE, ENTRIES, FIXTURES, TOLERANCE, mismatches, part, read_tensors, rewrite, rewrite_fixture

SYMBOLIC = [case for case in CASES if ENTRIES[case[0]]["symbolic_batch"]]
TIED = ["identity.bn", "shared.bn"]


def evaluate(bundle, entry):
    """The outputs of `grad.onnx` on the fixture's batch, by name."""
    tensors = read_tensors(entry["golden"])
    return bundle.graph("grad")(bundle.feeds(bundle.start(), tensors["input"], tensors["target"]))


def demand_golden(bundle, entry, mode):
    outputs = evaluate(bundle, entry)
    expected = part(read_tensors(entry["golden"]), mode)
    tolerance = DOUBLE_TOLERANCE if bundle.double else TOLERANCE
    lines = mismatches({"loss": outputs["loss"]}, {"loss": expected["loss"]}, tolerance)
    lines += mismatches(
        bundle.gradients(outputs), part(expected, "grad"), tolerance,
        bounds={n: 3 * e for n, e in part(expected, "f32_error").items()} if entry["deep"] else None,
        zeros=entry["zero_gradients"][mode], allow_more=entry["more_parameters"],
    )  # fmt: skip
    lines += mismatches(bundle.statistics(outputs), part(expected, "buffer"), tolerance)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("name,mode", CASES)
@pytest.mark.parametrize("dialect", ["functions", "inlined"])
def test_golden(name, mode, dialect, tmp_path):
    bundle = rewrite_fixture(name, tmp_path, "--split", "--dialect", dialect, mode=mode)
    demand_golden(bundle, ENTRIES[name], mode)


@pytest.mark.parametrize("name,mode", SYMBOLIC)
def test_golden_with_dynamic_batch(name, mode, tmp_path):
    bundle = rewrite_fixture(name, tmp_path, "--split", mode=mode, batch="dynamic")
    assert bundle.manifest["data"]["input"]["shape"][0] == -1
    demand_golden(bundle, ENTRIES[name], mode)


@pytest.mark.parametrize("name", TIED)
@pytest.mark.parametrize("mode", ["train", "frozen"])
def test_ties_that_are_kept_add_their_gradients(name, mode, tmp_path):
    bundle = rewrite_fixture(name, tmp_path, "--split", "--keep-ties", mode=mode)
    expected = part(part(read_tensors(ENTRIES[name]["golden"]), mode), "tied_grad")
    lines = mismatches(bundle.gradients(evaluate(bundle, ENTRIES[name])), expected, TOLERANCE, allow_more=True)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("version", range(3, 14))
def test_every_ir_version_is_read(version, tmp_path):
    model = onnx.load(FIXTURES / ENTRIES["basic"]["file"])
    model.ir_version = version
    onnx.save(model, tmp_path / "model.onnx")
    bundle = rewrite(tmp_path / "model.onnx", tmp_path / "bundle", "--split", batch=ENTRIES["basic"]["input_shape"][0])
    demand_golden(bundle, ENTRIES["basic"], "frozen")


EVERYTHING = ("--clip-norm", 0.3, "--ema", 0.9, "--spd", 1, "--lr-mult", "*.bias=3")


@pytest.mark.parametrize("penalty", ["none", "l2-sp"])
@pytest.mark.parametrize("optimizer", [(), ("--optimizer", "adamw", *EVERYTHING), ("--optimizer", "lars", *EVERYTHING), ("--nesterov", *EVERYTHING)])
@pytest.mark.parametrize("name", ["basic.bn", "vgg"])
def test_gradients_then_apply_is_one_step(name, optimizer, penalty, tmp_path):
    """`grad.onnx` and then `apply.onnx` do what `step.onnx` does, twice in a row."""
    entry, tensors = ENTRIES[name], read_tensors(ENTRIES[name]["golden"])
    bundle = rewrite_fixture(name, tmp_path, "--split", *optimizer, mode=entry["batch_norm"][0], penalty=penalty)
    step, grad, apply = (bundle.graph(n) for n in ("step", "grad", "apply"))
    whole = halves = bundle.start()
    for _ in range(2):
        whole = bundle.next_state(step(bundle.feeds(whole, tensors["input"], tensors["target"], lr=0.01)))
        feeds = bundle.feeds(halves, tensors["input"], tensors["target"], lr=0.01)
        gradients = grad(feeds)
        halves = bundle.next_state(gradients | apply(feeds | gradients))
    lines = mismatches(halves, whole, 1e-6)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("name", ["basic.bn", "shared.bn", "constants", "inputs", "external", "vgg"])
def test_start_is_the_source(name, tmp_path):
    """`init.onnx` gives the file's own tensors, bit for bit."""
    bundle = rewrite_fixture(name, tmp_path)
    model = onnx.load(FIXTURES / ENTRIES[name]["file"])
    stored = {t.name: t for t in model.graph.initializer} | {n.output[0]: n.attribute[0].t for n in model.graph.node if n.op_type == "Constant"}
    start = bundle.start()
    checked = [n for n in bundle.named("shared") if n in stored]
    assert set(ENTRIES[name]["weights"]) <= set(checked)
    for n in checked:
        assert start[n].tobytes() == onnx.numpy_helper.to_array(stored[n]).tobytes(), n
