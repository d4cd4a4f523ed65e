"""Builds the stand-in for CUDA's libraries (cuda.c) for one provider library: `build.py libonnxruntime_providers_cuda.so OUT`.

One shared library under each of the names that the provider asks for, with the versions of symbols that it wants.
"""

import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
# Loaded by the provider itself when it first needs them.
LATER = {"libcudnn.so.9": "cudnn", "libcufft.so.12": "cufft"}
# Of TensorRT, which stands beside CUDA in the wheel.
TENSORRT = ["libnvinfer.so.10", "libnvonnxparser.so.10"]


def functions(provider):
    """The functions of CUDA that the provider calls, by the version that it wants of them."""
    wanted = {}
    listed = subprocess.run(["nm", "-D", "--undefined-only", provider], check=True, capture_output=True, text=True).stdout
    for name in (line.split()[-1] for line in listed.splitlines()):
        match = re.fullmatch(r"((?:cu|__cuda)\w+)(?:@+(\S+))?", name)
        if match:
            wanted.setdefault(match[2], set()).add(match[1])
    return wanted


def later(provider):
    """Functions of libraries that are looked up by name."""
    listed = subprocess.run(["strings", "-n", "8", provider], check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: {s for s in listed if re.fullmatch(prefix + r"[A-Z]\w+", s)} for name, prefix in LATER.items()}


def main(provider, out):
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    needed = subprocess.run(["readelf", "-d", provider], check=True, capture_output=True, text=True).stdout
    names = re.findall(r"NEEDED.*\[(libcu[^\]]+)\]", needed)
    source = (HERE / "cuda.c").read_text()
    wanted = functions(provider)
    asked_later = later(provider)
    every = set().union(*wanted.values(), *asked_later.values())
    defined = set(re.findall(r"^(?:API [\w *]*?\**|CREATES\()(\w+)[()]", source, re.M))
    lines = [source]
    for name in sorted(every - defined):
        # Descriptors and handles of cuDNN must not be null.
        lines.append(f"CREATES({name})" if re.fullmatch(r"cudnnCreate\w*", name) else f"RETURNS_ZERO({name})")
    (out / "stand_in.c").write_text("\n".join(lines) + "\n")
    for name in [*names, *LATER, *TENSORRT]:
        scripts = []
        # TensorRT's provider asks for versions of cuDNN's functions, CUDA's looks them up by their names alone.
        if versioned := wanted.get(name) or asked_later.get(name):
            script = out / f"{name}.map"
            script.write_text(f"{name} {{ global: {'; '.join(sorted(versioned))}; local: *; }};\n")
            scripts = [f"-Wl,--version-script={script}"]
        command = ["cc", "-shared", "-fPIC", "-O1", "-w", f"-Wl,-soname,{name}", *scripts, "-o", out / name, out / "stand_in.c"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
