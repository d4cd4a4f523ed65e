"""Fine-tune deployed ONNX networks with onnxruntime: `rewrite` makes a training bundle, `Trainer` trains it, `export` writes the tuned model.

    bundle = spgraph.rewrite("resnet50.onnx", classes="photos/", batch=16)
    trainer = spgraph.Trainer(bundle, lr=0.01)
    for images, labels in spgraph.ImageFolder("photos/", bundle):
        print(trainer.step(images, labels).loss)
    trainer.export("tuned.onnx")
"""
from .binary import Error, binary, run
from .bundle import Bundle
from .commands import export, interpolate, rewrite
from .images import ImageFolder, preprocess
from .trainer import Evaluation, Step, Trainer

__all__ = ["Bundle", "Error", "Evaluation", "ImageFolder", "Step", "Trainer", "binary", "export", "interpolate", "preprocess", "rewrite", "run"]
__version__ = "0.1.0"
