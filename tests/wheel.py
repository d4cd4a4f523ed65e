"""Run with the Python in which the wheel was installed: trains, goes on, exports, all from what the wheel brings; on the images of IMAGES and the network of MODEL where
the environment names them. `make test-wheel`."""
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnxruntime
import spgraph

assert "site-packages" in spgraph.__file__, spgraph.__file__
program = pathlib.Path(spgraph.binary())
assert program.parent == pathlib.Path(sys.executable).parent, program
assert subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1] == spgraph.__version__
examples = pathlib.Path(__file__).resolve().parents[1] / "examples" / "python"
with tempfile.TemporaryDirectory() as name:
    work = pathlib.Path(name)
    if "IMAGES" in os.environ:
        # Every third image of a class is kept for the test.
        for path in sorted(p for p in pathlib.Path(os.environ["IMAGES"]).rglob("*") if p.is_file()):
            part = work / ("test" if sorted(path.parent.iterdir()).index(path) % 3 == 2 else "train") / path.parent.name
            part.mkdir(parents=True, exist_ok=True)
            (part / path.name).write_bytes(path.read_bytes())
    else:
        spgraph.run("synth", "--task", "target-a", "--per-class", 20, "-o", work / "train")
        spgraph.run("synth", "--task", "target-a", "--per-class", 20, "--seed", 1, "-o", work / "test")
    # A name with dots, which a second one like it must not share its state with.
    command = [sys.executable, examples / "finetune.py", os.environ.get("MODEL", sys.argv[1]), work / "train", work / "tuned.v2.onnx", "--lr", "0.02"]
    steps = len([p for p in (work / "train").rglob("*") if p.is_file()]) // 16 * 4
    for epochs in ("4", "8"):
        done = subprocess.run([*command, "--epochs", epochs], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert f"goes on after step {steps}" in done.stdout, done.stdout
    bundle = spgraph.Bundle(work / "tuned.v2.spgraph")
    trainer = spgraph.Trainer(bundle)
    trainer.load(work / "tuned.v2.state.safetensors")
    test = spgraph.ImageFolder(work / "test", bundle, shuffle=False)
    found = trainer.evaluate(test)
    # Of drawn shapes in six classes half are found; what is found of somebody's images is for them to look at.
    assert found.images and (found.accuracy > 0.5 and found.images > 100 or "IMAGES" in os.environ), found
    session = onnxruntime.InferenceSession(work / "tuned.v2.onnx", providers=["CPUExecutionProvider"])
    images, labels = next(iter(test))
    np.testing.assert_allclose(session.run(None, {"input": images})[0], trainer.predict(images), rtol=1e-3, atol=1e-4)
    data = bytearray((work / "tuned.v2.spgraph" / "step.onnx").read_bytes())
    data[-1] ^= 1
    (work / "tuned.v2.spgraph" / "step.onnx").write_bytes(data)
    try:
        spgraph.Bundle(work / "tuned.v2.spgraph")
        raise SystemExit("a changed file was not noticed")
    except spgraph.Error as error:
        assert "changed" in str(error), error
    print(f"the wheel of spgraph {spgraph.__version__} trained to {found.accuracy:.1%} on {found.images} other images, with onnxruntime {onnxruntime.__version__}\n1 passed, 0 failed")
