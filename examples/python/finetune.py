"""Fine-tunes a model on a folder of images: `finetune.py MODEL.onnx IMAGES OUT.onnx [--epochs 10] [--batch 16] [--lr 0.01]`.

Ctrl-C keeps what was reached in OUT.state.safetensors; the same command goes on from there.
"""
import argparse
import hashlib
import math
import pathlib

import spgraph

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("images", type=pathlib.Path, help="a sub-folder for each class")
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch", type=int, default=16)
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
options = parser.parse_args()


def main():
    # A name may have dots: `birds.v2` is not `birds`.
    named = str(options.out).removesuffix(".onnx")
    folder, checkpoint = pathlib.Path(f"{named}.spgraph"), pathlib.Path(f"{named}.state.safetensors")
    bundle = spgraph.Bundle(folder) if folder.exists() else spgraph.rewrite(options.model, folder, classes=options.images, batch=options.batch)
    if bundle.manifest["source"]["sha256"] != hashlib.sha256(options.model.read_bytes()).hexdigest():
        raise spgraph.Error(f"{folder} was made of another model than {options.model}: remove it and {checkpoint}, or take another name than {options.out}")
    trainer = spgraph.Trainer(bundle, device=options.device)
    images = spgraph.ImageFolder(options.images, bundle)
    if checkpoint.exists():
        trainer.load(checkpoint)
        images.epoch = trainer.steps // len(images)
        print(f"goes on after step {trainer.steps}")

    total = options.epochs * len(images)
    try:
        for _ in range(images.epoch, options.epochs):
            trainer.fit(
                images,
                schedule=lambda step: 0.5 * options.lr * (1 + math.cos(math.pi * step / total)),
                log=lambda step, r: print(f"step {step}/{total}  loss {r.loss:.4f}  right {r.correct}/{r.images}"),
            )
            trainer.save(checkpoint)
    except KeyboardInterrupt:
        raise SystemExit(f"stopped; the last whole epoch is in {checkpoint}" if checkpoint.exists() else "stopped") from None

    print(f"accuracy on the training images {trainer.evaluate(images).accuracy:.1%}")
    print(f"wrote {trainer.export(options.out, force=True)}")


try:
    main()
except (spgraph.Error, OSError) as error:
    raise SystemExit(f"error: {error}") from None
