"""What has to be seen on a machine with a GPU, in one command: `make gpu-check`.

    gpu_check.py [--device cuda] [--program target/release/spgraph] [--minutes 5] [--quick] [--only PART]... [--out bench/results]

Parts, in this order, each within its share of the time: doctor, placement (nodes and copies off the device), parity (gradients beside the CPU's), curves (50 steps
beside the CPU's), resume (a run that is killed and goes on), python (ten steps of the Python module beside the CPU's), speed (images/s, memory, operations a second), peers (PyTorch's, where Python has it). A part that has no time left or cannot run says so and counts as not run; one that
finds a fault makes the exit code 1. `--device cpu --quick` tries the script itself.
"""

import argparse
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time

TOLERANCE = 1e-3
STEPS = 50


class NotRun(Exception):
    pass


class Apart(RuntimeError):
    """What was found is not as it must be; it is shown."""

    def __init__(self, why, found):
        super().__init__(why)
        self.found = found


class Lab:
    def __init__(self, args, work):
        self.args, self.work = args, work
        self.end = time.monotonic() + args.minutes * 60
        self.gpu = args.device != "cpu"
        self.small = args.quick

    def left(self):
        return self.end - time.monotonic()

    def run(self, *words, env=None, check=True, share=1.0):
        limit = self.left() * share
        if limit < 2:
            raise NotRun("no time left")
        command = [self.args.program, *map(str, words)]
        try:
            done = subprocess.run(command, cwd=self.work, capture_output=True, text=True, timeout=limit, env={**os.environ, **(env or {})})
        except subprocess.TimeoutExpired:
            raise NotRun(f"no time left in `{' '.join(command[1:3])}`") from None
        if check and done.returncode != 0:
            raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}: {done.stderr.strip()[-800:]}")
        return done

    def network(self, name):
        path = self.work / f"{name}.onnx"
        if not path.exists():
            self.run("new", name, "--classes", 6, "-o", path)
        return path

    def images(self):
        folder = self.work / "images"
        if not folder.exists():
            self.run("synth", "--task", "target-a", "--per-class", 8 if self.small else 64, "--size", 32 if self.small else 224, "-o", folder)
        return folder

    def bundle(self, name, batch, batch_norm, *more):
        folder = self.work / f"{name}-{batch}-{batch_norm}{''.join(more)}.spgraph"
        if not folder.exists():
            self.run("rewrite", self.network(name), "--classes", 6, "--batch", batch, "--batch-norm", batch_norm, "--seed", 0, "-o", folder, *more)
        return folder

    def networks(self):
        return ["resnet20"] if self.small else self.args.networks


def doctor(lab):
    done = lab.run("doctor", "--device", lab.args.device, "--json", check=False)
    found = json.loads(done.stdout)
    if done.returncode != 0:
        raise RuntimeError("; ".join(f"{f['what']} -> {f['advice']}" for f in found["findings"] if f["fatal"]))
    return {"engine": found["engine"], "cuda": found.get("cuda")}


def placement(lab):
    rows = {}
    for name in lab.networks():
        for batch_norm in ("frozen", "train"):
            done = lab.run("inspect", lab.bundle(name, 4, batch_norm), "--device", "cuda", "--json", check=False)
            plan = json.loads(done.stdout)
            if lab.gpu and "table" in plan["by"]:
                raise RuntimeError("the session was not asked: " + plan["by"])
            if plan["off_device"]:
                raise RuntimeError(f"{name}, {batch_norm}: off the device: {plan['off_device'][:5]}")
            rows[f"{name} {batch_norm}"] = f"{len(plan['nodes'])} nodes on the device, by {plan['by']}"
    return rows


def tensors(path):
    """The float32 tensors of a safetensors file, in double precision."""
    import numpy as np

    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    found = {}
    for name, entry in json.loads(content[8 : 8 + size]).items():
        if entry.get("dtype") == "F32":
            begin, end = (8 + size + at for at in entry["data_offsets"])
            found[name] = np.frombuffer(content[begin:end], np.float32).astype(np.float64)
    return found


