"""examples/c, compiled against the library of the Python package, trains to the weights of `spgraph finetune`."""
import pathlib
import shutil
import subprocess
import sys

import c_header
import lacking
import numpy as np
import onnxruntime
import pytest
from harness import ROOT, mismatches, spgraph as program
from safetensors.numpy import load_file
from test_module import BATCH, SOURCE, STEPS, data, spgraph, the_binary, work  # noqa: F401

pytestmark = pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux", reason="no C compiler, or not Linux")


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    (library,) = (pathlib.Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(library)
    c_header.write(ROOT, folder / "onnxruntime_c_api.h")
    return built(folder, "finetune", "cc", "-std=c11")


def built(folder, name, *compiler):
    command = [*compiler, "-O1", "-Wall", "-Wextra", "-Werror", ROOT / "examples" / "c" / "finetune.c", f"-I{folder}", f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime", "-o", folder / name]
    subprocess.run(command, check=True)
    return folder / name


@pytest.fixture
def batch_file(work, tmp_path):  # noqa: F811
    given = data(spgraph.Bundle(work / "bundle"), work)
    path = tmp_path / "batches"
    path.write_bytes(b"".join(x.astype("<f4").tobytes() for x, _ in given) + b"".join(y.astype("<i8").tobytes() for _, y in given))
    return path


def run(*arguments):
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True)


def test_the_weights_are_those_of_finetune(binary, work, batch_file, tmp_path):  # noqa: F811
    done = run(binary, work / "bundle", batch_file, STEPS, 0.01, tmp_path / "weights")
    assert done.returncode == 0, done.stderr
    expected, found = load_file(work / "run" / "state.safetensors"), load_file(tmp_path / "weights")
    assert mismatches({n: found[n] for n in expected}, expected, 1e-4) == []
    program("export", work / "bundle", "--weights", tmp_path / "weights", "-o", tmp_path / "tuned.onnx")
    assert (tmp_path / "tuned.onnx").exists()


def test_one_file_gives_the_same_bits(binary, work, batch_file, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("THREADS", "1")
    program("convert", work / "bundle", "--to", "single", "-o", tmp_path / "single.onnx")
    for given in (work / "bundle", tmp_path / "single.onnx"):
        done = run(binary, given, batch_file, STEPS, 0.01, tmp_path / f"{given.stem}.weights")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "bundle.weights").read_bytes() == (tmp_path / "single.weights").read_bytes()


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_as_cpp_it_gives_the_same_bits(binary, work, batch_file, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("THREADS", "1")
    for name, program_of in (("c", binary), ("cpp", built(binary.parent, "finetune-cpp", "c++", "-std=c++17", "-x", "c++"))):
        done = run(program_of, work / "bundle", batch_file, STEPS, 0.01, tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "c").read_bytes() == (tmp_path / "cpp").read_bytes()


def test_so_they_are_with_dropout(binary, work, batch_file, tmp_path):  # noqa: F811
    spgraph.rewrite(SOURCE, tmp_path / "bundle", classes=work / "images", batch=BATCH, dropout=0.3)
    options = ("--steps", STEPS, "--schedule", "constant", "--warmup", 0, "--lr", 0.01, "--threads", 1, "--kernels", "standard")
    program("finetune", tmp_path / "bundle", "--data", work / "images", *options, "-o", tmp_path / "run")
    done = run(binary, tmp_path / "bundle", batch_file, STEPS, 0.01, tmp_path / "weights")
    assert done.returncode == 0, done.stderr
    expected, found = load_file(tmp_path / "run" / "state.safetensors"), load_file(tmp_path / "weights")
    assert mismatches({n: found[n] for n in expected}, expected, 1e-4) == []
    assert not any(t.dtype == np.int64 for t in found.values())
    assert mismatches({n: t for n, t in load_file(work / "run" / "state.safetensors").items()}, expected, 1e-4), "dropout changed nothing"
    program("export", tmp_path / "bundle", "--weights", tmp_path / "weights", "-o", tmp_path / "tuned.onnx")


def test_what_does_not_fit_is_refused(binary, work, batch_file, tmp_path):  # noqa: F811
    shutil.copytree(work / "bundle", tmp_path / "other")
    manifest = tmp_path / "other" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 2', '"format": 3'))
    cases = [
        ((work / "nothing", batch_file, STEPS), "manifest.json"),
        ((tmp_path / "other", batch_file, STEPS), "another format"),
        ((work / "bundle", batch_file, STEPS + 1), "its size"),
    ]
    # The step of another bundle, and one with an operator that this runtime lacks.
    spgraph.rewrite(SOURCE, tmp_path / "seed", classes=work / "images", batch=BATCH, seed=1)
    shutil.copytree(work / "bundle", tmp_path / "mixed")
    shutil.copy(tmp_path / "seed" / "step.onnx", tmp_path / "mixed" / "step.onnx")
    lacking.without(work / "bundle", tmp_path / "lacking", "Conv")
    cases += [((tmp_path / "mixed", batch_file, STEPS), "not the step of this bundle"), ((tmp_path / "lacking", batch_file, STEPS), "Unheard with domain_version of 17")]
    cases += [((work / "bundle" / "init.onnx", batch_file, STEPS), "no manifest in its metadata"), ((tmp_path / "nothing.onnx", batch_file, STEPS), "nothing.onnx")]
    size = batch_file.stat().st_size
    labels = data(spgraph.Bundle(work / "bundle"), work)[0][1]
    for name, place, bad, said in [
        ("label", -8, (6).to_bytes(8, "little"), f"label 6 of image {STEPS * len(labels) - 1} is none of the network's 6 classes"),
        ("negative", -8, b"\xfe" + b"\xff" * 7, "label -2 of image"),
        ("infinite", 0, np.full(1, np.inf, "<f4").tobytes(), "the loss: it is no number: lower the rate"),
    ]:
        content = bytearray(batch_file.read_bytes())
        at = place % size
        content[at : at + len(bad)] = bad
        (tmp_path / name).write_bytes(content)
        cases.append(((work / "bundle", tmp_path / name, STEPS), said))
    for arguments, said in cases:
        done = run(binary, *arguments, 0.01, tmp_path / "weights")
        assert done.returncode == 1 and said in done.stderr, done
    done = run(binary, work / "bundle", batch_file, STEPS, 0.01, tmp_path / "no" / "folder")
    assert done.returncode == 1 and "cannot be written" in done.stderr, done
    for steps, rate, said in (("many", 0.01, "many: it is no number of steps"), (STEPS, "fast", "fast: it is no learning rate")):
        done = run(binary, work / "bundle", batch_file, steps, rate, tmp_path / "weights")
        assert done.returncode == 1 and said in done.stderr, done
    assert not list(tmp_path.glob("weights*"))
