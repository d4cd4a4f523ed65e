"""The CUDA provider of the pinned wheel is asked, on a stand-in for CUDA's libraries, where it places nodes: `make test-cuda-wheel`.

    LD_LIBRARY_PATH=stand-in PYTHONPATH=unpacked-wheel placement.py target/release/spgraph unpacked-wheel

Its kernels are those of src/emit/cuda_kernels.txt; single nodes are placed as src/emit/cuda.rs says; steps of networks stay on the device.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import onnxruntime as ort
from onnx import TensorProto, helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "generate"))
import cuda_kernels  # noqa: E402

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
F32, F16, BF16, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT64


def placed(op, inputs, output, opset, **attributes):
    """The provider of a model of one node; `refused` where no session can be made."""
    ports = [helper.make_tensor_value_info(f"x{i}", *port) for i, port in enumerate(inputs)]
    outs = [f"y{i}" for i in range(3 if attributes.get("training_mode") else 1)]
    node = helper.make_node(op, [p.name for p in ports], outs, **attributes)
    graph = helper.make_graph([node], "one", ports, [helper.make_tensor_value_info(o, output, None) for o in outs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=[CUDA])
    except Exception:
        return "refused"
    return session.get_provider_graph_assignment_info()[0].ep_name


IMAGE, KERNEL, CHANNEL = [1, 4, 8, 8], [4, 4, 3, 3], [4]
# As the exceptions and the tests of src/emit/cuda.rs have them.
SINGLE = [
    (("MaxPool", [(F32, IMAGE)], F32, 17), {"kernel_shape": [2, 2]}, CUDA),
    (("MaxPool", [(F32, IMAGE)], F32, 21), {"kernel_shape": [2, 2]}, CUDA),
    (("MaxPool", [(F32, IMAGE)], F32, 22), {"kernel_shape": [2, 2]}, CPU),
    (("Conv", [(F16, IMAGE), (F16, KERNEL)], F16, 17), {}, CUDA),
    (("Conv", [(BF16, IMAGE), (BF16, KERNEL)], BF16, 17), {}, "refused"),
    (("Conv", [(BF16, IMAGE), (BF16, KERNEL)], BF16, 22), {}, CUDA),
    (("Conv", [(F32, IMAGE), (F32, KERNEL)], F32, 17), {"pads": [0, 0, 1, 1]}, CUDA),
    (("ConvTranspose", [(F32, IMAGE), (F32, KERNEL)], F32, 17), {"pads": [1, 1, 1, 1]}, CUDA),
    (("ConvTranspose", [(F32, IMAGE), (F32, KERNEL)], F32, 17), {"pads": [0, 0, 1, 1]}, CPU),
    (("ArgMax", [(F32, IMAGE)], I64, 17), {}, CUDA),
    (("ArgMax", [(F32, IMAGE)], I64, 17), {"select_last_index": 1}, CPU),
    (("BatchNormalization", [(F32, IMAGE), *[(F32, CHANNEL)] * 4], F32, 17), {}, CUDA),
    (("BatchNormalization", [(F32, IMAGE), *[(F32, CHANNEL)] * 4], F32, 17), {"training_mode": 1}, "refused"),
]
NETWORKS = ["models/resnet20-source.onnx", "tests/fixtures/basic.bn.onnx", "tests/fixtures/mobilenet.bn.onnx", "tests/fixtures/tokens.onnx"]
OPTIONS = [[], ["--batch-norm", "train"], ["--batch-norm", "frozen", "--dialect", "inlined"], ["--penalty", "gl-sp"], ["--optimizer", "adamw"]]


def main(program, wheel):
    assert cuda_kernels.table() == cuda_kernels.TARGET.read_text(), "src/emit/cuda_kernels.txt is not what the provider lists"
    faults = []
    for arguments, attributes, wanted in SINGLE:
        if (found := placed(*arguments, **attributes)) != wanted:
            faults.append(f"{arguments[0]} {arguments[3]} {attributes}: {found}, not {wanted}")
    library = next(pathlib.Path(wheel, "onnxruntime/capi").glob("libonnxruntime.so.*"))
    environment = {**os.environ, "ORT_DYLIB_PATH": str(library.resolve())}
    count = 0
    with tempfile.TemporaryDirectory() as work:
        for network in NETWORKS:
            for options in OPTIONS:
                bundle = pathlib.Path(work, f"{count}.spgraph")
                made = subprocess.run([program, "rewrite", ROOT / network, "--batch", "2", "-o", bundle, *options], capture_output=True, text=True)
                if made.returncode:
                    print(f"no step of {network} {options}: {made.stderr.strip()[:200]}")
                    continue
                done = subprocess.run([program, "inspect", bundle, "--device", "cuda", "--json"], capture_output=True, text=True, env=environment)
                plan = json.loads(done.stdout)
                assert "table" not in plan["by"], plan["by"]
                faults += [f"{network} {options}: {off}" for off in plan["off_device"]]
                count += 1
    print(f"{len(SINGLE)} nodes, {count} steps, {len(faults)} faults")
    print("\n".join(faults[:20]))
    sys.exit(1 if faults or count < 10 else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
