"""What `make bench-peers` measures: one training step in PyTorch (and other peers) and in spgraph, in turn.

usage: bench/peers.py [--python PYTHON] [--rounds 5] [--steps 5] [--peers NAME,...] [--ort-python PYTHON]

The same network with the same penalty: torchvision's ResNet-50 with random weights, BatchNorm folded (resnet50) or live in train
mode (resnet50.bn), batch 16, 224×224; and the ResNet-20 in models/ with batch 128, 32×32. A round runs every program once, each as
a process of its own that takes two steps to warm up and then the median of --steps more. Reported are the median over rounds, the
spread, and the median over rounds of the ratio to the same round's first peer: a ratio within a round holds where the machine's
speed drifts. onnxsim and ort-training (needs --ort-python: onnxruntime-training-cpu 1.19.2) are run only where --peers names them.
Prints a table, writes bench/results/peers.json.
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


def command(peer, case, a):
    """How to run one peer, or spgraph."""
    name, model, batch, size = case["name"], case["model"], case["batch"], case["size"]
    common = [model, "--batch", str(batch), "--steps", str(a.steps)]
    torch = [a.python, PEERS / "torch_step.py", *common, "--size", str(size), "--l2sp", "0.01"]
    return {
        "torch channels_last": torch + ["--channels-last"],
        "torch": torch,
        "torch compiled": torch + ["--channels-last", "--compile"],
        "torch bf16": torch + ["--channels-last", "--bf16"],
        "onnxsim": [a.python, PEERS / "onnxsim_step.py", *common],
        "ort-training": [a.ort_python, PEERS / "ort_training_step.py", *common],
        "spgraph": [run.STEP, run.WORK / name, str(a.steps), "2"],
    }[peer]


def measure(peer, case, a):
    done = subprocess.run(command(peer, case, a), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{peer} failed on {case['name']}:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {"ms": found["ms_median"], "rss_gb": found["rss_gb"]}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--python", default=sys.executable, help="one with torch, onnx2torch and onnx")
    p.add_argument("--ort-python", default=".venv-ort/bin/python")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=5)
    p.add_argument("--peers", default="torch channels_last,torch")
    p.add_argument("--cases", default="resnet50,resnet50.bn,resnet20")
    a = p.parse_args()
    run.WORK.mkdir(parents=True, exist_ok=True)
    small = run.ROOT / "models/resnet20-source.onnx"
    results = {"machine": run.machine(), "rounds": a.rounds, "steps": a.steps, "cases": {}}
    for name in a.cases.split(","):
        case = {"name": name, "model": small if name == "resnet20" else run.skeleton(name)}
        case |= {"batch": 128, "size": 32} if name == "resnet20" else {"batch": 16, "size": 224}
        # ResNet-20 was saved with live BatchNorm, as resnet50.bn is.
        more = [] if name == "resnet50" else ["--batch-norm", "train"]
        subprocess.run(run.rewrite(case["model"], run.WORK / name, case["batch"], *more), check=True, stdout=subprocess.DEVNULL)
        peers = a.peers.split(",") + ["spgraph"]
        rounds = []
        for number in range(a.rounds):
            # In turn, and every other round in the opposite order.
            order = peers if number % 2 == 0 else peers[::-1]
            rounds.append({peer: measure(peer, case, a) for peer in order})
            print(f"{name}, round {number + 1}: " + ", ".join(f"{p} {rounds[-1][p]['ms']:.0f} ms" for p in peers), file=sys.stderr)
        rows = {}
        for peer in peers:
            times = [r[peer]["ms"] for r in rounds]
            ratios = [r[peer]["ms"] / r[peers[0]]["ms"] for r in rounds]
            rows[peer] = {"ms_median": statistics.median(times), "ms_min": min(times), "ms_max": max(times),
                          "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
                          "rss_gb": max(r[peer]["rss_gb"] for r in rounds)}
        results["cases"][name] = {"batch": case["batch"], "size": case["size"], "rows": rows}
        print(f"\n{name}, batch {case['batch']}, {case['size']}×{case['size']}, 2 threads; {a.rounds} rounds of {a.steps} steps")
        print(f"{'':<22}{'median ms':>10}{'min–max':>16}{'ratio':>8}{'min–max':>14}{'peak GB':>9}")
        for peer, r in rows.items():
            print(f"{peer:<22}{r['ms_median']:>10.0f}{r['ms_min']:>9.0f}–{r['ms_max']:<6.0f}{r['ratio']:>8.2f}"
                  f"{r['ratio_min']:>8.2f}–{r['ratio_max']:<5.2f}{r['rss_gb']:>9.2f}", flush=True)
    results["machine"]["load_after"] = os.getloadavg()[0]
    target = run.ROOT / "bench/results/peers.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n")
    print(f"\nwritten: {target.relative_to(run.ROOT)}")


if __name__ == "__main__":
    main()