def numbers(path):
    """The bytes of a safetensors file's tensors, without what it says of the run."""
    content = path.read_bytes()
    return content[8 + struct.unpack("<Q", content[:8])[0] :]


def after_a_step(lab, bundle, label, rate, *flags):
    """The state after one step of plain SGD at that rate, without TF32."""
    run = lab.work / f"parity-{label}"
    words = ["--data", lab.images(), "--steps", 1, "--warmup", 0, "--lr", rate, "--augment", "none", "--seed", 0, "-o", run, "--force", "-q"]
    lab.run("finetune", bundle, *words, *flags, env={"NVIDIA_TF32_OVERRIDE": "0"})
    return tensors(sorted(run.rglob("*.safetensors"))[-1])


def parity(lab):
    """Gradients on the device beside the CPU's, by what a step of plain SGD does: norm-relative errors, TF32 off.

    A unit near its bend falls to one side or the other by rounding alone, so that gradients in float32 differ between any two ways to compute them: the CPU's two kinds of
    kernels show by how much, and the device may be twice as far.
    """
    try:
        import numpy as np
    except ImportError as error:
        raise NotRun(f"Python has no {error.name}") from None
    rows = {}
    for name in lab.networks():
        for batch_norm in ("frozen", "train"):
            bundle = lab.bundle(name, 8, batch_norm, "--momentum", "0")
            start = after_a_step(lab, bundle, "start", 1e-30, "--device", "cpu", "--kernels", "standard")
            truth = after_a_step(lab, bundle, "cpu", 1, "--device", "cpu", "--kernels", "standard")
            moved = {k: np.linalg.norm(truth[k] - v) for k, v in start.items() if k in truth}

            def errors(label, *flags):
                found = after_a_step(lab, bundle, label, 1, *flags)
                # A gradient that is zero but for rounding has no direction to compare.
                compared = [k for k, by in moved.items() if by > 1e-5 * np.sqrt(truth[k].size)]
                if not all(np.isfinite(found[k]).all() for k in compared):
                    raise RuntimeError(f"{name}, {batch_norm}: a gradient is not finite")
                return max((float(np.linalg.norm(found[k] - truth[k]) / moved[k]), k) for k in compared), len(compared)

            (own, _), count = errors("cpu-native", "--device", "cpu", "--kernels", "native")
            limit = max(TOLERANCE, 2 * own)
            # Without TF32 (the environment forbids it) images lie as ONNX has them; with, they have their channels last, in float32 still.
            ways = {"native": ["--kernels", "native"], "native, channels last": ["--kernels", "native", "--tf32"], "standard": ["--kernels", "standard"]}
            for kernels, words in ways.items() if lab.gpu else [("native", ["--kernels", "native"]), ("standard", ["--kernels", "standard"])]:
                (worst, where), _ = errors(kernels.replace(", ", "-").replace(" ", "-"), "--device", lab.args.device, *words)
                rows[f"{name} {batch_norm} {kernels}"] = {"tensors": count, "worst": worst, "where": where, "CPU's own": own}
                if worst > limit:
                    raise RuntimeError(f"{name}, {batch_norm}, {kernels} kernels: {where} differs by {worst:.2g} from the CPU's, more than {limit:.2g}")
    return rows


def losses(lab, device, *more, batch_norm="frozen", rewrite=()):
    steps = 10 if lab.small else STEPS
    bundle = lab.bundle(lab.networks()[0], 4 if lab.small else 8, batch_norm, *rewrite)
    done = lab.run("finetune", bundle, "--data", lab.images(), "--steps", steps, "--warmup", 0, "--lr", 0.001, "--seed", 0, "--log", "jsonl",
                   "-o", lab.work / f"curve-{device}", "--force", "--device", device, *more, env={} if "--tf32" in more else {"NVIDIA_TF32_OVERRIDE": "0"}, share=0.5)
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [r["loss"] for r in records if "loss" in r and "step" in r]


