"""The Python module trains to the weights of `spgraph finetune`, exports, goes on, and refuses what does not fit."""
import json
import os
import shutil
import subprocess
import sys

import lacking
import numpy as np
import onnx
import onnxruntime
import pytest
from harness import BINARY, ROOT, mismatches, spgraph as program
from order import batches
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(ROOT / "python"))
import spgraph  # noqa: E402
from spgraph.images import resized  # noqa: E402

SOURCE = ROOT / "models" / "resnet20-source.onnx"
STEPS, BATCH = 10, 12


@pytest.fixture(autouse=True, scope="module")
def the_binary():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPGRAPH", str(BINARY))
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Images, a bundle, and what `finetune` makes of them in ten steps, each of other images."""
    folder = tmp_path_factory.mktemp("module")
    program("synth", "--task", "target-a", "--per-class", 10, "--size", 50, "-o", folder / "images")
    bundle = spgraph.rewrite(SOURCE, folder / "bundle", classes=folder / "images", batch=BATCH)
    options = ("--steps", STEPS, "--schedule", "constant", "--warmup", 0, "--lr", 0.01, "--threads", 1)
    program("finetune", bundle.folder, "--data", folder / "images", *options, "-o", folder / "run")
    return folder


@pytest.fixture
def bundle(work):
    return spgraph.Bundle(work / "bundle")


def data(bundle, work):
    """The batches of the run, read from the files by this module, without Pillow."""
    files = sorted(p for p in (work / "images").rglob("*.png"))
    labels = np.array([bundle.classes.index(p.parent.name) for p in files])
    images = np.stack([normalised(p) for p in files])
    return [(images[rows], labels[rows]) for rows in map(np.array, batches(len(files), BATCH, STEPS))]


def normalised(path):
    """A square PNG of RGB as C×32×32, with the bundle's statistics."""
    import struct
    import zlib

    content, at, packed = path.read_bytes(), 8, b""
    while at < len(content):
        (length,), kind = struct.unpack_from(">I", content, at), content[at + 4 : at + 8]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">IIBB", content, at + 8)
            assert (depth, colour) == (8, 2)
        packed += content[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    raw, rows, above = zlib.decompress(packed), [], [0] * (3 * width)
    for y in range(height):
        line = raw[y * (3 * width + 1) : (y + 1) * (3 * width + 1)]
        row = []
        for i, value in enumerate(line[1:]):
            a, b, c = (row[i - 3] if i >= 3 else 0), above[i], (above[i - 3] if i >= 3 else 0)
            paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            row.append((value + (0, a, b, (a + b) // 2, paeth)[line[0]]) & 255)
        rows.append(row)
        above = row
    pixels = resized(np.array(rows, np.uint8).reshape(height, width, 3), (32, 32)) / np.float32(255)
    return ((pixels - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])).transpose(2, 0, 1)


def trained(bundle, work, steps=STEPS):
    trainer = spgraph.Trainer(bundle, lr=0.01)
    return trainer, [trainer.step(*batch) for batch in data(bundle, work)[:steps]]


def test_the_weights_are_those_of_finetune(bundle, work):
    trainer, found = trained(bundle, work)
    said = [json.loads(line) for line in (work / "run" / "metrics.jsonl").read_text().splitlines()]
    said = [record for record in said if record["kind"] == "step"]
    assert len(said) == STEPS
    for ours, theirs in zip(found, said):
        assert ours.loss == pytest.approx(theirs["loss"], rel=1e-4) and ours.penalty == pytest.approx(theirs["penalty"], rel=1e-4)
    expected = load_file(work / "run" / "state.safetensors")
    assert mismatches({n: t for n, t in trainer.state.items() if n in expected}, expected, 1e-4) == []


def test_a_state_that_was_taken_stays_what_it_was(bundle, work):
    trainer, _ = trained(bundle, work, 1)
    taken = trainer.state
    kept = {name: tensor.copy() for name, tensor in taken.items()}
    for batch in data(bundle, work)[1:4]:
        trainer.step(*batch)
    for name, tensor in kept.items():
        np.testing.assert_array_equal(taken[name], tensor)
    assert not np.array_equal(trainer.state["conv1.weight"], kept["conv1.weight"])


def test_exports_are_those_of_the_run(bundle, work, tmp_path):
    """The file that comes from the module's state has the same nodes as the run's, and weights within 1e-4."""
    trainer, _ = trained(bundle, work)
    ours = onnx.load(trainer.export(tmp_path / "ours.onnx"))
    theirs = onnx.load(spgraph.export(work / "run", tmp_path / "theirs.onnx"))
    onnx.checker.check_model(ours, full_check=True)
    assert [n.SerializeToString() for n in ours.graph.node] == [n.SerializeToString() for n in theirs.graph.node]
    tensors = [{t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer} for m in (ours, theirs)]
    assert mismatches(*tensors, 1e-4) == []
    images = data(bundle, work)[0][0]
    session = onnxruntime.InferenceSession(ours.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": images})[0], trainer.predict(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(spgraph.Error, match="ours.onnx"):
        trainer.export(tmp_path / "ours.onnx")


def test_interpolation_ends_at_the_start_and_at_the_weights(bundle, work, tmp_path):
    trainer, _ = trained(bundle, work, 3)
    start, ends = bundle.start(), {}
    for to in (0, 1):
        model = onnx.load(trainer.interpolate(tmp_path / f"{to}.onnx", to))
        ends[to] = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    np.testing.assert_array_equal(ends[0]["conv1.weight"], start["conv1.weight"])
    np.testing.assert_array_equal(ends[1]["conv1.weight"], trainer.state["conv1.weight"])


def test_training_goes_on_from_a_file_to_the_same_bits(bundle, work, tmp_path):
    through, _ = trained(bundle, work, 6)
    first, _ = trained(bundle, work, 3)
    first.save(tmp_path / "state.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]
    second = spgraph.Trainer(bundle, lr=0.01)
    second.load(tmp_path / "state.safetensors")
    assert second.steps == 3
    for batch in data(bundle, work)[3:6]:
        second.step(*batch)
    for name, tensor in through.state.items():
        np.testing.assert_array_equal(tensor, second.state[name], err_msg=name)


@pytest.mark.parametrize("options", [{"precision": "mixed-f16"}, {"precision": "rounded-f16"}, {"dropout": "0.3"}, {"precision": "mixed-f16", "dropout": "0.3"}], ids=str)
def test_state_that_is_no_weight_is_carried_and_saved(work, tmp_path, options):
    """The loss scale is a single number, and what masks are made of whole ones."""
    bundle = spgraph.rewrite(SOURCE, tmp_path / "bundle", classes=work / "images", batch=BATCH, **options)
    words = ("--steps", STEPS, "--schedule", "constant", "--warmup", 0, "--lr", 0.01, "--seed", 0, "--threads", 1, "--kernels", "standard")
    program("finetune", bundle.folder, "--data", work / "images", *words, "-o", tmp_path / "run")
    expected = load_file(tmp_path / "run" / "state.safetensors")
    trainer, batches_of_run = spgraph.Trainer(bundle, lr=0.01), data(bundle, work)
    for number, batch in enumerate(batches_of_run):
        if number == 4:
            trainer.save(tmp_path / "half.safetensors")
            saved = load_file(tmp_path / "half.safetensors")
            assert {s["name"]: list(saved[s["name"]].shape) for s in bundle.state} == {s["name"]: s["shape"] for s in bundle.state}
            trainer = spgraph.Trainer(bundle, lr=0.01)
            trainer.load(tmp_path / "half.safetensors")
        trainer.step(*batch)
    found = {n: t for n, t in trainer.state.items() if n in expected}
    assert mismatches({n: t for n, t in found.items() if t.dtype == np.float32}, {n: t for n, t in expected.items() if t.dtype == np.float32}, 1e-3) == []
    for name, tensor in found.items():
        if tensor.dtype != np.float32:
            np.testing.assert_array_equal(tensor, expected[name])


def test_goes_on_from_the_weights_of_a_run(bundle, work):
    trainer = spgraph.Trainer(bundle)
    with pytest.raises(spgraph.Error, match="fresh_optimizer"):
        trainer.load(work / "run" / "state.safetensors")
    trainer.load(work / "run" / "state.safetensors", fresh_optimizer=True)
    np.testing.assert_array_equal(trainer.state["fc.weight"], load_file(work / "run" / "state.safetensors")["fc.weight"])


def test_fit_leaves_short_batches_out_and_evaluate_fills_them(bundle, work):
    trainer = spgraph.Trainer(bundle)
    (images, labels), rates = data(bundle, work)[0], []
    loader = [(images, labels), (images[:5], labels[:5])]
    assert trainer.fit(loader, epochs=2, schedule=lambda step: rates.append(step) or 0.01) == 10
    assert trainer.steps == 2 and rates == [0, 1]
    found = trainer.evaluate(loader)
    assert found.images == BATCH + 5 and 0 <= found.accuracy <= 1
    with pytest.raises(spgraph.Error, match="no batch"):
        trainer.fit(loader[1:])


def test_any_number_of_images_with_a_dynamic_batch(work, tmp_path):
    bundle = spgraph.rewrite(SOURCE, tmp_path / "dynamic", classes=["a", "b", "c", "d", "e", "f"], batch="dynamic", penalty="l2")
    assert bundle.batch is None and bundle.classes == list("abcdef")
    trainer = spgraph.Trainer(bundle)
    for count in (3, 7):
        assert trainer.step(np.zeros([count, 3, 32, 32], np.float32), np.arange(count) % 6).images == count


def changed(images, labels, what):
    cases = {
        "channels last": (images.transpose(0, 2, 3, 1), labels),
        "fewer images": (images[:-1], labels[:-1]),
        "other labels": (images, labels[:-1]),
        "a label too high": (images, np.where(labels == labels[0], 6, labels)),
        "a negative label": (images, labels - 1 - labels.min()),
        "labels as floats": (images, labels.astype(np.float32)),
        "bytes": ((images * 20 + 100).astype(np.uint8), labels),
        "no numbers": (np.full_like(images, np.nan), labels),
    }
    return cases[what]


@pytest.mark.parametrize(
    "what, said",
    [
        ("channels last", r"shape \[12, 32, 32, 3\]; the network takes \[12, 3, 32, 32\]"),
        ("fewer images", r"shape \[11, 3"),
        ("other labels", r"labels have the shape \[11\]"),
        ("a label too high", "classes 0 to 5"),
        ("a negative label", "classes 0 to 5"),
        ("labels as floats", "whole numbers"),
        ("bytes", "normalised"),
        ("no numbers", "lower `lr`"),
    ],
)
def test_batches_that_do_not_fit_are_refused_and_change_nothing(bundle, work, what, said):
    trainer = spgraph.Trainer(bundle)
    before = trainer.state
    with pytest.raises(spgraph.Error, match=said):
        trainer.step(*changed(*data(bundle, work)[0], what))
    assert trainer.steps == 0
    for name, tensor in trainer.state.items():
        np.testing.assert_array_equal(tensor, before[name])


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda t: t | {"fc.weight": t["fc.weight"][:5]}, r"`fc.weight` is float32 \[5, 64\]"),
        (lambda t: {n: v for n, v in t.items() if n != "fc.bias"}, "lacks `fc.bias`"),
        (lambda t: t | {"other": t["fc.bias"]}, "`other`"),
        (lambda t: t | {"fc.bias": t["fc.bias"].astype(np.float64)}, "float64"),
    ],
)
def test_weights_of_another_model_are_refused(bundle, work, tmp_path, change, said):
    """By the module, and by the program; nothing is written."""
    path = tmp_path / "state.safetensors"
    save_file({n: np.ascontiguousarray(t) for n, t in change(spgraph.Trainer(bundle).state).items()}, path)
    with pytest.raises(spgraph.Error, match=said):
        spgraph.Trainer(bundle).load(path)
    with pytest.raises(spgraph.Error, match=said.split(" is ")[0]):
        spgraph.export(bundle, tmp_path / "tuned.onnx", weights=path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_weights_of_another_bundle_are_refused(bundle, work, tmp_path):
    other = spgraph.rewrite(SOURCE, tmp_path / "other", classes=6, seed=1, batch=BATCH)
    spgraph.Trainer(other).save(tmp_path / "state.safetensors")
    with pytest.raises(spgraph.Error, match="another bundle"):
        spgraph.Trainer(bundle).load(tmp_path / "state.safetensors")
    with pytest.raises(spgraph.Error, match="another bundle"):
        spgraph.export(bundle, tmp_path / "tuned.onnx", weights=tmp_path / "state.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(spgraph.Error, match="cannot read"):
        spgraph.Trainer(bundle).load(tmp_path / "text")
    with pytest.raises(spgraph.Error, match="safetensors"):
        spgraph.export(bundle, tmp_path / "tuned.onnx", weights=tmp_path / "text")
    assert not (tmp_path / "tuned.onnx").exists()


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda folder: (folder / "manifest.json").unlink(), "no bundle"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 2}'), "damaged"),
        (lambda folder: (folder / "manifest.json").write_text('{"format": 3}'), "format 3"),
        (lambda folder: (folder / "step.onnx").unlink(), "missing"),
        (lambda folder: (folder / "step.onnx").write_bytes(b"x"), "changed|cannot run"),
        (lambda folder: shutil.copy(folder.parent / "other" / "step.onnx", folder / "step.onnx"), "changed|not the step"),
    ],
)
def test_bundles_that_are_none_are_refused(work, tmp_path, change, said):
    shutil.copytree(work / "bundle", tmp_path / "bundle")
    spgraph.rewrite(SOURCE, tmp_path / "other", classes=6, seed=1, batch=BATCH)
    change(tmp_path / "bundle")
    with pytest.raises(spgraph.Error, match=said):
        spgraph.Trainer(tmp_path / "bundle")


def test_an_operator_that_the_runtime_lacks_is_named_with_its_opset(work, tmp_path):
    lacking.without(work / "bundle", tmp_path / "lacking", "Conv")
    with pytest.raises(spgraph.Error, match="cannot run .*step.onnx.*Unheard with domain_version of 17"):
        spgraph.Trainer(tmp_path / "lacking")


def test_without_hashes_it_is_said_and_the_step_is_still_known(work, tmp_path, monkeypatch):
    monkeypatch.setattr("spgraph.bundle.blake3", None)
    shutil.copytree(work / "bundle", tmp_path / "bundle")
    spgraph.rewrite(SOURCE, tmp_path / "other", classes=6, seed=1, batch=BATCH)
    shutil.copy(tmp_path / "other" / "step.onnx", tmp_path / "bundle" / "step.onnx")
    with pytest.warns(UserWarning, match="blake3 is not installed"), pytest.raises(spgraph.Error, match="not the step"):
        spgraph.Trainer(tmp_path / "bundle")


def test_the_program_speaks_for_itself(tmp_path):
    with pytest.raises(spgraph.Error, match="No such file"):
        spgraph.rewrite(tmp_path / "no.onnx", tmp_path / "b")
    with pytest.raises(spgraph.Error, match="--penalti"):
        spgraph.rewrite(SOURCE, tmp_path / "b", penalti="l2")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_not_there_in_part(bundle, tmp_path):
    trainer = spgraph.Trainer(bundle)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "no" / "state.safetensors", tmp_path / "folder"):
        with pytest.raises(spgraph.Error, match="cannot write"):
            trainer.save(path)
    # As Ctrl-C in the middle of a save, before the file has its name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spgraph.trainer.os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trainer.save(tmp_path / "state.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"] and not list((tmp_path / "folder").iterdir())


