"""Every runtime that is here trains the same bundle on the same batches as `spgraph finetune`, in turn with it: `make runtimes`.

    python measure.py [NAME ...] [--rounds 3] [--quick] [--table]

Recorded in docs/runtimes.json, from which the tables of docs/runtimes.md are written: version, forms of the bundle that it trains, the largest difference of a
tensor after ten steps, and how long a step takes beside one of finetune. A runtime that is not here keeps its record. --table writes the tables alone.

Everything runs on one thread. A step's time is the median over a run's steps without the first two, and the ratio the median over rounds: in each round all
runtimes and finetune's own kinds of kernels take their turn, every second round in the other order.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import lab

ROOT, HERE = lab.ROOT, pathlib.Path(__file__).resolve().parent
RECORDS, PAGE = ROOT / "docs" / "runtimes.json", ROOT / "docs" / "runtimes.md"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
RUST = pathlib.Path(os.environ.get("RUST_EXAMPLE", ROOT / "examples" / "rust" / "target" / "release"))
OPS = TARGET / "release" / "examples" / "libspgraph_ops.so"
# Tried in every runtime that takes bundles, besides the one that `--for` makes for it.
DIALECTS = {"functions": ["--dialect", "functions"], "inlined": ["--dialect", "inlined"]}
# Tried with what `--for` makes for the runtime, beside finetune's weights in float32: as far from these as roundings of half precision may lead in ten steps.
# bfloat16 has three bits less than float16.
PRECISIONS = {"mixed-f16": 2e-3, "rounded-f16": 2e-3, "mixed-bf16": 8 * 2e-3, "rounded-bf16": 8 * 2e-3}
# Made of the bundle by `convert`.
ARTIFACTS = {"single": "single.onnx", "ort-training": "ort", "native": "native.onnx", "native-bf16": "native-bf16.onnx"}


def environment(name, default):
    """A Python of its own for a runtime."""
    return os.environ.get(f"{name.upper().replace('-', '_')}_PYTHON", str(ROOT / default / "bin" / "python"))


OPENVINO, TRAINING_API = environment("openvino", ".venv-openvino"), environment("ort-training", ".venv-ort-training")


def environment_of_spgraph():
    from spgraph.binary import environment

    return environment()


class Missing(Exception):
    """A runtime that is not here, and what it needs."""


class Runtime:
    """`beside` is the kind of finetune's kernels that the runtime is like; `target` its name for `rewrite --for`; `forms` those that must train; others are tried, and `known` says why they are refused."""

    def __init__(self, name, title, beside, target, command, version, needs, forms=("for",), environment=None, tried=(), known=None):
        self.name, self.title, self.beside, self.target, self.command, self.version, self.needs, self.forms = name, title, beside, target, command, version, needs, forms
        self.environment, self.tried, self.known = environment or {}, tried, known or {}


