"""Packs all that `gpu_check.py` needs for a machine without a network: `bundle_cuda.py PROGRAM WHEEL OUT`.

The archive has the program, ONNX Runtime's library with the CUDA provider out of the pinned wheel, the check and a start script. The machine needs an NVIDIA driver,
CUDA 13 and cuDNN 9, and Python 3 (numpy too, for the parity of gradients; onnxruntime-gpu and safetensors, for the Python module). It is also split into parts of at most 60 MB, with a script that joins them.
"""

import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PART = 60 * 1000 * 1000
# The C library of Ubuntu 20.04 and Debian 11.
GLIBC = (2, 31)
LIBRARIES = ["libonnxruntime.so.1.31.1", "libonnxruntime_providers_cuda.so", "libonnxruntime_providers_shared.so"]
START = """#!/bin/sh
# Everything that has to be seen on a machine with a GPU; the table is printed, the figures are in results/.
cd "$(dirname "$0")" || exit 1
ORT_DYLIB_PATH="$PWD/lib/libonnxruntime.so.1.31.1" exec "${PYTHON:-python3}" gpu_check.py --program ./spgraph --out results "$@"
"""
JOIN = """#!/bin/sh
# Joins the parts and unpacks the archive.
cd "$(dirname "$0")" || exit 1
cat spgraph-cuda.tar.gz.* > spgraph-cuda.tar.gz && sha256sum -c spgraph-cuda.sha256 && tar -xzf spgraph-cuda.tar.gz && echo "run spgraph-cuda/check.sh"
"""


def check_glibc(program):
    """The newest version of the C library that the program asks for; fails above the baseline."""
    listed = subprocess.run(["objdump", "-T", program], check=True, capture_output=True, text=True).stdout
    newest = max(tuple(map(int, v.split("."))) for v in re.findall(r"GLIBC_(\d+\.\d+)", listed))
    if newest > GLIBC:
        print(f"note: {program} needs glibc {newest[0]}.{newest[1]}; machines with an older one need it built there", file=sys.stderr)
    return newest


def main(program, wheel, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    newest = check_glibc(program)
    with tempfile.TemporaryDirectory() as work:
        root = pathlib.Path(work, "spgraph-cuda")
        (root / "lib").mkdir(parents=True)
        with zipfile.ZipFile(wheel) as z:
            for name in LIBRARIES:
                (root / "lib" / name).write_bytes(z.read(f"onnxruntime/capi/{name}"))
            for name in ["LICENSE", "ThirdPartyNotices.txt"]:
                (root / "lib" / name).write_bytes(z.read(f"onnxruntime/{name}"))
        (root / "spgraph").write_bytes(pathlib.Path(program).read_bytes())
        for name in ["gpu_check.py", "gpu_python.py"]:
            (root / name).write_bytes(pathlib.Path(__file__).with_name(name).read_bytes())
        shutil.copytree(pathlib.Path(__file__).resolve().parents[1] / "python" / "spgraph", root / "spgraph-module" / "spgraph", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "check.sh").write_text(START)
        (root / "NEEDS").write_text(f"glibc {newest[0]}.{newest[1]} or later, NVIDIA driver 580 or later, CUDA 13, cuDNN 9, Python 3\n")
        for name in ["spgraph", "check.sh"]:
            (root / name).chmod(0o755)
        subprocess.run([root / "spgraph", "new", "resnet50", "--classes", "6", "-o", root / "resnet50.onnx"], check=True)
        subprocess.run([root / "spgraph", "synth", "--task", "target-a", "--per-class", "4", "--size", "64", "-o", root / "images"], check=True)
        with tarfile.open(out / "spgraph-cuda.tar.gz", "w:gz") as archive:
            archive.add(root, arcname="spgraph-cuda")
    content = (out / "spgraph-cuda.tar.gz").read_bytes()
    (out / "spgraph-cuda.sha256").write_text(f"{hashlib.sha256(content).hexdigest()}  spgraph-cuda.tar.gz\n")
    parts = [content[at : at + PART] for at in range(0, len(content), PART)]
    for number, part in enumerate(parts):
        (out / f"spgraph-cuda.tar.gz.{number:03}").write_bytes(part)
    join = out / "join.sh"
    join.write_text(JOIN)
    join.chmod(0o755)
    print(f"{out / 'spgraph-cuda.tar.gz'}: {len(content) / 1e6:.0f} MB, in {len(parts)} parts")


if __name__ == "__main__":
    main(*sys.argv[1:])
