"""What `make bench` measures: rewriting as a whole process, a training step and its convolutions, fine-tuning with its data, how long a
first step takes from the launch on, what a checkpoint and a report take, and how time grows with the model and the batch.

usage: bench/run.py [--quick]

Networks are torchvision's graphs with random weights, filled from tests/fixtures/skeleton (no PyTorch needed), and the ResNet-20
in models/. Whole processes are timed from outside, with the operating system's own count of peak memory; steps run through
examples/step_time.rs on ONNX Runtime's CPU provider with 2 threads, L2-SP and momentum included. --quick takes fewer repetitions and
leaves growth out: rewriting from ResNet-18 to ResNet-152 and of a model of 1.5 GB, and the step from batch 1 to 16. Prints a table,
writes bench/results/latest.json; bench/plot.py draws it.
"""
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BINARY = ROOT / "target/release/spgraph"
STEP = ROOT / "target/release/examples/step_time"
WORK = ROOT / "out/bench"
SMALL = ROOT / "models/resnet20-source.onnx"
# (what, limit)
LIMITS = {"rewrite_s": 0.25, "rewrite_mb": 300, "step_gb": 1.25, "checkpoint_s": 0.5, "report_s": 1.0}
KERNELS = ("native", "standard")


def whole_process(command):
    """Wall seconds and peak memory (MB) of one run."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return seconds, usage.ru_maxrss / 1e3


def skeleton(name):
    """The network of that name with random weights, made once."""
    model = WORK / f"{name}.onnx"
    if not model.exists():
        fill = [sys.executable, ROOT / "tests/python/fill_skeleton.py", ROOT / f"tests/fixtures/skeleton/{name}.onnx", model]
        subprocess.run(fill, check=True)
    return model


def wide(gigabytes):
    """A model with that much weight, made once. By another process: a child's peak memory counts from its parent's."""
    model = WORK / f"wide{gigabytes}.onnx"
    if not model.exists():
        subprocess.run([sys.executable, ROOT / "bench/wide.py", model, str(gigabytes)], check=True)
    return model


def rewrite(model, bundle, batch=16, *more):
    """The command that rewrites `model` into `bundle`."""
    return [BINARY, "rewrite", model, "-o", bundle, "--force", "--batch", str(batch), *more]


def step_time(bundle, steps, kernels="native"):
    run = subprocess.run([STEP, bundle, str(steps), "2", kernels], check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def finetune(name, model, batch, size, steps):
    """Images a second with everything that finetune does, the share of time spent waiting for images, and the time to start."""
    images, bundle, run = WORK / f"images{size}", WORK / f"{name}-6", WORK / f"{name}-run"
    per_class = max(64, batch)
    subprocess.run([BINARY, "synth", "--task", "target-a", "--per-class", str(per_class), "--size", str(size), "-o", images, "--force"],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run(rewrite(model, bundle, batch, "--classes", "6"), check=True, stdout=subprocess.DEVNULL)
    command = [BINARY, "finetune", bundle, "--data", images, "--engine", "ort", "--threads", "2", "--lr", "1e-6", "--force", "-o", run]
    start, _ = whole_process(command + ["--steps", "1"])
    whole_process(command + ["--steps", str(steps), "--augment", "flip-crop"])
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # The first step waits for the first images, and the second allocates; the rest is the pace.
    paced = [r for r in records if "wait" in r][2:]
    seconds = sum(r["seconds"] for r in paced)
    return {"batch": batch, "size": size, "images_per_s": sum(r["images"] for r in paced) / seconds,
            "idle_share": sum(r["wait"] for r in paced) / seconds, "one_step_process_s": start}


def saving(rounds):
    """What a checkpoint of ResNet-50 with momentum adds to a training (one after each step, beside none), and the report of such a run, in seconds."""
    images, bundle, run = WORK / "images64", WORK / "saving", WORK / "saving-run"
    steps = 12
    subprocess.run([BINARY, "synth", "--task", "target-a", "--per-class", "8", "--size", "64", "-o", images, "--force"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(rewrite(skeleton("resnet50"), bundle, 2, "--classes", "6", "--momentum", "0.9"), check=True, stdout=subprocess.DEVNULL)
    command = [BINARY, "finetune", bundle, "--data", images, "--engine", "ort", "--threads", "2", "--steps", str(steps), "--force", "-o", run, "--quiet"]
    # In turn, so that a slow moment of the machine meets both.
    pairs = [[whole_process([*command, "--checkpoint-every", str(every)])[0] for every in (1, steps + 1)] for _ in range(rounds)]
    added = [(often - never) / (steps - 1) for often, never in pairs]
    reports = [whole_process([BINARY, "report", run])[0] for _ in range(rounds)]
    state = sum(file.stat().st_size for file in run.glob("*.safetensors"))
    return {"checkpoint_s": statistics.median(added), "checkpoint_rounds": added, "checkpoint_mb": state / 1e6, "report_s": statistics.median(reports)}


def growth(quick):
    """Rewriting against the model's bytes, and the step against the batch."""
    found = {"rewrite": [], "batch": []}
    for name in ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide"]:
        model = wide(1.5) if name == "wide" else skeleton(name)
        runs = [whole_process(rewrite(model, WORK / "growth", 1)) for _ in range(2 if quick else 4)][1:]
        found["rewrite"].append({"model": name, "mb": model.stat().st_size / 1e6, "s": statistics.median(r[0] for r in runs),
                                 "peak_mb": max(r[1] for r in runs)})
    subprocess.run(["rm", "-rf", WORK / "growth"], check=True)
    for batch in [1, 2, 4, 8, 16]:
        subprocess.run(rewrite(skeleton("resnet50"), WORK / "growth", batch), check=True, stdout=subprocess.DEVNULL)
        step = step_time(WORK / "growth", 2 if quick else 5)
        found["batch"].append({"batch": batch, "ms": step["ms_median"], "rss_gb": step["rss_gb"]})
    return found


