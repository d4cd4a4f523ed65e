"""Makes tests/fixtures/data: small images, and what Pillow and torchvision make of them.

Needs torch, torchvision, pillow and numpy. Run: python tests/generate/data.py
"""

from pathlib import Path

import numpy as np
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

OUT = Path(__file__).resolve().parent.parent / "fixtures" / "data"
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def picture(width, height):
    """Edges, gradients and some noise."""
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(7).integers(-20, 20, (height, width, 3))
    red = 255 * x / width
    green = 255 * ((x // 5 + y // 7) % 2)
    blue = 127 + 120 * np.sin(x / 4) * np.cos(y / 6)
    return Image.fromarray(np.clip(np.stack([red, green, blue], -1) + noise, 0, 255).astype(np.uint8))


def golden(name, image, transform):
    transform(image).numpy().astype("<f4").tofile(OUT / f"{name}.bin")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    wide, tall = picture(61, 47), picture(23, 38)
    wide.save(OUT / "wide.png")
    tall.save(OUT / "tall.png")

    def evaluation(size, crop, mean=MEAN, std=STD):
        resize = T.Resize(size, interpolation=InterpolationMode.BILINEAR, antialias=True)
        return T.Compose([resize, T.CenterCrop(crop), T.ToTensor(), T.Normalize(mean, std)])

    golden("wide-32-24", wide, evaluation(32, 24))
    golden("tall-32-24", tall, evaluation(32, 24))
    golden("wide-15-12", wide, evaluation(15, 12))
    golden("wide-32-24-grey", wide.convert("L"), evaluation(32, 24, [0.5], [0.25]))
    box = T.Lambda(lambda i: T.functional.resized_crop(i, 9, 11, 30, 40, [16, 16], InterpolationMode.BILINEAR, antialias=True))
    golden("wide-region", wide, T.Compose([box, T.ToTensor()]))

    # Other kinds of files. `.bin` holds what Pillow reads, as H×W×3 bytes.
    small = picture(16, 12)

    def file(name, image, **options):
        image.save(OUT / name, **options)
        rgb = Image.open(OUT / name)
        rgb = transposed(rgb).convert("RGB")
        np.asarray(rgb).tofile(OUT / f"{name}.bin")

    def transposed(image):
        from PIL import ImageOps

        return ImageOps.exif_transpose(image)

    smooth = small.resize((4, 3)).resize((16, 12), Image.BICUBIC)
    file("cmyk.jpg", smooth.convert("CMYK"), quality=98)
    file("grey.jpg", smooth.convert("L"), quality=98)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90° clockwise
    file("turned.jpg", smooth, quality=98, subsampling=0, exif=exif)
    alpha = small.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(small.size))
    file("alpha.png", alpha)
    file("palette.png", small.quantize(16))
    file("lossless.webp", small, lossless=True)
    file("plain.bmp", small)
    # Pillow cannot turn 16-bit grey into RGB well; the top byte is what libpng gives.
    wide16 = (np.asarray(small.convert("L")).astype(np.uint16) << 8) + 77
    Image.fromarray(wide16).save(OUT / "grey16.png")
    np.repeat((wide16 >> 8).astype(np.uint8)[..., None], 3, -1).tofile(OUT / "grey16.png.bin")


if __name__ == "__main__":
    main()
