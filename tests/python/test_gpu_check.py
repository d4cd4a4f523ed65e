"""The script of `make gpu-check` is tried on the CPU, so that it is known to work where there is a GPU."""

import json
import subprocess
import sys

from harness import BINARY, ROOT


def test_the_check_works_on_the_cpu(tmp_path):
    command = [sys.executable, ROOT / "bench" / "gpu_check.py", "--device", "cpu", "--quick", "--program", BINARY, "--minutes", "8", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "gpu-cpu-quick.json").read_text())["parts"]
    assert list(parts) == ["doctor", "placement", "parity", "curves", "resume", "python", "speed", "peers"]
    assert parts.pop("peers")["result"] == "not run"
    assert all(p["result"] == "passed" for p in parts.values()), done.stdout
    assert parts["python"]["found"]["python"]["worst"] == 0 and len(parts["python"]["found"]["python"]["losses"]) == 10, done.stdout
    assert all("images/s" in row for row in parts["speed"]["found"].values()), done.stdout
