"""What `make bench` measures: rewriting torchvision's ResNet-50 as a whole process, and one training step of it.

usage: bench/run.py [--quick]

The network is torchvision's graph with random weights, filled from tests/fixtures/skeleton (no PyTorch needed). Rewriting is
timed from outside, with the operating system's own count of peak memory; the step runs through examples/step_time.rs on ONNX
Runtime's CPU provider, 2 threads, batch 16, 224×224, L2-SP and momentum included. Prints a table, writes
bench/results/latest.json.
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
# (what, limit)
LIMITS = {"rewrite_s": 0.5, "rewrite_mb": 450, "step_ms": 4000, "step_gb": 2.6}


def whole_process(command):
    """Wall seconds and peak memory (MB) of one run."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return seconds, usage.ru_maxrss / 1e3


def main():
    quick = "--quick" in sys.argv
    WORK.mkdir(parents=True, exist_ok=True)
    rows, results = [], {}
    for name, mode in [("resnet50", None), ("resnet50.bn", "train")]:
        model = WORK / f"{name}.onnx"
        if not model.exists():
            subprocess.run([sys.executable, ROOT / "tests/python/fill_skeleton.py", ROOT / f"tests/fixtures/skeleton/{name}.onnx", model], check=True)
        bundle = WORK / name
        command = [BINARY, "rewrite", model, "-o", bundle, "--force", "--batch", "16"] + (["--batch-norm", mode] if mode else [])
        runs = [whole_process(command) for _ in range(2 if quick else 6)][1:]
        seconds, memory = statistics.median(r[0] for r in runs), max(r[1] for r in runs)
        step = json.loads(subprocess.run([STEP, bundle, "2" if quick else "5", "2"], check=True, capture_output=True, text=True).stdout)
        rows += [
            (f"rewrite {name} ({model.stat().st_size / 1e6:.0f} MB), whole process", f"{seconds:.2f} s", f"{memory:.0f} MB"),
            (f"step {name}, batch 16, 2 threads", f"{step['ms_median'] / 1e3:.2f} s", f"{step['rss_gb'] * 1e3:.0f} MB"),
        ]
        results[name] = {"rewrite_s": seconds, "rewrite_mb": memory, "rewrite_runs": runs, "step": step}
    width = max(len(r[0]) for r in rows)
    for what, duration, memory in rows:
        print(f"{what:<{width}}  {duration:>8}  peak {memory:>8}")
    main_case = results["resnet50"]
    found = {k: main_case[k] for k in ("rewrite_s", "rewrite_mb")}
    found |= {"step_ms": main_case["step"]["ms_median"], "step_gb": main_case["step"]["rss_gb"]}
    for key, limit in LIMITS.items():
        print(f"{key:<11} {found[key]:8.2f}  aim ≤ {limit:<6} {'reached' if found[key] <= limit else 'MISSED'}")
    results["machine"] = {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()}
    target = ROOT / "bench/results/latest.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written: {target.relative_to(ROOT)}")


def processor():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
