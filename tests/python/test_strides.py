"""Elements of all images picked from one row by indices that are computed of the number of images, as PyTorch's newer exporter writes strides (convnext, swin
with a dynamic batch): right, or refused. Losses and slopes by numpy and ONNX's reference evaluator, as in test_dropout.py."""
import subprocess

import numpy as np
import onnx
import pytest
from harness import BINARY
from test_dropout import BATCH, CLASSES, Net, check


class Strided(Net):
    def strided(self, offsets, stride, begin=0):
        """`row[image * stride + offsets]`, where `offsets` has the shape of what is picked of one image."""
        offsets, number = np.asarray(offsets, np.int64), lambda v: self.constant(np.array(v, np.int64))
        images, shape = self.node("Shape", ["input"], end=1), [1] * offsets.ndim
        count = self.node("Squeeze", [images])
        places = self.node("Range", [number(begin), count, number(1)])
        steps = [places, number(stride)]
        places = self.node("Mul", steps if self.random.integers(2) else steps[::-1])
        rows = [-1, *shape]
        places = self.node("Reshape", [places, number(rows)]) if self.random.integers(2) else self.node("Unsqueeze", [places, number(range(1, len(rows)))])
        # The offsets axis by axis, as an exporter adds them, or at once.
        places = self.node("Add", [places, number(offsets[None])])
        return self.node("Add", [places, number(np.zeros((1, *shape)))])

    def picked(self, offsets, stride=None, begin=0):
        size = int(np.prod(self.shape[1:]))
        row = self.node("Reshape", [self.at, self.constant(np.array([-1]))])
        indices = self.strided(offsets, size if stride is None else stride, begin)
        return self.node("Gather", [row, indices], ["N", *np.shape(offsets)], axis=0)


def maps(seed):
    net = Strided(seed, 15)
    net.conv(5), net.tanh()
    return net, int(np.prod(net.shape[1:]))


@pytest.mark.parametrize("batch", [BATCH, "dynamic"])
@pytest.mark.parametrize("seed", range(8))
def test_what_is_picked_of_every_image_alike(seed, batch, tmp_path):
    net, size = maps(seed)
    kinds = [np.arange(size).reshape(5, 1, -1), net.random.permutation(size), net.random.integers(0, size, (3, 4)), np.arange(size).reshape(5, -1).T]
    net.picked(kinds[seed % len(kinds)])
    if len(net.shape) > 2:
        net.flat()
    net.linear(CLASSES)
    check(net.model(), tmp_path, batch, mode="off", steps=1)


@pytest.mark.parametrize("offsets, stride, begin", [(lambda n: np.arange(n), 1, 0), (lambda n: np.arange(n) + 1, 0, 0), (lambda n: np.arange(n), 0, 0), (lambda n: np.arange(n) - 1, 0, 0)])
def test_images_that_would_meet_are_refused(offsets, stride, begin, tmp_path):
    net, size = maps(3)
    net.picked(offsets(size), size - stride if stride else size * (offsets(2)[0] != 0), begin)
    net.linear(CLASSES)
    onnx.save(net.model(), tmp_path / "net.onnx")
    done = subprocess.run([BINARY, "rewrite", tmp_path / "net.onnx", "-o", tmp_path / "bundle"], capture_output=True, text=True)
    assert done.returncode in (1, 2) and "Gather" in done.stderr or "mixes" in done.stderr, done.stderr
    assert not (tmp_path / "bundle").exists()
