"""The programs of examples/rust train to the weights of `spgraph finetune`, and refuse what does not fit. Run with a Python that has onnxruntime, onnx, safetensors and pillow, after they were built (RUST_EXAMPLE names their folder): `make test-rust`."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import lab
import lacking
import numpy as np
import onnxruntime
import spgraph

PROGRAMS = pathlib.Path(os.environ.get("RUST_EXAMPLE", lab.ROOT / "examples" / "rust" / "target" / "release"))
(LIBRARY,) = (pathlib.Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
MODEL = lab.ROOT / "models" / "resnet20-source.onnx"


def train(program, *arguments):
    return subprocess.run([str(a) for a in (PROGRAMS / program, *arguments)], capture_output=True, text=True, env=os.environ | {"ORT_DYLIB_PATH": str(LIBRARY)})


def changed(folder, source, name, change):
    shutil.copytree(folder / source, folder / name)
    change(folder / name)


def flipped(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def without_hash(manifest, name):
    known = json.loads(manifest.read_text())
    del known["files"][name]
    manifest.write_text(json.dumps(known, indent=2) + "\n")


with tempfile.TemporaryDirectory() as name:
    folder, cases = pathlib.Path(name), []
    lab.prepare(folder, "--for", "tract")
    spgraph.run("rewrite", MODEL, "--classes", 6, "--class-names-from", folder / "images", "--batch", lab.BATCH, "-o", folder / "ort")
    batches, half = folder / "batches.bin", folder / "half"
    half.mkdir()
    for program, bundle in (("on-tract", "bundle"), ("on-ort", "ort")):
        spgraph.run("convert", folder / bundle, "--to", "single", "-o", folder / f"{bundle}.onnx")
        # A name with dots keeps its end, and another one that begins alike is left as it is.
        beside = half / f"{program}.part"
        beside.write_text("mine")
        for given in (folder / bundle, folder / f"{bundle}.onnx"):
            weights = half / f"{program}.{given.suffix[1:] or 'folder'}.v1.5"
            done = train(program, given, batches, lab.STEPS, lab.LR, weights)
            assert done.returncode == 0, done.stderr
            lab.check(f"{program}, {given.name}", weights, folder)
            weights.unlink()
        assert [f.name for f in half.iterdir()] == [beside.name] and beside.read_text() == "mine"
        beside.unlink()

        # 60 images are five batches of a pass; seven go on into the next one.
        given = lab.batches_of(folder / bundle, folder / "images", 7, folder / f"{program}.batches")
        done = train(program, folder / bundle, given, 7, lab.LR, half / "weights")
        assert done.returncode == 0 and "step 7" in done.stdout, done.stderr
        (half / "weights").unlink()

        other = f"{program}-other"
        spgraph.run("rewrite", MODEL, "--classes", 6, "--batch", lab.BATCH, "--seed", 1, "-o", folder / other, *(["--for", "tract"] if program == "on-tract" else []))
        lacking.without(folder / bundle, folder / f"{program}-lacking", "Conv")
        # The hashes of a bundle may be lost; the step still has its manifest.
        changed(folder, bundle, f"{program}-mixed", lambda made: (shutil.copy(folder / other / "step.onnx", made), without_hash(made / "manifest.json", "step.onnx")))
        changed(folder, bundle, f"{program}-start", lambda made: shutil.copy(folder / other / "init.onnx", made))
        changed(folder, bundle, f"{program}-flipped", lambda made: flipped(made / "step.onnx"))
        changed(folder, bundle, f"{program}-newer", lambda made: replaced(made / "manifest.json", '"format": 2', '"format": 3'))
        changed(folder, bundle, f"{program}-cut", lambda made: (made / "manifest.json").write_bytes((made / "manifest.json").read_bytes()[:-100]))
        cases += [(program, folder / f"{program}-{bad}", batches, lab.STEPS, said) for bad, said in [
            ("lacking", "Unheard"),
            ("mixed", "is not the step of this bundle"),
            ("start", "init.onnx was changed since it was written"),
            ("flipped", "step.onnx was changed since it was written"),
            ("newer", "has format 3"),
            ("cut", "manifest.json is damaged"),
            ("nothing", "is no bundle"),
        ]]
        size = batches.stat().st_size
        for bad, at, data, said in [("label", -8, (6).to_bytes(8, "little"), "label 6 of image"), ("negative", -8, b"\xfe" + b"\xff" * 7, "label -2 of image"), ("infinite", 0, np.full(1, np.inf, "<f4").tobytes(), "lower the rate")]:
            place = at % size
            content = bytearray(batches.read_bytes())
            content[place : place + len(data)] = data
            (folder / bad).write_bytes(content)
            cases.append((program, folder / bundle, folder / bad, lab.STEPS, said))
        cases += [(program, folder / bundle, batches, lab.STEPS + 1, "batches of this bundle have"), (program, folder / bundle, batches, "many", "STEPS is `many`"), (program, folder / bundle / "init.onnx", batches, lab.STEPS, "has no manifest in its metadata")]
    for program, bundle, given, steps, said in cases:
        done = train(program, bundle, given, steps, lab.LR, half / "weights")
        assert done.returncode == 1 and said in done.stderr and "panicked" not in done.stderr, (program, bundle, given, done.stderr[-2000:])
    done = train("on-tract", folder / "bundle", batches, lab.STEPS, lab.LR, folder / "no" / "folder")
    assert done.returncode == 1 and "cannot write" in done.stderr, done.stderr
    assert not list(half.iterdir())
print(f"{6 + len(cases) + 1} passed, 0 failed")
