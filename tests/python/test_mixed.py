"""Mixed precision: gradients as good as those of PyTorch's autocast, and the loss scale."""
import json

import numpy as np
import onnx
import pytest
from harness import ENTRIES, FIXTURES, read_tensors, relative_error, rewrite, rewrite_fixture, spgraph
from smooth import variant, without_kinks

AUTOCAST = json.loads((FIXTURES / "autocast.json").read_text())
SEEDS = range(4100, 4124)
HALF = {"bfloat16": "rounded-bf16", "float16": "rounded-f16"}


def squares(case, model, tmp_path, precision=None):
    """By variant, as `tests/generate/autocast.py` makes them, and tensor: the sum of squares of the error of half precision, and that of the gradient."""
    name, mode, kind = case.split("/")
    entry = ENTRIES[name]
    tensors = read_tensors(entry["golden"])

    def gradients(folder, precision):
        options = ("--split", "--precision", precision)
        bundle = rewrite(model, tmp_path / folder, *options, batch=entry["input_shape"][0], batch_norm=mode, penalty="none")
        start, run = bundle.start(), bundle.graph("grad")
        # At the scale that autocast was given.
        start |= {s["name"]: np.array(1024, np.float32) for s in bundle.state if s.get("meaning") == "loss-scale"}
        for seed in SEEDS:
            varied, x = variant(seed, {n: start[n] for n in bundle.named("shared", "new")}, tensors["input"])
            yield bundle.gradients(run(bundle.feeds(start | varied, x, tensors["target"])))

    pairs = zip(gradients("exact", "float32"), gradients("rough", precision or HALF[kind]))
    return [{n: np.array([np.sum((rough[n].astype(float) - e) ** 2), np.sum(e.astype(float) ** 2)]) for n, e in exact.items()} for exact, rough in pairs]


def error(pair):
    return (pair[0] / pair[1]) ** 0.5


def ratios(case, tmp_path, precision=None):
    """By tensor: our error beside autocast's, each the median of the variants."""
    model = tmp_path / "smooth.onnx"
    onnx.save(without_kinks(FIXTURES / ENTRIES[case.split("/")[0]]["file"]), model)
    variants = squares(case, model, tmp_path, precision)
    allowed = AUTOCAST["tensors"][case]
    assert len(allowed.keys() & variants[0].keys()) > len(variants[0]) / 2
    return {n: np.median([error(v[n]) for v in variants]) / allowed[n] for n in allowed.keys() & variants[0].keys()}


@pytest.mark.parametrize("case", sorted(AUTOCAST["tensors"]))
def test_without_kinks_no_tensor_is_worse_than_in_autocast(case, tmp_path):
    found = ratios(case, tmp_path)
    worse = {n: round(r, 2) for n, r in found.items() if not 0 < r <= 1.5}
    mean = np.exp(np.mean(np.log(list(found.values()))))
    print(f"{case}: {mean:.2f} times autocast's error, at most {max(found.values()):.2f}")
    assert not worse and mean <= 1.1, f"mean {mean:.3g}, {worse}"


def test_another_precision_is_told_from_autocasts(tmp_path):
    assert min(ratios("dense/frozen/float16", tmp_path, "rounded-bf16").values()) > 1.5


@pytest.mark.parametrize("case", sorted(AUTOCAST["whole"]))
def test_with_kinks_the_whole_gradient_is_as_good_as_in_autocast(case, tmp_path):
    variants = squares(case, FIXTURES / ENTRIES[case.split("/")[0]]["file"], tmp_path)
    errors = [error(sum(v.values())) for v in variants]
    ratio = np.median(errors) / np.median(AUTOCAST["whole"][case])
    print(f"{case}: {ratio:.2f} times autocast's error")
    assert min(errors) > 0 and ratio <= 1.2, f"{ratio:.3g} times autocast's"


def scaled(tmp_path, *options, precision="rounded-f16"):
    bundle = rewrite_fixture("basic.bn", tmp_path, "--precision", precision, *options, mode="train", penalty="l2-sp")
    tensors = read_tensors(ENTRIES["basic.bn"]["golden"])
    return bundle, tensors["input"], tensors["target"]


def named(bundle):
    return {s["meaning"]: s["name"] for s in bundle.state if "meaning" in s}


def scalars(bundle):
    return {o["meaning"]: o["name"] for o in bundle.manifest["outputs"]}


