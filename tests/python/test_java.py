"""examples/java compiles, against the signatures that it uses (tests/runtimes/java): its packages are in a registry that need not be at hand, so nothing is run."""
import shutil
import subprocess

import pytest
from harness import ROOT


@pytest.mark.skipif(shutil.which("javac") is None, reason="no Java compiler")
def test_it_compiles(tmp_path):
    sources = [ROOT / "examples" / "java" / "Finetune.java", *sorted((ROOT / "tests" / "runtimes" / "java").rglob("*.java"))]
    done = subprocess.run(["javac", "-Xlint:all,-serial,-try", "-Werror", "-d", tmp_path, *sources], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
