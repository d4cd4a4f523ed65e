"""What torchvision and Pillow make of two small images, for every change of an augmentation: tests/fixtures/augment.safetensors.

Needs torch, torchvision, Pillow and safetensors. The header's `cases` lists, for each case, its name, numbers and texts, the tensor of its image
and that of the result; results of Pillow are bytes H×W×3, those of torchvision's functions on tensors float32 3×H×W.
"""

import json
import math
import pathlib

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from torchvision.transforms import autoaugment, functional as F
from torchvision.transforms.functional import InterpolationMode
from torchvision.transforms.v2 import functional as F2
from torchvision.transforms import v2

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "augment.safetensors"
MODES = {"nearest": InterpolationMode.NEAREST, "bilinear": InterpolationMode.BILINEAR}
tensors, cases = {}, []


def picture(height, width, seed, low=0, high=255):
    """Smooth colours, an edge and some noise, between two values."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [np.sin(x / 5 + 2 * c + seed) * np.cos(y / 4 - c) + 0.6 * ((x - width / 2) * (1 + c) > y - height / 3) for c in range(3)]
    values = np.stack(planes, -1) + np.random.default_rng(seed).normal(0, 0.1, (height, width, 3))
    values = (values - values.min()) / (values.max() - values.min())
    return (low + (high - low) * values).round().astype(np.uint8)


def case(name, image, result, numbers=(), texts=()):
    if isinstance(result, Image.Image):
        result = np.asarray(result)
    elif isinstance(result, torch.Tensor):
        result = result.numpy()
    # Equal results are stored once.
    key = next((k for k, v in tensors.items() if v.dtype == result.dtype and v.shape == result.shape and (v == result).all()), None)
    if key is None:
        key = f"{len(tensors)}"
        tensors[key] = np.ascontiguousarray(result)
    cases.append({"name": name, "image": image, "numbers": list(numbers), "texts": list(texts), "result": key})


TONES = ["Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"]


def pillow(key, array, only=None):
    """All changes, or `only` those of a policy that have these names."""
    image = Image.fromarray(array)
    if only is None:
        geometry(key, image)
    policies(key, image, only)


def geometry(key, image):
    width, height = image.size
    for mode, interpolation in MODES.items():
        for angle in [17.25, -100.5, 90.0, 180.0, 0.0]:
            case("rotate", key, F.rotate(image, angle, interpolation, fill=[9, 8, 7]), [angle], [mode])
        for angle, translate, scale, shear in [(12.5, (3, -2), 1.1, 0.0), (0.0, (-5, 4), 1.0, 0.0), (0.0, (0, 0), 0.8, 20.0), (-33.0, (1, 1), 1.3, -8.0)]:
            result = F.affine(image, angle, translate, scale, [shear, 0.0], interpolation, fill=[9, 8, 7])
            case("affine", key, result, [angle, *translate, scale, shear], [mode])
    for kind in ["edge", "reflect", "constant"]:
        padded = F.pad(image, 6, padding_mode=kind)
        for left, top in [(-6, -6), (3, -2), (5, 4)]:
            size = (min(width, 20), min(height, 16))
            box = (left + 6, top + 6, left + 6 + size[0], top + 6 + size[1])
            case("window", key, padded.crop(box), [left, top, *size], [{"edge": "border", "constant": "black"}.get(kind, kind)])


def policies(key, image, only):
    """As RandAugment and TrivialAugmentWide apply them, at the magnitudes of their tables and with both signs."""
    width, height = image.size
    spaces = {
        "randaugment": autoaugment.RandAugment()._augmentation_space(31, (height, width)),
        "trivialaugment": autoaugment.TrivialAugmentWide()._augmentation_space(31),
    }
    for policy, bins in {"randaugment": [4, 9, 30], "trivialaugment": [17, 30]}.items():
        for number, (name, (magnitudes, signed)) in enumerate(spaces[policy].items()):
            for bin in bins:
                magnitude = magnitudes[bin].item() if magnitudes.ndim else 0.0
                sign = -1.0 if signed and (bin + number) % 2 else 1.0
                if (only and name not in only) or (not magnitudes.ndim and bin != bins[0]):
                    continue
                mode = "bilinear" if bin == 9 else "nearest"
                result = autoaugment._apply_op(image, name, sign * float(magnitude), MODES[mode], [1, 2, 3])
                case("policy", key, result, [number, bin, sign], [policy, mode])


def on_tensors(key, array):
    image = torch.from_numpy(array).permute(2, 0, 1).float() / 255
    for turn in [-0.5, -0.13, 0.08, 0.5]:
        case("hue", key, F.adjust_hue(image, turn), [turn])
    case("gray", key, F.rgb_to_grayscale(image, 3))
    for kernel, sigma in [(3, 0.4), (5, 1.7), (9, 2.0)]:
        case("blur", key, F.gaussian_blur(image, kernel, sigma), [kernel, sigma])
    case("erase", key, F.erase(image, 3, 2, 7, 9, torch.tensor(0.0)), [3, 2, 7, 9])


def tables():
    """The magnitudes themselves, for all bins."""
    for policy, size in [("randaugment", (32, 48)), ("randaugment", (224, 224)), ("trivialaugment", (32, 48))]:
        for bins in [31, 10, 2]:
            make = {"randaugment": lambda: autoaugment.RandAugment()._augmentation_space(bins, size), "trivialaugment": lambda: autoaugment.TrivialAugmentWide()._augmentation_space(bins)}
            space = make[policy]()
            rows = [np.asarray(m.tolist() if m.ndim else [0.0] * bins, dtype=np.float64) for m, _ in space.values()]
            case("magnitudes", "", np.stack(rows), [bins, *size] + [float(signed) for _, signed in space.values()], [policy])


def mixes():
    """A batch with the mixing numbers drawn by hand: torchvision's transforms with their random parameters replaced."""
    images = torch.from_numpy(np.random.default_rng(1).normal(size=(3, 3, 6, 8)).astype(np.float32))
    labels = torch.tensor([2, 0, 3])
    tensors["batch"] = images.numpy()
    for share in [0.3, 0.9]:
        share = float(np.float32(share))
        mixup = v2.MixUp(num_classes=4)
        mixup.make_params = lambda _, share=share: {"lam": share}
        mixed, targets = mixup(images, labels)
        case("mixup", "batch", mixed, [share])
        case("mixup-target", "batch", targets, [share, *labels.tolist()])
    for share, x, y in [(0.5, 4, 3), (0.1, 0, 5), (0.999, 7, 0), (0.0, 3, 2)]:
        cutmix = v2.CutMix(num_classes=4)
        cutmix._dist = type("Fixed", (), {"sample": lambda self, shape: torch.tensor([share], dtype=torch.float64)})()
        draws = iter([torch.tensor([x]), torch.tensor([y])])
        kept, torch.randint = torch.randint, lambda *_, **__: next(draws)
        mixed, targets = cutmix(images, labels)
        torch.randint = kept
        case("cutmix", "batch", mixed, [share, x, y])
        case("cutmix-target", "batch", targets, [share, x, y, *labels.tolist()])


def main():
    images = {"wide": picture(20, 28, 1), "flat": picture(40, 32, 2, 60, 190), "square": picture(13, 13, 3)}
    images["few"] = (picture(24, 20, 4, 0, 172) // 43 * 43).astype(np.uint8)
    tensors.update(images)
    pillow("wide", images["wide"])
    geometry("square", Image.fromarray(images["square"]))
    pillow("flat", images["flat"], TONES)
    pillow("few", images["few"], ["AutoContrast", "Equalize", "Sharpness"])
    for key in ["wide", "few"]:
        on_tensors(key, images[key])
    tables()
    mixes()
    save_file(tensors, OUT, {"cases": json.dumps(cases, separators=(",", ":"))})
    print(len(cases), "cases,", OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
