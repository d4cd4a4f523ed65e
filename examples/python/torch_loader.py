"""torchvision's images and transforms, a DataLoader of torch, and onnxruntime for the steps: `torch_loader.py BUNDLE IMAGES OUT.onnx`."""
import sys

import spgraph
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

bundle = spgraph.Bundle(sys.argv[1])
how, side = bundle.manifest["preprocessing"], bundle.input["shape"][2]
transform = transforms.Compose(
    [transforms.RandomResizedCrop(side, scale=(0.5, 1)), transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(how["mean"], how["std"])]
)
images = datasets.ImageFolder(sys.argv[2], transform)
if images.classes != bundle.classes:
    raise SystemExit(f"the folder's classes {images.classes} are not the bundle's {bundle.classes}")
loader = DataLoader(images, batch_size=bundle.batch or 16, shuffle=True, drop_last=True, num_workers=2)

trainer = spgraph.Trainer(bundle)
trainer.fit(loader, epochs=3, log=lambda step, r: print(f"step {step}  loss {r.loss:.4f}  right {r.correct}/{r.images}"))
print(f"wrote {trainer.export(sys.argv[3], force=True)}")
