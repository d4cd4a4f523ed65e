"""Finding and running the program `spgraph`, which rewrites and exports."""
from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig


class Error(Exception):
    """What cannot be done, where, why, and what to do about it."""


def binary() -> str:
    """The program: what the environment variable SPGRAPH names, else that of this environment (the wheel brings it), else the first on PATH."""
    named = os.environ.get("SPGRAPH")
    if named:
        if not os.access(named, os.X_OK):
            raise Error(f"SPGRAPH names {named}, which is no program that can be run; correct it or unset it")
        return named
    name = "spgraph.exe" if sys.platform == "win32" else "spgraph"
    for folder in (sysconfig.get_path("scripts"), pathlib.Path(sys.executable).parent):
        if os.access(pathlib.Path(folder) / name, os.X_OK):
            return str(pathlib.Path(folder) / name)
    found = shutil.which(name)
    if found is None:
        raise Error("the program `spgraph` was not found: install the wheel that brings it, put it on PATH, or name it with the environment variable SPGRAPH")
    return found


def run(*arguments: object) -> str:
    """Runs `spgraph ARGUMENTS`; what it printed on stdout.

    Raises `Error` with the program's own words where it fails. Exports are checked with the onnxruntime of this Python, as far as nothing else is named.
    """
    command = [binary(), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode != 0:
        text = done.stderr.strip()
        raise Error(text[text.rfind("error: ") + len("error: "):] if "error: " in text else f"{' '.join(command)} ended with {done.returncode}: {text}")
    return done.stdout


def environment() -> dict[str, str]:
    """This process's environment, in which the program finds the onnxruntime that is installed here."""
    if "ORT_DYLIB_PATH" in os.environ:
        return dict(os.environ)
    import onnxruntime

    folder = pathlib.Path(onnxruntime.__file__).parent / "capi"
    libraries = sorted(p for pattern in ("libonnxruntime.so*", "libonnxruntime*.dylib", "onnxruntime.dll") for p in folder.glob(pattern))
    return dict(os.environ) | ({"ORT_DYLIB_PATH": str(libraries[0])} if libraries else {})