def test_classes_are_the_folders_of_images_or_those_of_its_train(work, tmp_path):
    with pytest.raises(spgraph.Error, match="no folder of images"):
        spgraph.rewrite(SOURCE, tmp_path / "x", classes=tmp_path / "nothing")
    for part in ("train", "test"):
        shutil.copytree(work / "images", tmp_path / "photos" / part)
    assert spgraph.rewrite(SOURCE, tmp_path / "bundle", classes=tmp_path / "photos").classes == spgraph.Bundle(work / "bundle").classes


def test_the_example_says_what_is_wrong_and_mixes_no_models(tmp_path):
    script = ROOT / "examples" / "python" / "finetune.py"

    def said(*arguments):
        done = subprocess.run([sys.executable, script, *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT / "python"), "SPGRAPH": str(BINARY)})
        assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
        return done.stderr

    program("synth", "--task", "target-a", "--per-class", 2, "-o", tmp_path / "photos")
    assert "cannot read nothing.onnx" in said("nothing.onnx", "photos", "tuned.onnx")
    assert "no folder of images" in said(SOURCE, "photo", "tuned.onnx")
    spgraph.rewrite(SOURCE, tmp_path / "tuned.v1.spgraph", classes=tmp_path / "photos", batch=4)
    program("new", "resnet20", "--classes", 3, "-o", tmp_path / "other.onnx")
    assert "was made of another model than other.onnx" in said("other.onnx", "photos", "tuned.v1.onnx")


def test_other_mistakes(bundle):
    with pytest.raises(spgraph.Error, match="no scalar `gamma`"):
        spgraph.Trainer(bundle, gamma=1.0)
    with pytest.raises(spgraph.Error, match="no device"):
        spgraph.Trainer(bundle, device="tpu")
    with pytest.raises(spgraph.Error, match="CUDA"):
        spgraph.Trainer(bundle, device="cuda")
