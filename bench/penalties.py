"""What penalties, regularizers and freezing cost in a training step.

usage: bench/penalties.py [--rounds N] [--batch N] [--threads N] [weights|regularizers|freezing …]

ResNet-50 (torchvision's graph with folded BatchNorm and random weights), 224², momentum, ONNX Runtime. Each variant and `none` are loaded into one
process (examples/paired_steps.rs) and step in turn; a variant's figure is the median over neighbouring steps. With one thread (the default)
times are the processor's, which hold on a busy machine too; with more they are the clock's. The cost of a penalty on the weights does not depend
on the number of images: at a small batch its milliseconds are measured, and set against a step with 16. Regularizers and freezing are set against
`none` at the same batch. `none` against itself shows what the measurement adds. Prints tables and writes bench/results/penalties.json.
"""
import argparse
import hashlib
import json
import statistics
import subprocess

import numpy as np
from safetensors.numpy import save_file

from run import BINARY, ROOT, WORK, machine, rewrite, skeleton

PAIRED = ROOT / "target/release/examples/paired_steps"
TARGET = ROOT / "bench/results/penalties.json"
GROUPS = {
    "weights": {
        "none": ["--penalty", "none"],
        "l2": ["--penalty", "l2"],
        "l2 --decoupled": ["--penalty", "l2", "--decoupled"],
        "l2-sp": ["--penalty", "l2-sp"],
        "l2-sp --decoupled": ["--penalty", "l2-sp", "--decoupled"],
        "l2-sp-fisher": ["--penalty", "l2-sp-fisher", "--fisher", "FISHER"],
        "l2-sp-fisher --decoupled": ["--penalty", "l2-sp-fisher", "--decoupled", "--fisher", "FISHER"],
        "l1-sp": ["--penalty", "l1-sp"],
        "l1-sp --prox": ["--penalty", "l1-sp", "--prox"],
        "gl-sp": ["--penalty", "gl-sp"],
        "gl-sp --prox": ["--penalty", "gl-sp", "--prox"],
        "gl-sp-fisher": ["--penalty", "gl-sp-fisher", "--fisher", "FISHER"],
    },
    "regularizers": {
        "none": ["--penalty", "none"],
        "delta": ["--penalty", "none", "--regularizer", "delta"],
        "bss": ["--penalty", "none", "--regularizer", "bss"],
        "lwf": ["--penalty", "none", "--regularizer", "lwf"],
    },
    "freezing": {"none": ["--penalty", "none"]} | {f"--freeze-stages {n}": ["--penalty", "none", "--freeze-stages", str(n)] for n in range(1, 6)},
}


def fisher(model):
    """Random Fisher information for every parameter of the model, in the form of `spgraph fisher`'s file."""
    path = WORK / "resnet50.fisher.safetensors"
    about = json.loads(subprocess.run([BINARY, "inspect", model, "--json"], check=True, capture_output=True, text=True).stdout)
    generator = np.random.default_rng(0)
    tensors = {p["name"]: generator.random(p["shape"], np.float32) for p in about["parameters"]}
    source = {"file": model.name, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    save_file(tensors, path, metadata={"spgraph": json.dumps({"format": 1, "mode": "random", "source": source})})
    return path


def paired(bundles, rounds, threads):
    """For each bundle the milliseconds of its steps."""
    run = subprocess.run([PAIRED, str(rounds), str(threads), *bundles], check=True, capture_output=True, text=True)
    return [[step[threads == 1] for step in steps] for steps in json.loads(run.stdout)]


def measure(group, args):
    """For each variant a list of [its milliseconds, those of `none`], one for each round."""
    model, plain, bundle = skeleton("resnet50"), WORK / "penalties-none", WORK / "penalties-variant"
    make = lambda path, options: subprocess.run(rewrite(model, path, args.batch, *options), check=True, stdout=subprocess.DEVNULL)
    make(plain, ["--penalty", "none"])
    found = {}
    for name, options in GROUPS[group].items():
        make(bundle, [fisher(model) if o == "FISHER" else o for o in options])
        none, own = paired([plain, bundle], args.rounds, args.threads)
        found[name] = list(zip(own, none))
        print(f"{name:28} {statistics.median(own):6.0f} ms, none {statistics.median(none):6.0f} ms", flush=True)
    subprocess.run(["rm", "-rf", plain, bundle], check=True)
    return found


def whole_step(args):
    """Milliseconds of a step of `none` with 16 images."""
    bundle = WORK / "penalties-whole"
    subprocess.run(rewrite(skeleton("resnet50"), bundle, 16, "--penalty", "none"), check=True, stdout=subprocess.DEVNULL)
    (steps,) = paired([bundle], 3, args.threads)
    subprocess.run(["rm", "-rf", bundle], check=True)
    return statistics.median(steps)


def table(group, found, whole):
    """Against a step with 16 images by the difference, for weights; by the quotient otherwise."""
    print(f"\n{group:28} {'more ms':>8} {'of none':>8} {'quartiles':>15} {'pairs':>6}")
    for name, pairs in found.items():
        more = sorted(own - none for own, none in pairs)
        ratios = [1 + m / whole for m in more] if group == "weights" else sorted(own / none for own, none in pairs)
        quartiles = f"{ratios[len(ratios) // 4]:.3f}-{ratios[-1 - len(ratios) // 4]:.3f}"
        print(f"{name:28} {statistics.median(more):8.0f} {statistics.median(ratios):8.3f} {quartiles:>15} {len(pairs):6}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []], help="what to measure (default: all)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    results = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    whole = whole_step(args)
    print(f"a step of none with 16 images, {args.threads} thread: {whole:.0f} ms")
    for group in args.groups or GROUPS:
        found = measure(group, args)
        results[group] = {"batch": args.batch, "threads": args.threads, "none_16_images_ms": whole, "pairs": found}
        results["machine"] = machine()
        TARGET.write_text(json.dumps(results) + "\n")
        table(group, found, whole)
    print(f"written: {TARGET.relative_to(ROOT)} (`pairs` are [milliseconds, those of none])")


if __name__ == "__main__":
    main()
