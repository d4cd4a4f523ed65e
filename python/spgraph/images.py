"""Folders of images as batches. Needs Pillow."""
from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from .binary import Error
from .bundle import Bundle

ENDINGS = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"}


def preprocess(image: object, bundle: Bundle) -> np.ndarray:
    """One image as the network wants it, `[C, H, W]` (`[H, W, C]` where its channels are last), as `spgraph finetune` prepares it.

    `image`: a file or a Pillow image. Raises `Error` where the bundle does not say how.
    """
    from PIL import Image, ImageOps

    how = bundle.manifest.get("preprocessing")
    if how is None:
        raise Error(f"{bundle.folder} does not say how images are prepared: rewrite with `mean`, `std` and `resize`, or prepare them yourself")
    if not isinstance(image, Image.Image):
        try:
            image = Image.open(image)
            image.load()
        except OSError as error:
            raise Error(f"cannot read the image {image}: {error}") from None
    last = how.get("layout", "nchw") == "nhwc"
    channels, height, width = (bundle.input["shape"][i] for i in ((3, 1, 2) if last else (1, 2, 3)))
    if channels != 3:
        raise Error(f"the network takes {channels} channels; `preprocess` makes three: prepare images yourself")
    image = ImageOps.exif_transpose(image).convert("RGB")
    side = how["resize"]
    # Oblong inputs: the shorter side grows until the crop fits.
    while (size := scaled(image.size, side))[0] < width or size[1] < height:
        side += 1
    left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
    pixels = resized(np.asarray(image), size)[top : top + height, left : left + width].astype(np.float32)
    if how.get("channels", "rgb") == "bgr":
        pixels = pixels[:, :, ::-1]
    if bundle.input["dtype"] != "uint8":
        pixels = (pixels / np.float32(255) * np.float32(how.get("scale", 1)) - np.float32(how["mean"])) / np.float32(how["std"])
    return np.ascontiguousarray(pixels if last else pixels.transpose(2, 0, 1), bundle.input["dtype"])


def scaled(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height with the shorter one at `side`; the other is rounded down."""
    width, height = size
    return (side, side * height // width) if width <= height else (side * width // height, side)


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bytes `[H, W, 3]` at another width and height: Pillow's bilinear filter, wider when shrinking, as spgraph computes it: weights of 16 bits, rows first."""
    for axis, now in ((0, size[1]), (1, size[0])):
        old = pixels.shape[axis]
        if old == now:
            continue
        support = max(old / now, 1.0)
        weights = np.maximum(1 - abs((np.arange(old) + 0.5 - (np.arange(now)[:, None] + 0.5) * (old / now)) / support), 0)
        weights /= weights.sum(axis=1, keepdims=True)
        shift = next(s for s in range(22) if s == 21 or np.floor(weights.max() * 2.0 ** (s + 1) + 0.5) >= 1 << 15)
        whole = np.floor(weights * 2.0**shift + 0.5)  # exact in float64, and so are the sums
        sums = np.tensordot(whole, pixels.astype(np.float64), (1, axis)) + 2.0 ** (shift - 1)
        pixels = np.moveaxis(np.minimum(np.floor(sums / 2.0**shift), 255).astype(np.uint8), 0, axis)
    return pixels


class ImageFolder:
    """Batches of a folder with one sub-folder of images for each class: pairs of images `[N, …]` and labels `[N]`.

    Each pass is one epoch, in another order with `shuffle`. The last batch of a pass is left out where the bundle has a fixed batch that it does not fill.
    Raises `Error` where the folders are not the bundle's classes.
    """

    def __init__(self, folder: str | os.PathLike[str], bundle: Bundle, *, batch: int | None = None, shuffle: bool = True, seed: int = 0):
        self.bundle, self.shuffle, self.seed, self.epoch = bundle, shuffle, seed, 0
        self.batch = batch or bundle.batch or 32
        root = pathlib.Path(folder)
        if not root.is_dir():
            raise Error(f"{root} is no folder of images")
        found = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
        classes = bundle.classes or found
        unknown = [name for name in found if name not in classes]
        if unknown or not found:
            raise Error(f"{root} has the folder `{unknown[0]}`, which is no class of the network ({', '.join(classes)})" if found else f"{root} has no folders, one for each class")
        self.files = [(p, classes.index(name)) for name in found for p in sorted((root / name).rglob("*")) if p.suffix.lower() in ENDINGS]
        if not self.files:
            raise Error(f"{root} has no images")

    def __len__(self) -> int:
        return len(self.files) // self.batch if self.bundle.batch else -(-len(self.files) // self.batch)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.files)) if self.shuffle else np.arange(len(self.files))
        self.epoch += 1
        for k in range(len(self)):
            rows = [self.files[i] for i in order[k * self.batch : (k + 1) * self.batch]]
            yield np.stack([preprocess(path, self.bundle) for path, _ in rows]), np.array([label for _, label in rows], np.int64)