def said(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise Missing(f"{command[0]}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout.strip()


def package(folder, name):
    return lambda: json.loads((ROOT / "examples" / folder / "node_modules" / name / "package.json").read_text())["version"]


def module(python, name):
    return lambda: said(python, "-c", f"import importlib.metadata as m; print(m.version('{name}'))")


def crate(name):
    return lambda: re.search(rf'name = "{name}"\nversion = "([^"]+)"', (ROOT / "examples" / "rust" / "Cargo.lock").read_text())[1]


def contract(*program):
    """A program that takes BUNDLE BATCHES STEPS RATE WEIGHTS."""
    return lambda t, bundle, steps, weights: [*program, bundle, t.folder / "batches.bin", steps, t.rate, weights]


def openvino(t, bundle, steps, weights):
    return [OPENVINO, ROOT / "examples" / "openvino" / "finetune.py", bundle, t.folder / "batches.npz", weights, "--lr", t.rate, "--threads", 1]


def compiled_c():
    """examples/c, with the library of this Python."""
    import c_header
    import onnxruntime

    if shutil.which("cc") is None:
        raise Missing("no C compiler")
    folder = pathlib.Path(tempfile.gettempdir()) / f"spgraph-c-{os.getpid()}"
    if (folder / "finetune").exists():
        return folder / "finetune"
    folder.mkdir(exist_ok=True)
    (library,) = (pathlib.Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / name).symlink_to(library)
    c_header.write(ROOT, folder / "onnxruntime_c_api.h")
    subprocess.run(["cc", "-std=c11", "-O1", ROOT / "examples" / "c" / "finetune.c", f"-I{folder}", f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime", "-o", folder / "finetune"], check=True)
    return folder / "finetune"


FUNCTIONS = {"functions": "model-local functions are unknown to it"}
BUNDLES = ("for", "single")
STEPS_OF = HERE / "steps"
RUNTIMES = [
    Runtime("python", "ONNX Runtime, Python", "standard", "ort", contract(sys.executable, STEPS_OF / "python.py"), module(sys.executable, "onnxruntime"), [], BUNDLES),
    Runtime("native", "… with spgraph's own operators", "native", None, contract(sys.executable, STEPS_OF / "python.py"), module(sys.executable, "onnxruntime"), [OPS], ("native", "native-bf16"), {"LIBRARY": str(OPS), "SPGRAPH_THREADS": "1"}),
    Runtime("c", "ONNX Runtime, C", "standard", "ort", lambda t, *a: contract(compiled_c())(t, *a), module(sys.executable, "onnxruntime"), [], BUNDLES),
    Runtime("rust-ort", "ONNX Runtime, Rust (crate `ort`)", "standard", "ort", contract(RUST / "on-ort"), lambda: f"{crate('ort')()} on {module(sys.executable, 'onnxruntime')()}", [RUST / "on-ort"], BUNDLES),
    Runtime("node", "ONNX Runtime, Node", "standard", "node", contract("node", STEPS_OF / "node.mjs"), package("node", "onnxruntime-node"), [ROOT / "examples/node/node_modules"], tried=("single",), known={"single": "inputs with a default are unknown to it, and what is fed to them is dropped without a word"}),
    Runtime("web", "browser, WebAssembly", "standard", "web", contract("node", STEPS_OF / "web.mjs"), package("web", "onnxruntime-web"), [ROOT / "examples/web/node_modules", os.environ.get("CHROMIUM", "/usr/bin/chromium")], tried=("single",), known={"single": "inputs with a default are unknown to it, and what is fed to them is an error (`invalid input`)"}),
    Runtime("openvino", "OpenVINO, CPU, float32", "native", "openvino", openvino, module(OPENVINO, "openvino"), [OPENVINO], BUNDLES, known=FUNCTIONS),
    Runtime("tract", "tract, Rust without spgraph", "tract", "tract", contract(RUST / "on-tract"), crate("tract-onnx"), [RUST / "on-tract"], BUNDLES, known=FUNCTIONS),
    Runtime("ort-training", "ONNX Runtime's training API", "standard", None, contract(TRAINING_API, STEPS_OF / "training_api.py"), module(TRAINING_API, "onnxruntime-training-cpu"), [TRAINING_API], ("ort-training",)),
]
KINDS = {"standard": ["--engine", "ort", "--kernels", "standard"], "native": ["--engine", "ort", "--kernels", "native"], "tract": ["--engine", "tract"]}


class Task:
    """A network with bundles in every form, batches, and what finetune makes of them."""

    def __init__(self, folder, name, model, steps, batch, rate):
        self.name, self.folder, self.steps, self.rate = name, folder / name, steps, rate
        self.folder.mkdir()
        lab.BATCH, lab.STEPS, lab.LR = batch, steps, rate
        lab.prepare(self.folder, model=model)
        import spgraph

        count = len(spgraph.Bundle(self.folder / "bundle").classes)
        self.rewriting = ["rewrite", model, "--classes", count, "--class-names-from", self.folder / "images", "--batch", batch]

    def bundle(self, form, target):
        """The bundle in a form, or the artifact of it, for a runtime; made when it is asked for."""
        import spgraph

        if form == "functions":
            return self.folder / "bundle"
        made = self.folder / f"{target}-{form}"
        if form in ARTIFACTS:
            made = pathlib.Path(f"{made}.{ARTIFACTS[form]}")
            if not made.exists():
                spgraph.run("convert", self.bundle("for", target) if target else self.folder / "bundle", "--to", form, "-o", made)
        elif not made.exists():
            options = DIALECTS.get(form) or ["--for", target, *(["--precision", form] if form in PRECISIONS else [])]
            spgraph.run(*self.rewriting, "-o", made, *options)
        return made

    def run(self, form):
        """The run of finetune beside which a form is held: of native operators on images of bfloat16 one that has them as well, else that in float32."""
        import spgraph

        if form != "native-bf16":
            return self.folder / "run"
        run = self.folder / "run-bf16"
        if not run.exists():
            spgraph.run("finetune", self.folder / "bundle", "--data", self.folder / "images", "--steps", self.steps, "--schedule", "constant", "--warmup", 0, "--lr", self.rate, "--threads", 1, "-o", run, "--precision", "bf16")
        return run

    def finetune(self, kind):
        """A step's median time."""
        import spgraph

        run = self.folder / "timed"
        shutil.rmtree(run, ignore_errors=True)
        spgraph.run("finetune", self.folder / "bundle", "--data", self.folder / "images", "--steps", self.steps, "--schedule", "constant", "--warmup", 0, "--lr", self.rate, "--threads", 1, "-o", run, *KINDS[kind])
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        return statistics.median([r["seconds"] - r["wait"] for r in lines if r["kind"] == "step"][2:])

    def train(self, runtime, form):
        """Weights' file, a step's median time, or the first line of what the runtime says against it."""
        import spgraph

        weights = self.folder / f"{runtime.name}-{form}.safetensors"
        try:
            bundle = made = self.bundle(form, runtime.target)
        except spgraph.Error as refusal:
            return None, None, str(refusal)
        more = {"THREADS": "1", "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", **runtime.environment}
        # The library of this Python's onnxruntime, for programs that load one.
        more |= {"ORT_DYLIB_PATH": environment_of_spgraph()["ORT_DYLIB_PATH"]}
        if form == "single":
            more["MANIFEST"] = str(self.bundle("for", runtime.target) / "manifest.json")
        elif form in ARTIFACTS:
            bundle = self.folder / "bundle"
            more["STEP"] = str(made)
        command = [str(c) for c in runtime.command(self, bundle, self.steps, weights)]
        # A file: what a runtime warns of may fill a pipe.
        words = tempfile.TemporaryFile("w+")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=words, text=True, bufsize=1, env=os.environ | more)
        at, stated = [], []
        for line in process.stdout:
            if line.startswith("step "):
                at.append(time.perf_counter())
                stated += [float(s) for s in re.findall(r"seconds ([\d.]+)", line)]
        status = process.wait()
        words.seek(0)
        error = words.read()
        if status != 0 or not weights.exists():
            lines = [line for line in error.strip().splitlines() if line.strip()]
            found = [line for pattern in ("support|unknown|not found|no such", "error|exception", "") for line in lines if re.search(pattern, line, re.I)]
            return None, None, (found or ["it ended without a word"])[0].strip()[:300]
        times = stated[2:] or [b - a for a, b in zip(at[1:], at[2:])]
        return weights, statistics.median(times), None

    def difference(self, weights, form):
        """The largest norm-relative difference of a weight or statistic to those of finetune."""
        import numpy as np
        from safetensors.numpy import load_file

        found, expected = load_file(weights), load_file(self.run(form) / "state.safetensors")
        return max(float(np.linalg.norm(found[n].astype(np.float64) - t) / max(np.linalg.norm(t), 1e-30)) for n, t in expected.items())


def lacking(runtime):
    return [str(n) for n in runtime.needs if not pathlib.Path(n).exists()]


def correctness(task, runtimes, records):
    """Which forms a runtime trains, and to which weights."""
    failed = []
    for runtime in runtimes:
        record = {"version": runtime.version(), "difference": {}, "refused": {}, "made": made_here()}
        for form in (*runtime.forms, *runtime.tried, *((*DIALECTS, *PRECISIONS) if runtime.target else ())):
            weights, _, error = task.train(runtime, form)
            if error and re.search("exceeded|timed out", error, re.I):
                # Neither seen to train nor refused: a loaded machine is slow to open a browser.
                record.setdefault("unseen", {})[form] = error
            elif error:
                record["refused"][form] = error.replace(str(task.folder), "…").replace(str(ROOT), "…")
            else:
                record["difference"][form] = task.difference(weights, form)
                if form == runtime.forms[0]:
                    record["exported"] = lab.exported(weights, task.folder, task.bundle("for", runtime.target) if runtime.target else None)
        worst = max(*(record["difference"].get(form, float("inf")) for form in runtime.forms), record.get("exported", float("inf")))
        print(f"{runtime.title}, {record['version']}: " + ", ".join([f"{f} {d:.1e}" for f, d in record["difference"].items()] + [f"{f} refused ({e})" for f, e in record["refused"].items()]) + f"; exported {record.get('exported', float('nan')):.1e} from finetune's run")
        if not worst < lab.TOLERANCE:
            failed.append(f"{runtime.name}: {worst}")
        records[runtime.name] = records.get(runtime.name, {}) | record
    return failed


def speeds(task, runtimes, rounds, records):
    """Steps beside those of finetune, in turn."""
    kinds = sorted({r.beside for r in runtimes} | {"native"})
    form_of = {r.name: r.forms[0] for r in runtimes if r.forms[0] in records[r.name]["difference"]}
    turns = [("kind", k) for k in kinds] + [("runtime", r) for r in runtimes if r.name in form_of]
    measured = {}
    for number in range(rounds):
        found = {}
        for what, item in turns if number % 2 == 0 else turns[::-1]:
            if what == "kind":
                found[item] = task.finetune(item)
            else:
                _, found[item.name + "."], error = task.train(item, form_of[item.name])
                if error:
                    print(f"{task.name}, {item.title}: no time, {error}")
        for runtime in (r for r in runtimes if found.get(r.name + ".")):
            seconds = found[runtime.name + "."]
            measured.setdefault(runtime.name, []).append((seconds, seconds / found[runtime.beside], seconds / found["native"]))
    for runtime in (r for r in runtimes if r.name in measured):
        own, beside, native = (statistics.median(column) for column in zip(*measured[runtime.name]))
        spread = [round(r, 3) for _, r, _ in measured[runtime.name]]
        speed = {"made": made_here(), "milliseconds": own * 1000, "beside": runtime.beside, "ratio": beside, "ratios": spread, "to_native": native, "rounds": rounds, "form": form_of[runtime.name]}
        records[runtime.name].setdefault("speed", {})[task.name] = speed
        print(f"{task.name}, {runtime.title}: {own * 1000:.1f} ms a step, {beside:.2f} of finetune on {runtime.beside} kernels ({spread}), {native:.2f} of its default")


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def cell(record, form):
    if form in record["difference"]:
        if record["difference"][form] == 0:
            return "same bits"
        difference = f"{record['difference'][form]:.0e}".replace("e-0", "e-")
        return difference if record["difference"][form] < PRECISIONS.get(form, lab.TOLERANCE) else f"**wrong** ({difference})"
    return "no" if form in record["refused"] else "?" if form in record.get("unseen", {}) else "–"


def grid(head, rows):
    return [row(*head), "|---" * len(head) + "|", *(row(*cells) for cells in rows)]


def table(records):
    """The part of the page that is made: weights, what was refused, times."""
    known = [(r, records["runtimes"][r.name]) for r in RUNTIMES if r.name in records["runtimes"]]
    forms = ["for", *DIALECTS, "single", *PRECISIONS, "ort-training", "native", "native-bf16"]
    lines = grid(["runtime", "version", "made", *(f"`--{f}`" if f == "for" else f"`{f}`" for f in forms)], [[r.title, record["version"], record["made"], *(cell(record, f) for f in forms)] for r, record in known])
    refused = [f"- {r.title}, `{form}`: {r.known.get(form, why)}" for r, record in known for form, why in record.get("refused", {}).items()]
    lines += ["", "What was refused, and why (in full in [runtimes.json](runtimes.json)):", "", *refused] if refused else []
    tasks = sorted({t for _, record in known for t in record.get("speed", {})}, key=lambda t: (len(t), t))
    timed = [(r, record["speed"]) for r, record in known if record.get("speed")]
    if timed:
        speed = lambda s: "{ratio:.2f} ({beside}), {to_native:.2f}".format(**s) if s else "not timed"  # noqa: E731
        rows = [[r.title, "; ".join(sorted({s["made"] for s in found.values()})), *(speed(found.get(t)) for t in tasks)] for r, found in timed]
        lines += ["", "A step's time, with one thread:", "", *grid(["runtime", "made", *tasks], rows)]
    return "\n".join(lines).rstrip() + "\n"


BEGIN, END = "<!-- made by make runtimes -->\n", "<!-- end -->\n"


def written(page, records):
    """The page with the table of these records."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table(records) + END + rest.split(END)[1]


# What sets processors of one name apart: the best that this one has.
INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512_BF16", "avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON"}


def processor():
    text = pathlib.Path("/proc/cpuinfo").read_text() if pathlib.Path("/proc/cpuinfo").exists() else ""
    name, flags = re.search(r"model name\s*: (.*)", text), re.search(r"(?:flags|Features)\s*: (.*)", text)
    best = next((word for flag, word in INSTRUCTIONS.items() if flags and flag in flags[1].split()), "instructions not known")
    return f"{name[1] if name else 'an unknown processor'}, {best}, {os.cpu_count()} cores"


def made_here():
    return f"{processor()}, {datetime.date.today().isoformat()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=", ".join(r.name for r in RUNTIMES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="weights alone, no times")
    parser.add_argument("--table", action="store_true", help="write the table of what is recorded")
    options = parser.parse_args()
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else {"runtimes": {}}
    if options.table:
        PAGE.write_text(written(PAGE.read_text(), records))
        return
    unknown = [n for n in options.names if n not in [r.name for r in RUNTIMES]]
    if unknown:
        parser.error(f"there is no runtime {', '.join(unknown)}; there are {', '.join(r.name for r in RUNTIMES)}")
    runtimes = [r for r in RUNTIMES if r.name in options.names or not options.names]
    for runtime in runtimes:
        if lacking(runtime):
            print(f"{runtime.title}: left out, {', '.join(lacking(runtime))} is not there")
    runtimes = [r for r in runtimes if not lacking(r)]
    if not runtimes:
        raise SystemExit("nothing was compared: none of these runtimes is here")
    with tempfile.TemporaryDirectory() as folder:
        folder, small = pathlib.Path(folder), ROOT / "models" / "resnet20-source.onnx"
        failed = correctness(Task(folder, "ten", small, 10, 12, 0.01), runtimes, records["runtimes"])
        if not options.quick:
            import spgraph

            spgraph.run("new", "resnet18", "--classes", 10, "--input", "3x112x112", "-o", folder / "resnet18.onnx")
            speeds(Task(folder, "ResNet-20", small, 40, 12, 0.01), runtimes, options.rounds, records["runtimes"])
            speeds(Task(folder, "ResNet-18", folder / "resnet18.onnx", 12, 8, 0.001), runtimes, options.rounds, records["runtimes"])
    RECORDS.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(written(PAGE.read_text(), records))
    print(f"{len(runtimes) - len(failed)} passed, {len(failed)} failed")
    if failed:
        raise SystemExit("; ".join(failed))


if __name__ == "__main__":
    main()
