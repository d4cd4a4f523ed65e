"""What `make bench-peers` measures: one training step in other programs and in spgraph, in turn.

usage: bench/peers.py [--cases NAME,...] [--peers NAME,...] [--rounds 5] [--steps 5] [--python PYTHON] [--ort-python PYTHON]

The same network with the same penalty, 2 threads, random data. A round runs every program once, each as a process of its own that takes
two steps to warm up and then the median of --steps more; every other round goes in the opposite order. Reported are the median over
rounds, the spread, and the median over rounds of the ratio to the same round's first peer: a ratio within a round holds where the
machine's speed drifts. CASES says which programs meet in which case, and VARIANTS how each of spgraph's own is run. Prints a table, and
puts the cases that were measured into bench/results/peers.json, beside those of earlier runs on the same machine.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

import run

PEERS = run.ROOT / "bench/peers"

# What PyTorch can do best: ratios are to its channels_last in float32.
TORCH = ["torch channels_last", "torch", "torch bf16", "torch compiled bf16"]

# name: (model, batch, size, arguments of rewrite, peers; ratios are to the first). `torchvision:NAME` is that network with live BatchNorm, exported by
# bench/peers/export_torchvision.py; PyTorch runs torchvision's own module of it.
CASES = {
    "resnet50": ("resnet50", 16, 224, [], ["torch channels_last", "torch bf16", "torch compiled bf16", "torch", "ort-training", "onnxsim"]),
    "resnet50.bn": ("resnet50.bn", 16, 224, ["--batch-norm", "train"], ["torch channels_last", "torch compiled", "torch bf16", "torch compiled bf16"]),
    # Saved with live BatchNorm.
    "resnet20": (None, 128, 32, ["--batch-norm", "train"], ["torch", "torch channels_last", "torch compiled", "torch bf16", "torch compiled bf16"]),
    **{name: (f"torchvision:{name}", 16, 224, ["--batch-norm", "train"], TORCH)
       for name in ("mobilenet_v2", "efficientnet_b0", "resnext50_32x4d", "densenet121")},
}

# name: what step_time is told after the number of threads
VARIANTS = {"spgraph standard": ["standard"], "spgraph native": ["native"], "spgraph bf16": ["bf16"]}


def model_of(name, a):
    """The case's ONNX file, made once."""
    model = CASES[name][0]
    if model is None:
        return run.SMALL
    if not model.startswith("torchvision:"):
        return run.skeleton(model)
    network = model.removeprefix("torchvision:")
    path = run.WORK / f"{network}.bn.onnx"
    if not path.exists():
        export = [a.python, PEERS / "export_torchvision.py", network, run.WORK, "10", str(CASES[name][2])]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def command(peer, name, a):
    """How to run one peer, or a variant of spgraph."""
    model, batch, size, _, _ = CASES[name]
    if peer in VARIANTS:
        return [run.STEP, run.WORK / name, str(a.steps), "2", *VARIANTS[peer]]
    path = model_of(name, a)
    common = [path, "--batch", str(batch), "--steps", str(a.steps), "--size", str(size)]
    torch = [a.python, PEERS / "torch_step.py", *common, "--l2sp", "0.01"]
    if model and model.startswith("torchvision:"):
        torch += ["--torchvision", model.removeprefix("torchvision:")]
    return {
        "torch": torch,
        "torch channels_last": torch + ["--channels-last"],
        "torch compiled": torch + ["--channels-last", "--compile"],
        "torch bf16": torch + ["--channels-last", "--bf16"],
        "torch compiled bf16": torch + ["--channels-last", "--bf16", "--compile"],
        "onnxsim": [a.python, PEERS / "onnxsim_step.py", *common],
        "ort-training": [a.ort_python, PEERS / "ort_training_step.py", *common],
    }[peer]


def measure(peer, name, a):
    done = subprocess.run(command(peer, name, a), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{peer} failed on {name}:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"ms": found["ms_median"], "rss_gb": found["rss_gb"]}


def case(name, a):
    """All rounds of one case."""
    model, batch, size, options, peers = CASES[name]
    subprocess.run(run.rewrite(model_of(name, a), run.WORK / name, batch, *options), check=True, stdout=subprocess.DEVNULL)
    own = a.variants.split(",")
    peers = (a.peers.split(",") if a.peers else [p for p in peers if p != "ort-training" or os.path.exists(a.ort_python)]) + own
    load, rounds = os.getloadavg()[0], []
    for number in range(a.rounds):
        order = peers if number % 2 == 0 else peers[::-1]
        rounds.append({peer: measure(peer, name, a) for peer in order})
        print(f"{name}, round {number + 1}: " + ", ".join(f"{p} {rounds[-1][p]['ms']:.0f} ms" for p in peers), file=sys.stderr)
    rows = {}
    for peer in peers:
        times = [r[peer]["ms"] for r in rounds]
        ratios = [r[peer]["ms"] / r[peers[0]]["ms"] for r in rounds]
        rows[peer] = {"ms_median": statistics.median(times), "ms_min": min(times), "ms_max": max(times),
                      "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
                      "rss_gb": max(r[peer]["rss_gb"] for r in rounds)}
    return {"batch": batch, "size": size, "rounds": a.rounds, "steps": a.steps, "load": [load, os.getloadavg()[0]], "rows": rows}


def table(name, found):
    print(f"\n{name}, batch {found['batch']}, {found['size']}×{found['size']}, 2 threads; {found['rounds']} rounds of {found['steps']} steps")
    print(f"{'':<22}{'median ms':>10}{'min–max':>16}{'ratio':>8}{'min–max':>14}{'peak GB':>9}")
    for peer, r in found["rows"].items():
        print(f"{peer:<22}{r['ms_median']:>10.0f}{r['ms_min']:>9.0f}–{r['ms_max']:<6.0f}{r['ratio']:>8.2f}"
              f"{r['ratio_min']:>8.2f}–{r['ratio_max']:<5.2f}{r['rss_gb']:>9.2f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--python", default=sys.executable, help="one with torch, torchvision, onnx2torch, onnx and onnxsim")
    p.add_argument("--ort-python", default=".venv-ort/bin/python", help="one with onnxruntime-training-cpu; left out where there is none")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=5)
    p.add_argument("--cases", default=",".join(CASES))
    p.add_argument("--peers", help="instead of each case's own")
    p.add_argument("--variants", default=",".join(VARIANTS), help="of " + ", ".join(VARIANTS))
    a = p.parse_args()
    run.WORK.mkdir(parents=True, exist_ok=True)
    target = run.ROOT / "bench/results/peers.json"
    machine = {k: v for k, v in run.machine().items() if k != "load"}
    results = json.loads(target.read_text()) if target.exists() else {}
    if results.get("machine") != machine:
        results = {"machine": machine, "cases": {}}
    for name in a.cases.split(","):
        results["cases"][name] = case(name, a)
        table(name, results["cases"][name])
        target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten: {target.relative_to(run.ROOT)}")


if __name__ == "__main__":
    main()
