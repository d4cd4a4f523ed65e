"""Follows the guides of docs/ from their beginning, in a copy of the repository.

    python tests/guides/follow.py            all of them: every step, then one build, then every test that the pages tell to run
    python tests/guides/follow.py --check    the steps, and whether what they lead to passes the lints (`cargo clippy`), as all of the repository has to

A step that cannot be done any more fails with the page and its line. The copy is target/guides/tree; it is built with the dependencies that target/ has,
and target/ itself stays as it is. spgraph is not optimised there. The Python that runs this has the packages of tests/python, the environment variable
ORT_DYLIB_PATH names ONNX Runtime, as for the tests themselves.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import frozen
from page import Stale, do, steps, undo

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "guides"
GUIDES = ["adding-an-operator", "adding-a-pass", "adding-a-penalty", "adding-a-regularizer", "adding-an-optimizer", "adding-an-artifact", "kernels#Adding one"]
PLAIN = ["--config", "profile.release.package.spgraph.opt-level=0", "--config", "profile.release.package.spgraph.debug=0"]


def guide(name):
    """The file of a guide, and its steps; of a page with more than one guide only its section's."""
    name, _, section = name.partition("#")
    path = ROOT / "docs" / f"{name}.md"
    found = steps(path.read_text())
    if section:
        lines = path.read_text().splitlines()
        begin = lines.index(f"## {section}") + 1
        end = next((i for i, l in enumerate(lines[begin:], begin) if l.startswith("## ")), len(lines))
        found = [s for s in found if begin <= s.line <= end]
    return path, found


def follow(files):
    """Does what the guides say to `files`, texts by name; gives the commands to run, each with its place."""
    commands, made = [], {}
    for path, found in map(guide, GUIDES):
        place = lambda step: f"{path.relative_to(ROOT)}:{step.line}"
        edits = [s for s in found if s.kind != "run"]
        if not any(s.kind == "create" for s in edits) or len(edits) < 3:
            sys.exit(f"{path.relative_to(ROOT)}: no example is left that could be followed")
        text = lambda step: files[step.file] if step.file in files else read(step.file)
        # An example that has since come into the repository is taken out first.
        if read(next(s.file for s in edits if s.kind == "create")) is not None:
            for step in edits:
                attempt(place(step), lambda: files.__setitem__(step.file, undo(step, text(step)) if text(step) is not None else None))
        for step in edits:
            if step.kind == "create" and text(step) is not None:
                sys.exit(f"{place(step)}: {step.file} is there already")
            attempt(place(step), lambda: files.__setitem__(step.file, do(step, text(step))))
            if step.kind in ("create", "append") and step.file.endswith(".rs"):
                made[step.file] = (place(step), files[step.file])
        commands += [(place(s), s.text) for s in found if s.kind == "run"]
    return commands, made


def formatted(name, text):
    """As `cargo fmt` leaves it; done here, so that a copy that is the same again is not built again."""
    done = subprocess.run(["rustfmt", "--edition", "2024", "--config-path", str(ROOT)], input=text, capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else sys.exit(f"{name}, as the guides leave it, is no Rust:\n{done.stderr}")


def attempt(place, step):
    try:
        step()
    except Stale as stale:
        sys.exit(f"{place}: this step cannot be done any more: {stale}")


def read(name):
    path = ROOT / name
    return path.read_text() if path.is_file() else None


def copy(changed):
    """The repository's files with the changed ones, at WORK/tree; what is the same already is not touched, so that builds stay."""
    tree = WORK / "tree"
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True)
    names = {n for n in listed.stdout.decode().split("\0") if n and (ROOT / n).is_file()}
    wanted = (names | set(changed)) - {n for n, text in changed.items() if text is None}
    for old in [p for p in tree.rglob("*") if p.is_file() or p.is_symlink()] if tree.exists() else []:
        if str(old.relative_to(tree)) not in wanted:
            old.unlink()
    for name in wanted:
        to, content = tree / name, changed[name].encode() if name in changed else (ROOT / name).read_bytes()
        if not to.is_file() or to.read_bytes() != content:
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(content)
            shutil.copymode(ROOT / name, to) if (ROOT / name).exists() else None
    return tree


