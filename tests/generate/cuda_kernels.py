"""Writes src/emit/cuda_kernels.txt: what ONNX Runtime's CUDA provider has kernels for, as the provider of the pinned wheel itself lists it.

    python -m pip download --no-deps --only-binary=:all: -d wheel onnxruntime-gpu==1.31.1
    python -m zipfile -e wheel/*.whl unpacked
    python tests/cuda/stand_in/build.py unpacked/onnxruntime/capi/libonnxruntime_providers_cuda.so stand-in
    LD_LIBRARY_PATH=stand-in PYTHONPATH=unpacked python tests/generate/cuda_kernels.py

No GPU is needed: the provider is only asked for its list (`get_all_opkernel_def`, of which ONNX Runtime makes its page docs/OperatorKernels.md).
A line is one kernel: the operator, its first and last opset (`-` for a kernel whose first opset is the only version of the operator that it serves),
and for each type that it is particular about the types it takes, by the name that ONNX has for the type or for the input. Kernels that differ in one
type only are one line.
"""

from pathlib import Path

import onnxruntime
from onnxruntime.capi import _pybind_state

VERSION = "1.31.1"
TARGET = Path(__file__).resolve().parents[2] / "src" / "emit" / "cuda_kernels.txt"
TYPES = {
    "float": "f32", "double": "f64", "float16": "f16", "bfloat16": "bf16", "bool": "bool",
    **{f"{u}int{n}": f"{u[:1] or 'i'}{n}" for u in ("", "u") for n in (8, 16, 32, 64)},
}
ORDER = list(TYPES.values())
# Older operators are written anew when a model is read.
FIRST_OPSET = 13


def short(types):
    names = {t.removeprefix("tensor(").removesuffix(")") for t in types}
    return frozenset(TYPES[n] for n in names if n in TYPES)


def merged(kernels):
    """Kernels that differ in one type as one, until none do."""
    kernels = list(dict.fromkeys(kernels))
    for i, a in enumerate(kernels):
        for b in kernels[i + 1 :]:
            differ = [n for n in dict(a) if dict(a)[n] != dict(b).get(n)]
            if dict(a).keys() == dict(b).keys() and len(differ) == 1:
                (name,) = differ
                both = tuple((n, t | dict(b)[n] if n == name else t) for n, t in a)
                return merged([k for k in kernels if k not in (a, b)] + [both])
    return kernels


def table():
    assert onnxruntime.__version__ == VERSION, f"this is onnxruntime {onnxruntime.__version__}, not {VERSION}"
    found = {}
    for kernel in _pybind_state.get_all_opkernel_def():
        first, last = kernel.version_range
        if kernel.provider == "CUDAExecutionProvider" and kernel.domain == "" and last >= FIRST_OPSET:
            types = tuple(sorted((name, short(list_)) for name, list_ in kernel.type_constraints.items()))
            if all(t for _, t in types):
                found.setdefault((kernel.op_name, first, last), []).append(types)
    lines = [f"# CUDAExecutionProvider of onnxruntime-gpu {VERSION}, by get_all_opkernel_def; made by tests/generate/cuda_kernels.py"]
    for (name, first, last), kernels in sorted(found.items()):
        for types in sorted(merged(kernels), key=str):
            words = [f"{n}={','.join(sorted(t, key=ORDER.index))}" for n, t in types]
            lines.append(" ".join([name, str(first), "-" if last == 2**31 - 1 else str(last), *words]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(table())