def curves(lab):
    """Losses beside the CPU's in float32: each in float32, within 5 %; in fewer digits, where small differences grow from step to step, the mean of the last ten, within 10 %. (A CPU's own
    mixed-f16 was 3.5 % from its float32 there, 12 % in single losses.) There BatchNorm is trained: a fresh network whose statistics are frozen has losses of 20."""
    ways = {"frozen": {"float32": ((), ())}}
    if lab.gpu:
        half = ("--tf32", "--cuda-graph")
        ways["train"] = {"tf32, recorded": ((), half), "mixed-f16, recorded": (HALF["mixed-f16"], half), "mixed-bf16, recorded": (HALF["mixed-bf16"], half)}
    rows, apart = {}, []
    for batch_norm, labels in ways.items():
        theirs = losses(lab, "cpu", "--kernels", "standard", batch_norm=batch_norm)
        rows[f"cpu, {batch_norm}"] = theirs
        for label, (rewrite, finetune) in labels.items():
            ours = losses(lab, lab.args.device, *finetune, batch_norm=batch_norm, rewrite=rewrite)
            if not ours or len(ours) != len(theirs):
                raise RuntimeError(f"{label}: {len(ours)} losses beside {len(theirs)}")
            each = max(abs(a - b) / max(abs(b), 1e-3) for a, b in zip(ours, theirs))
            last = abs(sum(ours[-10:]) - sum(theirs[-10:])) / max(abs(sum(theirs[-10:])), 1e-3)
            rows[f"{label}, {batch_norm}"] = {"records": len(ours), "largest difference": round(each, 5), "of the last ten's mean": round(last, 5), "losses": ours}
            if each > 0.05 if label == "float32" else last > 0.1:
                apart.append(label)
    if apart:
        raise Apart(f"{', '.join(apart)}: losses differ too much from the CPU's", rows)
    return rows


# Floating-point operations of ResNet-50's step at 224x224 for an image: 4.09e9 products and as many sums forward, and twice that backward.
FLOPS = {"resnet50": 3 * 2 * 4.09e9}
# Each with what `rewrite` and `finetune` are told.
HALF = {"mixed-f16": ["--precision", "mixed-f16"], "mixed-bf16": ["--precision", "mixed-bf16"]}
VARIANTS = {
    "tf32, recorded": ([], ["--tf32", "--cuda-graph"]),
    "mixed-f16, recorded": (HALF["mixed-f16"], ["--tf32", "--cuda-graph"]),
    "mixed-bf16, recorded": (HALF["mixed-bf16"], ["--tf32", "--cuda-graph"]),
    "float32": ([], []),
    "tf32": ([], ["--tf32"]),
    "mixed-f16": (HALF["mixed-f16"], ["--tf32"]),
    "mixed-bf16": (HALF["mixed-bf16"], ["--tf32"]),
    "float32, ONNX Runtime's kernels": ([], ["--kernels", "standard"]),
    "tf32, ONNX Runtime's kernels": ([], ["--tf32", "--kernels", "standard"]),
    "mixed-f16, ONNX Runtime's kernels": (HALF["mixed-f16"], ["--tf32", "--kernels", "standard"]),
}
# Those that are timed with a large batch and with BatchNorm trained as well.
RECORDED = [label for label in VARIANTS if label.endswith("recorded")]