def lend(target):
    """A target folder with what target/ has of the dependencies: their libraries under second names of the same files, the records of them copied."""
    ours, theirs = WORK / "target" / "release", target / "release"
    own = re.compile(r"(lib)?spgraph[-_]")
    for folder, linked in [("deps", True), (".fingerprint", False), ("build", False)]:
        (ours / folder).mkdir(parents=True, exist_ok=True)
        for entry in sorted((theirs / folder).iterdir()) if (theirs / folder).is_dir() else []:
            to = ours / folder / entry.name
            if own.match(entry.name) or to.exists():
                continue
            if entry.is_dir():
                shutil.copytree(entry, to, symlinks=True)
            elif linked and entry.suffix in (".rlib", ".rmeta", ".so"):
                os.link(entry, to)
            else:
                shutil.copy2(entry, to)
    return WORK / "target"


def run(command, tree, environment, quiet=True):
    """Runs it in the copy; what it said is shown where it fails."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    took = f"{time.monotonic() - began:.0f} s"
    if done.returncode:
        sys.exit(f"{done.stdout[-12000:]}\n`{' '.join(command)}` failed after {took}")
    return done.stdout, took


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only whether what the steps lead to compiles without a warning of clippy's")
    parser.add_argument("--freeze", metavar="PYTHON", help="write what the guides' own cases of numbers are, with a Python that has PyTorch")
    arguments = parser.parse_args()
    cargo = os.environ.get("CARGO", "cargo")
    changed = {}
    commands, made = follow(changed)
    for name, text in changed.items():
        if name.endswith(".rs") and text is not None:
            changed[name] = formatted(name, text)
    for name, (place, text) in made.items():
        if changed[name] != text:
            sys.exit(f"{place}: {name} is not formatted as `cargo fmt` would have it")
    tree = copy(changed)
    print(f"{len(GUIDES)} guides: {len(changed)} files changed", flush=True)
    if arguments.freeze:
        return frozen.freeze(tree, arguments.freeze)
    frozen.lay(tree)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    # Without what a next build could take from this one: that would be most of the room on the disk.
    environment = os.environ | {"CARGO_TARGET_DIR": str(lend(target)), "CARGO_INCREMENTAL": "0"}
    if arguments.check:
        lints = [cargo, "clippy", "--release", "--all-targets", *PLAIN, "--", "-D", "warnings"]
        print("cargo clippy:", run(lints, tree, environment)[1])
        return
    # One build of all that the commands need.
    tests = sorted({t for _, c in commands for t in re.findall(r"--test (\w+)", c)})
    build = [cargo, "test", "--release", "--no-run", *PLAIN, "--lib", "--bins", *(w for t in tests for w in ("--test", t))]
    print("build:", run(build, tree, environment)[1], flush=True)
    program, scratch = WORK / "target" / "release" / "spgraph", WORK / "out"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for place, command in commands:
        words = command.split()
        own = dict(environment)
        while "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            own[name] = value
        if words[0] == "cargo":
            words = [cargo, words[1], *PLAIN, *words[2:]]
        elif words[0] == "spgraph":
            words = [str(program), *(str(scratch / w) if words[i] == "-o" else w for i, w in enumerate(words[1:]))]
        elif words[0] == "pytest":
            words, own["SPGRAPH"] = [sys.executable, "-m", *words], str(program)
        elif words[0] == "python":
            print(f"{place}: {command}: needs PyTorch; what it wrote is in tests/guides/frozen")
            continue
        said, took = run(words, tree, own)
        passed = [int(n) for n in re.findall(r"\b(\d+) passed", said)]
        if words[0] in (cargo, sys.executable) and not sum(passed):
            sys.exit(f"{place}: `{command}` ran no test")
        print(f"{place}: {command}: {took}" + (f", {sum(passed)} tests" if passed else ""), flush=True)


if __name__ == "__main__":
    main()
