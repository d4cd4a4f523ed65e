"""Whether steps can be recorded as a graph of CUDA's: `make test-cuda-wheel`.

    LD_LIBRARY_PATH=stand-in PYTHONPATH=unpacked-wheel recording.py target/release/spgraph

Steps are recorded by the CUDA provider of the pinned wheel on a stand-in for CUDA's libraries, which refuses what the device refuses while it records: to wait, and
to change its memory. Convolutions need cuDNN, which the stand-in does not imitate: what they give is an input here. Kernels do nothing, so no number means anything.
"""

import collections
import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile

LOG = pathlib.Path(tempfile.mkdtemp()) / "asked.log"
# Before the library is loaded.
os.environ["STAND_IN_CUDA_LOG"] = str(LOG)

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime as ort  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUFFER = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(bool)": np.bool_, "tensor(uint8)": np.uint8}
CASES = [
    ("resnet18.bn", ["--batch-norm", "train"]),
    ("mobilenet.bn", ["--optimizer", "adamw", "--clip-norm", "1", "--ema", "0.9"]),
    ("inception.bn", ["--penalty", "gl-sp"]),
    ("operators", ["--optimizer", "lars"]),
    ("dropout", ["--dropout", "keep"]),
    ("pool_ceil", ["--soft-targets"]),
    ("slices.bn", []),
    ("tokens", ["--precision", "mixed-f16"]),
]


def without_convolutions(model):
    """What convolutions give becomes an input."""
    model = onnx.shape_inference.infer_shapes(model)
    values = {v.name: v for v in [*model.graph.value_info, *model.graph.output]}
    given = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    kept = [node for node in model.graph.node if node not in given]
    model.graph.input.extend(values[node.output[0]] for node in given)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return model


def recorded(model):
    """What was asked of the stand-in while the model ran twice, and an error."""
    options = ort.SessionOptions()
    options.log_severity_level, options.enable_mem_pattern = 4, False
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[("CUDAExecutionProvider", {"enable_cuda_graph": "1"})])
    binding, kept = session.io_binding(), []
    for ports, bind in [(session.get_inputs(), binding.bind_ortvalue_input), (session.get_outputs(), binding.bind_ortvalue_output)]:
        for port in ports:
            kept.append(ort.OrtValue.ortvalue_from_numpy(np.zeros(port.shape, BUFFER[port.type]), "cuda", 0))
            bind(port.name, kept[-1])
    run = ort.RunOptions()
    run.add_run_config_entry("gpu_graph_id", "1")
    LOG.write_text("")
    error = ""
    try:
        for _ in range(2):
            session.run_with_iobinding(binding, run)
    except Exception as e:
        error = str(e)
    words = [line.split()[0] for line in LOG.read_text().splitlines()]
    return collections.Counter(w for w in words if w in ("record", "launch") or w.startswith("refused")), error


def control():
    """The stand-in refuses while it records, and not before or after."""
    cuda, place, number = ctypes.CDLL("libcudart.so.13"), ctypes.c_void_p(), ctypes.c_int(1)

    def answers():
        copied = cuda.cudaMemcpy(ctypes.byref(number), ctypes.byref(number), 4, 0)
        return [cuda.cudaMalloc(ctypes.byref(place), 16), cuda.cudaStreamSynchronize(None), cuda.cudaDeviceSynchronize(), copied]

    before = answers()
    cuda.cudaStreamBeginCapture(None, 0)
    while_recording = answers()
    cuda.cudaStreamEndCapture(None, ctypes.byref(place))
    return [before, while_recording, answers()]


def main(program):
    faults = []
    if (said := control()) != [[0] * 4, [900] * 4, [0] * 4]:
        faults.append(f"the stand-in refuses nothing: {said}")
    environment = {name: value for name, value in os.environ.items() if name not in ("LD_LIBRARY_PATH", "STAND_IN_CUDA_LOG")}
    for network, options in CASES:
        with tempfile.TemporaryDirectory() as work:
            model = ROOT / "tests/fixtures" / f"{network}.onnx"
            command = [program, "rewrite", model, "--batch", "2", "--dialect", "inlined", "-o", f"{work}/bundle", *options]
            made = subprocess.run(command, capture_output=True, text=True, env=environment)
            if made.returncode:
                faults.append(f"{network} {options}: {made.stderr.strip()}")
                continue
            step = onnx.load(f"{work}/bundle/step.onnx")
        asked, error = recorded(without_convolutions(step))
        if error or asked != {"record": 1, "launch": 2}:
            faults.append(f"{network} {options}: {dict(asked)} {error}")
    print(f"{len(CASES)} recorded steps without their convolutions, {len(faults)} faults")
    print("\n".join(faults))
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
