"""Draws what bench/results holds: bench/plot.py [--png FILE]. Writes bench/results/bench.svg."""
import argparse
import json
import pathlib

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
COLOURS = {"forward": "#4c72b0", "input": "#dd8452", "weight": "#55a868"}


def read(name):
    path = RESULTS / name
    return json.loads(path.read_text()) if path.exists() else {}


def rewriting(axes, rows):
    mb, seconds = [r["mb"] for r in rows], [r["s"] for r in rows]
    axes.plot(mb, seconds, "o-", color="#4c72b0")
    for r in rows:
        axes.annotate(r["model"], (r["mb"], r["s"]), textcoords="offset points", xytext=(6, -10), fontsize=7)
    axes.set(title="rewrite, whole process", xlabel="model, MB", ylabel="seconds", xscale="log", yscale="log")
    axes.margins(x=0.15)


def batches(axes, rows):
    axes.plot([r["batch"] for r in rows], [r["ms"] / 1e3 for r in rows], "o-", color="#4c72b0")
    axes.set(title="step of ResNet-50 against batch", xlabel="images", ylabel="seconds", xlim=0, ylim=0)


def convolutions(axes, layers):
    bottom = [0.0] * len(layers)
    for kind, colour in COLOURS.items():
        heights = [r[kind] for r in layers.values()]
        axes.bar(range(len(layers)), heights, bottom=bottom, color=colour, label=kind if kind == "forward" else f"gradient of {kind}", width=0.85)
        bottom = [b + h for b, h in zip(bottom, heights)]
    axes.set_xticks(range(len(layers)), list(layers), rotation=90, fontsize=6)
    axes.set(title="convolutions of ResNet-50, batch 16", ylabel="ms a step")
    axes.margins(x=0.01)
    axes.legend(fontsize=8)


def peers(axes, cases):
    labels, values, low, high, colours = [], [], [], [], []
    for name, case in cases.items():
        for peer, r in case["rows"].items():
            labels.append(f"{name}: {peer}")
            values.append(r["ratio"])
            low.append(r["ratio"] - r["ratio_min"])
            high.append(r["ratio_max"] - r["ratio"])
            colours.append("#dd8452" if peer.startswith("spgraph") else "#8c8c8c")
    axes.barh(range(len(labels)), values, xerr=[low, high], color=colours, error_kw={"linewidth": 1})
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set(title="step time, ratio to each case's first peer", xlabel="median and range over rounds")


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--png", help="the same picture as PNG")
    a = p.parse_args()
    own, others = read("latest.json"), read("peers.json")
    panels = [(rewriting, own.get("growth", {}).get("rewrite")), (batches, own.get("growth", {}).get("batch")),
              (convolutions, own.get("layers")), (peers, others.get("cases"))]
    figure, grid = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
    for axes, (draw, data) in zip(grid.flat, panels):
        if data:
            draw(axes, data)
        else:
            axes.set_axis_off()
    plt.rcParams["svg.hashsalt"] = "spgraph"
    figure.savefig(RESULTS / "bench.svg", metadata={"Date": None})
    if a.png:
        figure.savefig(a.png, dpi=110)
    print("written: bench/results/bench.svg")


if __name__ == "__main__":
    main()