@pytest.mark.parametrize("optimizer", [(), ("--optimizer", "adamw", "--ema", "0.9", "--clip-norm", "0.5")])
def test_a_step_that_overflows_leaves_every_bit(optimizer, tmp_path):
    bundle, x, target = scaled(tmp_path, *optimizer)
    step, state, names, outputs = bundle.graph("step"), bundle.start(), named(bundle), scalars(bundle)
    assert state[names["loss-scale"]] == 65536 and state[names["good-steps"]] == 0
    state[names["loss-scale"]] = np.array(2.0**24, np.float32)
    state[names["good-steps"]] = np.array(7, np.float32)
    # One step to leave the start, where momenta are zero.
    moved = bundle.next_state(step(bundle.feeds({**state, names["loss-scale"]: np.array(1, np.float32)}, x, target)))
    state = moved | {names["loss-scale"]: np.array(2.0**24, np.float32), names["good-steps"]: np.array(7, np.float32)}
    found = step(bundle.feeds(state, x * 100, target))
    after = bundle.next_state(found)
    assert found[outputs["skipped"]] == 1 and found[outputs["loss-scale"]] == 2.0**24
    for name in state:
        if name not in names.values():
            assert after[name].tobytes() == state[name].tobytes(), name
    assert after[names["loss-scale"]] == 2.0**23 and after[names["good-steps"]] == 0


def test_the_scale_grows_after_many_good_steps_and_has_bounds(tmp_path):
    bundle, x, target = scaled(tmp_path)
    step, start, names, outputs = bundle.graph("step"), bundle.start(), named(bundle), scalars(bundle)

    def after(scale, good):
        state = start | {names["loss-scale"]: np.array(scale, np.float32), names["good-steps"]: np.array(good, np.float32)}
        found = step(bundle.feeds(state, x, target))
        state = bundle.next_state(found)
        return float(state[names["loss-scale"]]), float(state[names["good-steps"]]), float(found[outputs["skipped"]])

    assert after(1024, 5) == (1024, 6, 0)
    assert after(1024, 1999) == (2048, 0, 0)
    assert after(1, 1999) == (2, 0, 0)
    assert after(np.nan, 3)[2] == 1


def test_the_scale_changes_no_gradient_but_by_rounding(tmp_path):
    bundle, x, target = scaled(tmp_path, "--split")
    grad, start, name = bundle.graph("grad"), bundle.start(), named(bundle)["loss-scale"]
    one, many = (bundle.gradients(grad(bundle.feeds(start | {name: np.array(s, np.float32)}, x, target))) for s in (64, 4096))
    assert all(relative_error(many[n], one[n]) < 2e-2 for n in one)


@pytest.mark.parametrize("precision", ["rounded-f16", "rounded-bf16", "mixed-f16"])
def test_halves_do_what_the_step_does(precision, tmp_path):
    bundle, x, target = scaled(tmp_path, "--split", "--optimizer", "adamw", "--clip-norm", "0.3", precision=precision)
    step, grad, apply = (bundle.graph(n) for n in ("step", "grad", "apply"))
    state = bundle.start()
    whole = bundle.next_state(step(bundle.feeds(state, x, target, lr=0.01)))
    feeds = bundle.feeds(state, x, target, lr=0.01)
    found = grad(feeds)
    halves = bundle.next_state(found | apply(feeds | found))
    assert all(relative_error(halves[n], whole[n]) < 1e-6 for n in whole)


@pytest.mark.parametrize("precision,opset,half", [("mixed-f16", 17, onnx.TensorProto.FLOAT16), ("mixed-bf16", 22, onnx.TensorProto.BFLOAT16)])
def test_graphs_are_valid_and_products_are_half(precision, opset, half, tmp_path):
    bundle = rewrite_fixture("basic.bn", tmp_path, "--precision", precision, "--dialect", "inlined", mode="train")
    model = onnx.load(tmp_path / "step.onnx")
    assert model.opset_import[0].version == opset
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    # CUDA has no transposed convolutions of bfloat16.
    kinds = ("Conv", "Gemm", "MatMul") + ("ConvTranspose",) * (half == onnx.TensorProto.FLOAT16)
    products = [n for n in model.graph.node if n.op_type in kinds]
    assert products and all(types[n.output[0]] == half for n in products)
    assert all(s["dtype"] == "float32" for s in bundle.state)


def test_the_evaluation_and_the_export_keep_the_sources_types(tmp_path):
    rewrite_fixture("basic.bn", tmp_path / "a", "--precision", "mixed-f16", mode="train")
    rewrite_fixture("basic.bn", tmp_path / "b", mode="train")
    assert (tmp_path / "a" / "eval.onnx").read_bytes() == (tmp_path / "b" / "eval.onnx").read_bytes()
    assert (tmp_path / "a" / "template.onnx").read_bytes() == (tmp_path / "b" / "template.onnx").read_bytes()


def test_a_bundle_is_made_again(tmp_path):
    bundle, *_ = scaled(tmp_path / "a", precision="mixed-f16")
    spgraph("rewrite", FIXTURES / ENTRIES["basic.bn"]["file"], "--from-manifest", bundle.folder / "manifest.json", "-o", tmp_path / "b")
    assert (tmp_path / "a" / "step.onnx").read_bytes() == (tmp_path / "b" / "step.onnx").read_bytes()
