"""Small images in every format and colour mode that is read, each with what Pillow makes of it: tests/fixtures/images.

Needs Pillow and numpy. Of every file F there is F.golden.png: the pixels of `ImageOps.exif_transpose(Image.open(F)).convert("RGB")`.
"""

import pathlib
import zlib
import struct

import numpy as np
from PIL import Image, ImageOps

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "images"
WIDTH, HEIGHT = 37, 22


def picture():
    """Smooth colours with some noise: no part looks like another, and none is grey."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [128 + 100 * np.sin(x / 7 + 2 * c) * np.cos(y / 5 - c) for c in range(3)]
    noise = np.random.default_rng(3).integers(-12, 13, (HEIGHT, WIDTH, 3))
    return Image.fromarray((np.stack(planes, -1) + noise).clip(0, 255).astype(np.uint8))


def png16(path, array):
    """Pillow writes no 16-bit colour."""
    height, width = array.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if array.ndim == 2 else array.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    chunk = lambda tag, data: struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main():
    OUT.mkdir(exist_ok=True)
    rgb = picture()
    grey = rgb.convert("L")
    alpha = Image.fromarray(np.linspace(0, 255, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint8))
    rgba, la = rgb.copy(), grey.convert("LA")
    rgba.putalpha(alpha)
    la.putalpha(alpha)
    palette, bilevel = rgb.quantize(40), grey.convert("1")
    cmyk = rgb.convert("CMYK")
    wide = np.asarray(rgb).astype(np.uint16) * 256 + 77

    def save(name, image, format=None, **how):
        image.save(OUT / name, format, **how)

    save("rgb.png", rgb)
    save("rgba.png", rgba)
    save("grey.png", grey)
    save("grey_alpha.png", la)
    save("palette.png", palette)
    save("palette_transparent.png", palette, transparency=3)
    save("bilevel.png", bilevel)
    png16(OUT / "rgb16.png", wide)
    png16(OUT / "rgba16.png", np.concatenate([wide, wide[..., :1]], -1))
    for name, how in [
        ("lossy.jpg", {}),
        ("lossy_progressive.jpg", {"progressive": True}),
        ("lossy_subsampled.jpe", {"subsampling": 2}),
        ("lossy_whole.jfif", {"subsampling": 0, "quality": 95}),
        ("lossy_restart.jpg", {"restart_marker_rows": 1}),
    ]:
        save(name, rgb, "JPEG", **how)
    save("lossy_grey.jpg", grey)
    save("lossy_cmyk.jpg", cmyk)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(f"lossy_exif{orientation}.jpg", rgb, subsampling=0, quality=95, exif=exif)
    thumbnail = rgb.resize((8, 8))
    exif = Image.Exif()
    exif[0x010E] = "a description"
    save("lossy_comment.jpg", rgb, exif=exif, comment=b"\xff\xd9 in a comment")
    save("lossy.webp", rgb)
    save("lossy_alpha.webp", rgba, quality=80)
    save("lossless.webp", rgb, lossless=True)
    save("lossless_alpha.webp", rgba, lossless=True, exact=True)
    save("rgb.bmp", rgb)
    save("grey.bmp", grey)
    save("palette.dib", palette, "BMP")
    save("bilevel.bmp", bilevel)
    save("palette.gif", palette)
    save("two.gif", palette, save_all=True, append_images=[palette.transpose(Image.Transpose.FLIP_LEFT_RIGHT)])
    save("grey.gif", grey)
    for name, how in [("raw", {}), ("lzw", {"compression": "tiff_lzw"}), ("deflate", {"compression": "tiff_adobe_deflate"}), ("packbits", {"compression": "packbits"})]:
        save(f"{name}.tif", rgb, **how)
    save("grey.tiff", grey)
    save("rgba.tiff", rgba)
    save("bilevel.tiff", bilevel)
    save("cmyk.tiff", cmyk)
    save("rgb.ppm", rgb)
    save("grey.pgm", grey)
    save("bilevel.pbm", bilevel)
    numbers = "\n".join(" ".join(map(str, row)) for row in np.asarray(rgb).reshape(HEIGHT, -1))
    (OUT / "text.ppm").write_text(f"P3\n# a comment\n{WIDTH} {HEIGHT}\n255\n{numbers}\n")
    for path in sorted(OUT.iterdir()):
        if path.name.endswith(".golden.png"):
            continue
        with Image.open(path) as image:
            golden = ImageOps.exif_transpose(image).convert("RGB")
        golden.save(OUT / f"{path.name}.golden.png", optimize=True)


main()
