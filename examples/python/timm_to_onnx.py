# %% From a model of timm to a tuned ONNX file. Run it as it is, or cell by cell in an editor:
#
#     python timm_to_onnx.py IMAGES [MODEL] [WEIGHTS]
#
# IMAGES has a sub-folder for each class. Needs torch, timm, onnx, pillow and the wheel of spgraph. Without the network, give WEIGHTS: a file that
# timm.create_model takes as `checkpoint_path`, or `none` for fresh weights.
import sys

import spgraph
import timm
import torch

images, name, weights = (sys.argv[1:] + ["resnet18", ""])[:2] + [sys.argv[3] if len(sys.argv) > 3 else ""]

# %% The pretrained network, as it would be deployed.
model = timm.create_model(name, pretrained=not weights, checkpoint_path="" if weights in ("", "none") else weights).eval()
data = timm.data.resolve_model_data_config(model)
size = data["input_size"][1]
torch.onnx.export(model, (torch.zeros(2, *data["input_size"]),), f"{name}.onnx", input_names=["input"], output_names=["logits"], dynamo=False, dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}})

# %% A training graph with a head for the folder's classes; L2-SP holds the rest near where it starts. Images are prepared as timm's were.
listed = {key: ",".join(f"{v:g}" for v in data[key]) for key in ("mean", "std")}
bundle = spgraph.rewrite(f"{name}.onnx", classes=images, batch=8, batch_norm="frozen", resize=round(size / data["crop_pct"]), force=True, **listed)
print(f"{len(bundle.named('shared'))} tensors start from timm's, {len(bundle.named('new'))} are new; classes: {', '.join(bundle.classes)}")

# %% Training: onnxruntime, no torch.
trainer, folder = spgraph.Trainer(bundle, lr=0.01), spgraph.ImageFolder(images, bundle)
trainer.fit(folder, epochs=3, log=lambda step, r: print(f"step {step}  loss {r.loss:.4f}  penalty {r.penalty:.4f}  right {r.correct}/{r.images}"))
print(f"accuracy on the training images {trainer.evaluate(folder).accuracy:.1%}")

# %% The tuned model, with the names of timm's graph; and one that takes decoded images and tells classes.
print(f"wrote {trainer.export(f'{name}-tuned.onnx', force=True)}")
print(f"wrote {trainer.export(f'{name}-app.onnx', force=True, preprocess=True, softmax=True, top=3)}")
