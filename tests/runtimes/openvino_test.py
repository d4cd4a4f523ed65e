"""OpenVINO trains to the weights of `spgraph finetune`. Run with a Python that has openvino, onnxruntime, safetensors and pillow: `make test-openvino`."""
import pathlib
import subprocess
import sys
import tempfile

import lab

# A rectifier network: half a gradient comes through where none should, if HardSigmoid stands in the step.
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    lab.prepare(folder, "--for", "openvino")
    script = lab.ROOT / "examples" / "openvino" / "finetune.py"
    done = subprocess.run([sys.executable, script, folder / "bundle", folder / "batches.npz", folder / "weights.safetensors", "--lr", str(lab.LR)], capture_output=True, text=True)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    lab.check("OpenVINO", folder / "weights.safetensors", folder)
print("1 passed, 0 failed")
