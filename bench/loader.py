"""Images a second, read, resized, changed at random and batched: spgraph beside torchvision's DataLoader with as many workers.

    cargo build --release --example loader
    python bench/loader.py FOLDER [--workers 2] [--rounds 5] [--augment resized-crop]

FOLDER has one sub-folder per class. Both read every image once an epoch and keep none; rounds alternate, so that both meet the same load.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import time

import torch
from torch.utils.data import DataLoader
from torchvision import transforms as T
from torchvision.datasets import ImageFolder

NORMALIZE = [T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
RECIPES = {
    "none": [T.Resize(256), T.CenterCrop(224)],
    "flip-crop": [T.Resize(256), T.RandomCrop(224), T.RandomHorizontalFlip()],
    "resized-crop": [T.RandomResizedCrop(224), T.RandomHorizontalFlip()],
}


def theirs(folder, recipe, workers, epochs):
    data = ImageFolder(folder, T.Compose(RECIPES[recipe] + NORMALIZE))
    loader = DataLoader(data, 32, shuffle=True, num_workers=workers, persistent_workers=True, prefetch_factor=3)
    # Starting the workers is no part of it.
    next(iter(loader))
    start, seen = time.perf_counter(), 0
    for _ in range(epochs):
        for images, _ in loader:
            seen += len(images)
    return seen / (time.perf_counter() - start)


def ours(binary, folder, recipe, workers, epochs):
    command = [binary, folder, recipe, str(workers), str(epochs)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--augment", choices=RECIPES, default="resized-crop")
    root = pathlib.Path(__file__).parent.parent
    parser.add_argument("--binary", default=str(root / "target/release/examples/loader"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    rounds = []
    for _ in range(args.rounds):
        a = ours(args.binary, args.folder, args.augment, args.workers, args.epochs)
        b = theirs(args.folder, args.augment, args.workers, args.epochs)
        rounds.append((a, b))
        print(f"spgraph {a:7.1f} images/s   torchvision {b:7.1f} images/s   {a / b:.2f}")
    ratios = [a / b for a, b in rounds]
    print(f"median  {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
