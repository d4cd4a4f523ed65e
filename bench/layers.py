"""Times of every convolution in a training step: forward, gradient of the input, gradient of the weight.

usage: bench/layers.py BUNDLE [--steps 5] [--kernels native|standard]

From the trace that `spgraph profile` writes. Where the runtime has fused a rectifier or a sum into a convolution, its time is part of
the forward column.
"""
import argparse
import collections
import json
import pathlib
import re
import subprocess
import tempfile

import run

KINDS = {"ConvInputGrad": "input", "ConvWeightGrad": "weight"}


def layers(bundle, steps, kernels="auto"):
    """Milliseconds a step by layer: {layer: {forward, input, weight}}, in the order in which the step runs them."""
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder) / "trace.json"
        profile = [run.BINARY, "profile", bundle, "--engine", "ort", "--threads", "2", "--kernels", kernels, "--steps", str(steps), "--trace", trace]
        subprocess.run(profile, check=True, stdout=subprocess.DEVNULL)
        events = json.loads(trace.read_text())
    # The last `steps` runs are those that count.
    begin = sorted(e["ts"] for e in events if e.get("name") == "model_run")[-steps]
    found = collections.defaultdict(lambda: {"forward": 0.0, "input": 0.0, "weight": 0.0})
    for event in events:
        name = event.get("name", "").removesuffix("_kernel_time")
        if event.get("cat") != "Node" or event["ts"] < begin or name == event["name"]:
            continue
        inside = re.fullmatch(r"(.*/)?Conv(_\d+)?\.grad/(ConvInputGrad|ConvWeightGrad)(/.*|_\d+)?", name)
        if inside:
            found[layer(inside[1])][KINDS[inside[3]]] += event["dur"] / 1e3 / steps
        elif forward := re.fullmatch(r"(?!.*\.grad/)(|.*?/)Conv(_\d+)?(_nchwc|/.*)?", name):
            found[layer(forward[1])]["forward"] += event["dur"] / 1e3 / steps
    return dict(found)


def layer(path):
    """`/layer1/layer1.0/conv1/` → `layer1.0.conv1`: each part without what it repeats of the one before."""
    parts, names = [p for p in (path or "").split("/") if p], []
    for i, part in enumerate(parts):
        if i + 1 < len(parts) and parts[i + 1].startswith(part + "."):
            continue
        names.append(part)
    return ".".join(names)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("bundle")
    p.add_argument("--steps", type=int, default=5)
    p.add_argument("--kernels", default="auto", choices=["auto", "native", "standard"])
    a = p.parse_args()
    rows = layers(a.bundle, a.steps, a.kernels)
    print(f"{'ms':<26}{'forward':>10}{'input':>10}{'weight':>10}")
    for name, r in [*rows.items(), ("all", {k: sum(r[k] for r in rows.values()) for k in ("forward", "input", "weight")})]:
        print(f"{name:<26}{r['forward']:>10.2f}{r['input']:>10.2f}{r['weight']:>10.2f}")


if __name__ == "__main__":
    main()
