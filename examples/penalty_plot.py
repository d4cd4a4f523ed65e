"""Draws what each penalty does to the distance from the starting point, layer by layer, on the demo: docs/penalties.svg.

usage: examples/penalty_plot.py [--steps N] [--seeds 0 1] [--reuse]

Fine-tunes the ResNet-20 in models/ on the demo's 60 images of six new classes, as examples/demo.sh does, once with each penalty and each
seed at the default strength of the penalty (--reuse: unless the run is there), and reads `‖w − w⁰‖` of every weight from run.json. Needs matplotlib (examples/requirements.txt);
`make penalty-plot` installs it.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[1]
SPGRAPH = os.environ.get("SPGRAPH", ROOT / "target/release/spgraph")
OUT = ROOT / "out/penalty-plot"
MODEL = ROOT / "models/resnet20-source.onnx"
FISHER = OUT / "fisher.safetensors"
PENALTIES = {
    "none": ["--penalty", "none"],
    "l2": ["--penalty", "l2"],
    "l2-sp": ["--penalty", "l2-sp"],
    "l2-sp-fisher": ["--penalty", "l2-sp-fisher", "--fisher", FISHER],
    "l1-sp --prox": ["--penalty", "l1-sp", "--prox"],
    "gl-sp --prox": ["--penalty", "gl-sp", "--prox"],
    "gl-sp-fisher": ["--penalty", "gl-sp-fisher", "--fisher", FISHER],
}
REGULARIZERS = {
    "none": ["--penalty", "none"],
    "delta": ["--regularizer", "delta"],
    "bss": ["--regularizer", "bss"],
    "lwf": ["--regularizer", "lwf"],
}


def spgraph(*arguments):
    done = subprocess.run([str(a) for a in (SPGRAPH, *arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def accuracy(run, *more):
    return json.loads(spgraph("eval", run, "--json", *more))["accuracy"]


def measure(name, options, seed, steps, reuse):
    """Distances by layer, accuracy on the new classes, and on the source's under its own classifier."""
    run = OUT / f"{name.replace(' --', '-')}-{seed}"
    bundle = run.with_suffix(".spgraph")
    done = run / "run.json"
    if reuse and done.exists() and json.loads(done.read_text())["status"] == "complete":
        return results(run)
    spgraph("rewrite", MODEL, *options, "--classes", 6, "--class-names-from", OUT / "train", "--batch-norm", "frozen", "--batch", 20,
            "--seed", seed, "-o", bundle, "--force")
    spgraph("finetune", bundle, "--data", OUT / "train", "--steps", steps, "--lr", 0.01, "--augment", "flip-crop:4", "--seed", seed, "-o", run, "--force")
    return results(run)


def results(run):
    layers = json.loads((run / "run.json").read_text())["results"]["distance"]["layers"]
    weights = {l["name"].removesuffix(".weight"): l["distance"] for l in layers if ".conv" in l["name"] or l["name"].startswith("conv") or ".downsample.0" in l["name"]}
    return weights, accuracy(run, "--data", OUT / "test"), accuracy(run, "--data", OUT / "source", "--head-from", MODEL)


def main():
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "spgraph", "svg.fonttype": "path", "font.size": 8})
    from matplotlib import pyplot

    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--reuse", action="store_true")
    args = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    images = [] if args.reuse and FISHER.exists() else [True]
    for task, count, seed, folder in images and [("target-a", 10, 2, "train"), ("target-a", 50, 3, "test"), ("source", 40, 1, "source")]:
        spgraph("synth", "--task", task, "--per-class", count, "--seed", seed, "-o", OUT / folder, "--force")
    images and spgraph("fisher", MODEL, "--data", OUT / "source", "-o", FISHER, "--force")
    found = {}
    print(f"{'penalty':<14}{'target':>8}{'source':>8}{'distance':>10}")
    for name, options in (PENALTIES | REGULARIZERS).items():
        runs = [measure(name, options, seed, args.steps, args.reuse) for seed in args.seeds]
        found[name] = {layer: statistics.mean(r[0][layer] for r in runs) for layer in runs[0][0]}
        total = sum(v * v for v in found[name].values()) ** 0.5
        print(f"{name:<14}{100 * statistics.mean(r[1] for r in runs):>7.1f}%{100 * statistics.mean(r[2] for r in runs):>7.1f}%{total:>10.3f}", flush=True)
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    for panel, names, title in zip(panels, (PENALTIES, REGULARIZERS), ("penalties on weights", "losses on what the network computes")):
        for name in names:
            panel.plot(list(found[name]), list(found[name].values()), marker="o", markersize=2.5, linewidth=1, label=name, color="black" if name == "none" else None)
        panel.set_title(title)
        panel.tick_params(axis="x", rotation=90)
        panel.grid(alpha=0.3)
        panel.legend()
    panels[0].set_ylabel("‖w − w⁰‖")
    figure.savefig(ROOT / "docs/penalties.svg", metadata={"Date": None})
    print("written: docs/penalties.svg")


if __name__ == "__main__":
    main()