class Watch:
    """What the device says of itself while something runs: the peak of memory in MiB and the median share of time in which a kernel ran."""

    def __init__(self, gpu):
        command = ["nvidia-smi", "--query-gpu=memory.used,utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True) if gpu else None

    def stop(self):
        if self.process is None or self.process.returncode is not None:
            return {}
        self.process.terminate()
        rows = [line.split(",") for line in self.process.communicate()[0].splitlines() if line.count(",") == 1]
        busy = sorted(int(r[1]) for r in rows if int(r[1]) > 0)
        return {"peak MiB": max((int(r[0]) for r in rows), default=None), "busy %": busy[len(busy) // 2] if busy else None}


def median(values):
    return sorted(values)[len(values) // 2]


def timed(lab, name, batch, label, batch_norm="frozen"):
    """Median images/s of the steps after the first eight, with the loader at work: of the whole loop, and of the step alone."""
    rewrite, finetune = VARIANTS[label]
    bundle = lab.bundle(name, batch, batch_norm, *rewrite)
    words = ["--steps", 20 if lab.small else 40, "--warmup", 0, "--lr", 1e-5, "--augment", "none", "--log", "jsonl", "-o", lab.work / "speed", "--force"]
    watch = Watch(lab.gpu)
    try:
        done = lab.run("finetune", bundle, "--data", lab.images(), *words, "--device", lab.args.device, *(finetune if lab.gpu else []), share=0.5)
    finally:
        seen = watch.stop()
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    steps = [r for r in steps if r["kind"] == "step"][8:]
    whole, alone = median([r["seconds"] for r in steps]), median([r["seconds"] - r["wait"] for r in steps])
    row = {"images/s": round(batch / whole, 1), "step alone": round(batch / alone, 1), **seen, "last loss": steps[-1].get("loss")}
    if name in FLOPS and not lab.small:
        row["TFLOP/s"] = round(FLOPS[name] * batch / alone / 1e12, 1)
    return row


def speed(lab):
    rows = {}
    name = "resnet20" if lab.small else "resnet50"
    # What the others are told is for the device.
    if lab.small:
        cases = [(4, label, "frozen") for label in (VARIANTS if lab.gpu else ["float32", "mixed-f16"])]
    else:
        first = [(batch, label, batch_norm) for batch, batch_norm in [(64, "frozen"), (64, "train"), (256, "frozen")] for label in RECORDED]
        cases = first + [(64, label, "frozen") for label in VARIANTS if label not in RECORDED] + [(256, "float32", "frozen")]
    # The other half is for those to compare with.
    end = time.monotonic() + lab.left() / 2
    for batch, label, batch_norm in cases:
        row = f"{name} batch {batch} {label}" + (", BatchNorm trained" if batch_norm == "train" else "")
        try:
            if time.monotonic() > end:
                raise NotRun("no time left")
            rows[row] = timed(lab, name, batch, label, batch_norm)
        except (NotRun, RuntimeError) as error:
            rows[row] = f"not run: {str(error)[-300:]}"
    return rows


# What `gpu_torch.py` is asked, from the most telling on.
PEERS = ["64/f16/compiled", "64/tf32/compiled", "64/bf16/compiled", "64/f16/compiled/train", "256/f16/compiled", "64/f16/eager", "64/tf32/eager", "64/float32/eager", "256/tf32/compiled"]


def peers(lab):
    """PyTorch's step of the same network, where Python has it."""
    if not lab.gpu:
        raise NotRun("there is no device to compare on")
    script = pathlib.Path(__file__).with_name("gpu_torch.py")
    why = "no time left"
    try:
        done = subprocess.run([sys.executable, script, *PEERS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=max(lab.left(), 1))
        output, why = done.stdout, done.stderr.decode().strip()[-300:]
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
    found = [json.loads(line) for line in output.decode().splitlines() if line.startswith("{")]
    rows = {f"torch {row.pop('spec')}": row for row in found}
    return rows | {f"torch {spec}": f"not run: {why}" for spec in PEERS if f"torch {spec}" not in rows}


def python(lab):
    """Ten steps of the Python module on the device beside the processor's, without TF32, where Python has onnxruntime for the device."""
    bundle = lab.bundle(lab.networks()[0], 4 if lab.small else 8, "frozen", "--for", "ort" if lab.args.device == "cpu" else "ort-cuda")
    script = pathlib.Path(__file__).with_name("gpu_python.py")
    try:
        done = subprocess.run([sys.executable, script, bundle, lab.args.device], capture_output=True, text=True, timeout=max(lab.left(), 1), env={**os.environ, "SPGRAPH": lab.args.program, "NVIDIA_TF32_OVERRIDE": "0"})
    except subprocess.TimeoutExpired:
        raise NotRun("no time left") from None
    said = done.stderr.strip()
    if "No module named" in said or "has no CUDA provider" in said:
        raise NotRun(said.splitlines()[-1])
    if done.returncode != 0:
        raise RuntimeError(f"{script.name} ended with {done.returncode}: {said[-800:]}")
    found = json.loads(done.stdout)
    if found["worst"] > TOLERANCE:
        raise Apart(f"{found['where']} is {found['worst']:.2g} from the processor's after ten steps, more than {TOLERANCE:g}", {"python": found})
    return {"python": found}


def resume(lab):
    """Killed without warning, then gone on with; beside a run that nobody killed."""
    bundle = lab.bundle(lab.networks()[0], 4 if lab.small else 16, "frozen")
    words = ["--data", lab.images(), "--steps", 60, "--checkpoint-every", 5, "--seed", 0, "--device", lab.args.device, "--force", *(["--tf32"] if lab.gpu else [])]
    run, whole = lab.work / "killed", lab.work / "whole"
    command = list(map(str, [lab.args.program, "finetune", bundle, *words, "-o", run]))
    process = subprocess.Popen(command, cwd=lab.work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + lab.left() * 0.5
    while not list(run.glob("checkpoint*")) and process.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()
    if not list(run.glob("checkpoint*")):
        raise NotRun("the run had no checkpoint in time")
    lab.run("finetune", "--resume", "-o", run, "--device", lab.args.device)
    lab.run("finetune", bundle, *words, "-o", whole)
    ends = [numbers(max(folder.rglob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)) for folder in (run, whole)]
    if ends[0] != ends[1]:
        raise RuntimeError("the run that was killed has not ended with the bits of the other")
    return {"resumed": "the run is complete, with the bits of one that was not killed"}


PARTS = [doctor, placement, parity, curves, resume, python, speed, peers]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--program", default="target/release/spgraph")
    parser.add_argument("--minutes", type=float, default=float(os.environ.get("GPU_CHECK_MINUTES", 5)))
    parser.add_argument("--networks", nargs="+", default=["resnet18", "resnet50"], help="for placement and parity; the first for curves and resume")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", metavar="PART", choices=[p.__name__ for p in PARTS])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench/results"))
    args = parser.parse_args()
    args.program = str(pathlib.Path(args.program).resolve())
    args.out.mkdir(parents=True, exist_ok=True)
    target = args.out / f"gpu-{args.device.replace(':', '-')}{'-quick' if args.quick else ''}.json"
    results, failed = {}, False
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as work:
        lab = Lab(args, pathlib.Path(work))
        for part in PARTS:
            name = part.__name__
            if args.only and name not in args.only:
                continue
            start = time.monotonic()
            try:
                results[name] = {"result": "passed", "found": part(lab)}
            except NotRun as reason:
                results[name] = {"result": "not run", "why": str(reason)}
            except (RuntimeError, OSError, ValueError, KeyError, StopIteration) as error:
                failed = True
                results[name] = {"result": "failed", "why": f"{type(error).__name__}: {error}", "found": getattr(error, "found", {})}
            results[name]["seconds"] = round(time.monotonic() - start, 1)
            print(f"{name:<10} {results[name]['result']:<8} {results[name]['seconds']:>6} s  {results[name].get('why', '')}", flush=True)
            # After each part: who is short of time has what was found until then.
            target.write_text(json.dumps({"device": args.device, "minutes": args.minutes, "parts": results}, indent=1) + "\n")
            for row, value in results[name].get("found", {}).items():
                shown = {k: v for k, v in value.items() if not isinstance(v, list)} if isinstance(value, dict) else value
                print(f"           {row:<28} {shown if not isinstance(value, list) else f'{len(value)} numbers'}", flush=True)
    print(f"wrote {target}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
