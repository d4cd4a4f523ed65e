"""Run with the Python in which the wheel was installed: trains, goes on, exports, all from what the wheel brings. `make test-wheel`."""
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
    spgraph.run("synth", "--task", "target-a", "--per-class", 20, "-o", work / "train")
    spgraph.run("synth", "--task", "target-a", "--per-class", 20, "--seed", 1, "-o", work / "test")
    command = [sys.executable, examples / "finetune.py", sys.argv[1], work / "train", work / "tuned.onnx", "--lr", "0.02"]
    for epochs in ("4", "8"):
        done = subprocess.run([*command, "--epochs", epochs], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "goes on after step 28" in done.stdout, done.stdout
    bundle = spgraph.Bundle(work / "tuned.spgraph")
    trainer = spgraph.Trainer(bundle)
    trainer.load(work / "tuned.state.safetensors")
    test = spgraph.ImageFolder(work / "test", bundle, shuffle=False)
    found = trainer.evaluate(test)
    assert found.accuracy > 0.5 and found.images > 100, found
    session = onnxruntime.InferenceSession(work / "tuned.onnx", providers=["CPUExecutionProvider"])
    images, labels = next(iter(test))
    np.testing.assert_allclose(session.run(None, {"input": images})[0], trainer.predict(images), rtol=1e-3, atol=1e-4)
    data = bytearray((work / "tuned.spgraph" / "step.onnx").read_bytes())
    data[-1] ^= 1
    (work / "tuned.spgraph" / "step.onnx").write_bytes(data)
    try:
        spgraph.Bundle(work / "tuned.spgraph")
        raise SystemExit("a changed file was not noticed")
    except spgraph.Error as error:
        assert "changed" in str(error), error
    print(f"the wheel of spgraph {spgraph.__version__} trained to {found.accuracy:.1%} on {found.images} other images, with onnxruntime {onnxruntime.__version__}\n1 passed, 0 failed")
