"""Prepared batches of a folder of images in one file, for programs that read no images: `batches.py BUNDLE IMAGES STEPS OUT`.

OUT has STEPS times a batch of images (float32, little-endian), then STEPS times its labels (int64), as the examples in C, Rust, Java and C# read them; where its name
ends with `.npz`, arrays `images` and `labels`, as OpenVINO's does.
"""
import itertools
import pathlib
import sys

import numpy as np
import spgraph


def main(bundle, images, steps, out):
    bundle = spgraph.Bundle(bundle)
    folder = spgraph.ImageFolder(images, bundle)
    if len(folder.files) < folder.batch or int(steps) < 1:
        raise spgraph.Error(f"{images} has {len(folder.files)} images, and {steps} steps of {folder.batch} were asked for: at least one batch has to be full; or rewrite with a smaller --batch")
    # Pass after pass over the folder, each in another order; all batches are full.
    passes = itertools.chain.from_iterable(folder for _ in itertools.count())
    full = (batch for batch in passes if len(batch[0]) == folder.batch)
    data, labels = map(np.stack, zip(*itertools.islice(full, int(steps))))
    if out.endswith(".npz"):
        np.savez(out, images=data, labels=labels)
    else:
        pathlib.Path(out).write_bytes(data.astype("<f4").tobytes() + labels.astype("<i8").tobytes())
    print(f"wrote {out}: {steps} batches of {folder.batch} images")


if __name__ == "__main__":
    if len(sys.argv) != 5:
        raise SystemExit(__doc__)
    try:
        main(*sys.argv[1:])
    except (spgraph.Error, ValueError) as error:
        raise SystemExit(f"error: {error}") from None
