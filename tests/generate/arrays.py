"""Files of arrays as NumPy writes them, for tests/data_sources: python tests/generate/arrays.py"""

import pathlib

import numpy as np

OUT = pathlib.Path(__file__).parent.parent / "fixtures" / "arrays"
OUT.mkdir(exist_ok=True)

i, y, x, c = np.ogrid[:6, :5, :4, :3]
images = (i * 31 + y * 7 + x * 3 + c * 50).astype("uint8")
labels = np.array([0, 1, 2, 0, 1, 2])

np.savez(OUT / "nhwc.npz", images=images, labels=labels)
np.savez_compressed(OUT / "compressed.npz", x=images, y=labels.astype("uint8")[:, None])
np.savez(OUT / "fortran.npz", images=np.asfortranarray(images), labels=labels.astype("int32"))
np.savez(OUT / "nchw.npz", data=images.transpose(0, 3, 1, 2), target=labels.astype("int16"))
np.savez(OUT / "big_endian.npz", images=images[..., 0], labels=labels.astype(">i4"))
np.savez(OUT / "parts.npz", x_train=images[:4], y_train=[0, 1, 0, 1], x_test=images[4:], y_test=[1, 0])
np.savez(OUT / "objects.npz", images=images, labels=np.array([{}] * 6, dtype=object))
np.savez(OUT / "texts.npz", images=images, labels=np.array(["a", "b"] * 3))
np.savez(OUT / "class_names.npz", images=images, labels=labels, class_names=np.array(["zebra", "ant", "ŵasp", "bee"]))
np.savez(OUT / "classes_letters.npz", x_train=images[:4], y_train=labels[:4], x_test=images[4:], y_test=labels[4:], classes=np.array([b"zebra", b"ant", b"wasp"]))
np.savez(OUT / "objects_names.npz", images=images, labels=labels, class_names=np.array(["zebra", "ant", "wasp"], dtype=object))
np.savez(OUT / "too_few_names.npz", images=images, labels=labels, class_names=np.array(["zebra", "ant"]))
# Texts of each image under names that classes' names have as well.
np.savez(OUT / "files_names.npz", images=images, labels=labels, names=np.array([f"p{i}.png" for i in range(6)]))
np.savez(OUT / "each_label_names.npz", images=images, labels=labels, label_names=np.array(["cat", "dog", "owl", "cat", "dog", "owl"]))
np.savez(OUT / "each_classes.npz", images=images, classes=np.array(["cat", "dog", "owl", "cat", "dog", "owl"]))
np.savez(OUT / "objects_classes.npz", images=images, labels=labels, classes=np.array(["zebra", "ant", "wasp"], dtype=object))
np.savez(OUT / "numbers_names.npz", images=images, y=np.linspace(0, 1, 6, dtype=np.float32), names=np.array(["a", "a", "b", "b", "c", "c"]))
np.savez(OUT / "records.npz", images=images, labels=np.zeros(6, dtype=[("a", "i4"), ("b", "f4")]))
np.save(OUT / "one.npy", images)