def main():
    # It uses this file's paths.
    import layers

    quick = "--quick" in sys.argv
    WORK.mkdir(parents=True, exist_ok=True)
    rows, results = [], {}
    for name, mode in [("resnet50", None), ("resnet50.bn", "train")]:
        model = skeleton(name)
        bundle = WORK / name
        command = rewrite(model, bundle, 16, *(["--batch-norm", mode] if mode else []))
        runs = [whole_process(command) for _ in range(2 if quick else 6)][1:]
        seconds, memory = statistics.median(r[0] for r in runs), max(r[1] for r in runs)
        steps = {kernels: step_time(bundle, 2 if quick else 5, kernels) for kernels in KERNELS}
        step = steps["native"]
        rows += [
            (f"rewrite {name} ({model.stat().st_size / 1e6:.0f} MB), whole process", f"{seconds:.2f} s", f"{memory:.0f} MB"),
            *((f"step {name}, batch 16, 2 threads, {kernels} kernels", f"{s['ms_median'] / 1e3:.2f} s", f"{s['rss_gb'] * 1e3:.0f} MB")
              for kernels, s in steps.items()),
            (f"first step of {name} after the launch (loading {step['load_ms'] / 1e3:.2f} s of it)", f"{step['first_ms'] / 1e3:.2f} s", ""),
        ]
        results[name] = {"rewrite_s": seconds, "rewrite_mb": memory, "rewrite_runs": runs, "step": step, "standard": steps["standard"]}
    subprocess.run(rewrite(SMALL, WORK / "resnet20", 128), check=True, stdout=subprocess.DEVNULL)
    steps = {kernels: step_time(WORK / "resnet20", 3 if quick else 15, kernels) for kernels in KERNELS}
    rows += [(f"step resnet20 (32×32), batch 128, 2 threads, {kernels} kernels", f"{s['ms_median'] / 1e3:.3f} s", f"{s['rss_gb'] * 1e3:.0f} MB")
             for kernels, s in steps.items()]
    results["resnet20"] = {"step": steps["native"], "standard": steps["standard"]}
    for key, kernels in (("layers", "native"), ("layers_standard", "standard")):
        results[key] = layers.layers(WORK / "resnet50", 2 if quick else 5, kernels)
        for kind in ("forward", "input", "weight"):
            what = "convolutions of resnet50, forward" if kind == "forward" else f"gradients of the convolutions' {kind}s"
            rows.append((f"{what}, {kernels} kernels", f"{sum(r[kind] for r in results[key].values()) / 1e3:.2f} s", ""))
    results["finetune"] = {}
    for name, model, batch, size, steps in [("resnet20", SMALL, 128, 32, 12), ("resnet50", skeleton("resnet50"), 16, 224, 6)]:
        found = results["finetune"][name] = finetune(name, model, batch, size, steps)
        rows.append((f"finetune {name}: {found['images_per_s']:.1f} images/s, {100 * found['idle_share']:.2f} % waiting for them; one step, whole process",
                     f"{found['one_step_process_s']:.2f} s", ""))
    saved = results["saving"] = saving(1 if quick else 5)
    rows += [(f"checkpoint of resnet50 with momentum, {saved['checkpoint_mb']:.0f} MB, beside the training", f"{saved['checkpoint_s']:.2f} s", ""),
             ("report of that run, whole process", f"{saved['report_s']:.2f} s", "")]
    if not quick:
        results["growth"] = growth(quick)
        rows += [(f"rewrite {r['model']}, {r['mb']:.0f} MB: {1e3 * r['s'] / r['mb']:.2f} ms a MB", f"{r['s']:.2f} s", f"{r['peak_mb']:.0f} MB")
                 for r in results["growth"]["rewrite"]]
        rows += [(f"step resnet50, batch {r['batch']}: {r['ms'] / r['batch']:.0f} ms an image", f"{r['ms'] / 1e3:.2f} s", f"{r['rss_gb'] * 1e3:.0f} MB")
                 for r in results["growth"]["batch"]]
    width = max(len(r[0]) for r in rows)
    for what, duration, memory in rows:
        print(f"{what:<{width}}  {duration:>8}" + (f"  peak {memory:>8}" if memory else ""))
    main_case = results["resnet50"]
    found = {k: main_case[k] for k in ("rewrite_s", "rewrite_mb")}
    found |= {"step_gb": main_case["step"]["rss_gb"], "checkpoint_s": saved["checkpoint_s"], "report_s": saved["report_s"]}
    for key, limit in LIMITS.items():
        print(f"{key:<12} {found[key]:8.2f}  aim ≤ {limit:<6} {'reached' if found[key] <= limit else 'MISSED'}")
    for case in [r[kind] for r in results.values() for kind in ("step", "standard") if kind in r]:
        # Paths say nothing about the machine that others could use.
        case["bundle"], case["engine"] = pathlib.Path(case["bundle"]).name, case["engine"].split(",")[0]
    results["machine"] = machine()
    target = ROOT / "bench/results/latest.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written: {target.relative_to(ROOT)}")


def machine():
    """What the figures depend on; how busy it was belongs to that."""
    return {"processor": processor(), "cores": os.cpu_count(), "system": platform.system(), "load": os.getloadavg()[0]}


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
