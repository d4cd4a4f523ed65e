"""Every operator in a small classifier: its values against ONNX Runtime on the model as it is, its gradients against PyTorch's in float64."""
import onnx
import operator_models as models
import pytest
from harness import FIXTURES, TOLERANCE, Graph, mismatches, part, read_tensors, relative_error, rewrite

GOLDEN = read_tensors("operators.safetensors")

#: What this version of ONNX Runtime has no kernel for.
RUNTIME_LACKS = {("GlobalLpPool", 22)}


@pytest.mark.parametrize("case", models.cases(), ids=lambda case: case.name)
def test_operator(case, tmp_path):
    onnx.save(models.model(case), tmp_path / "model.onnx")
    expected = part(GOLDEN, case.name)
    bundle = rewrite(tmp_path / "model.onnx", tmp_path / "bundle", "--split", batch=models.BATCH)
    state = bundle.start()
    outputs = bundle.graph("grad")(bundle.feeds(state, models.images(case), models.target(case)))
    lines = mismatches({"loss": outputs["loss"]}, {"loss": expected["loss"]}, TOLERANCE)
    gradients = {n: g for n, g in bundle.gradients(outputs).items() if not n.startswith("fc.")}
    lines += mismatches(gradients, part(expected, "grad"), TOLERANCE)
    evaluation = bundle.graph("eval")
    logits = evaluation(bundle.feeds(state, models.images(case), models.target(case)))[evaluation.outputs[0]]
    lines += mismatches({"logits": logits}, {"logits": expected["logits"]}, TOLERANCE)
    if (case.op, case.opset) not in RUNTIME_LACKS:
        original = Graph(tmp_path / "model.onnx")({"images": models.images(case)})["logits"]
        error = relative_error(logits, original)
        lines += [f"the logits differ from the model's own by {error:.2g}"] if error > 1e-5 else []
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize("dialect", ["functions", "inlined"])
@pytest.mark.parametrize("batch", [models.BATCH, "dynamic"])
def test_many_of_them(batch, dialect, tmp_path):
    case, expected = models.Case("chain", 24), part(GOLDEN, "chain")
    bundle = rewrite(FIXTURES / "operators.onnx", tmp_path, "--split", "--dialect", dialect, batch=batch)
    outputs = bundle.graph("grad")(bundle.feeds(bundle.start(), models.images(case, 8), models.target(case)))
    lines = mismatches({"loss": outputs["loss"]}, {"loss": expected["loss"]}, TOLERANCE)
    lines += mismatches(bundle.gradients(outputs), part(expected, "grad"), TOLERANCE)
    assert not lines, "\n".join(lines)


def test_every_golden_value_has_a_case():
    named = {name.rsplit("/", 1)[0].removesuffix("/grad") for name in GOLDEN}
    assert named == {case.name for case in models.cases()} | {"chain"}
