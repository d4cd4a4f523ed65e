"""torchvision's transformers, as both exporters of PyTorch write them: logits and the gradient of every parameter against PyTorch in float64."""
import json

import numpy as np
import pytest
from harness import FIXTURES, TOLERANCE, mismatches, part, read_tensors, relative_error, rewrite

FOLDER = FIXTURES / "transformers"
FILES = json.loads((FOLDER / "index.json").read_text())


def named(golden, tensors, start):
    """`tensors` by PyTorch's names: whose starting value is a parameter's, perhaps transposed."""
    found = {}
    for name, tensor in tensors.items():
        for parameter, value in golden.items():
            for turned in [False, True] if value.ndim == 2 else [False]:
                form = value.T if turned else value
                if form.shape == start[name].shape and np.array_equal(form, start[name]):
                    found[parameter] = tensor.T if turned else tensor
    return found


@pytest.mark.parametrize("batch", [3, "dynamic"])
@pytest.mark.parametrize("file", FILES)
def test_gradients(file, batch, tmp_path):
    golden = read_tensors(f"transformers/{file.split('.')[0]}.safetensors")
    bundle = rewrite(FOLDER / file, tmp_path, "--split", batch=batch)
    start = bundle.start()
    feeds = bundle.feeds(start, golden["input"], golden["target"])
    logits = next(iter(bundle.graph("eval")(feeds).values()))
    assert relative_error(logits, golden["logits"]) < 1e-5
    outputs = bundle.graph("grad")(feeds)
    found = named(part(golden, "start"), bundle.gradients(outputs), start)
    expected = {n: t for n, t in part(golden, "grad").items() if n in found or n in FILES[file]}
    assert len(expected) > 5
    # The gradient of a key's bias is 0: it moves all of a query's scores alike.
    zeros = [n for n, t in expected.items() if np.linalg.norm(t) < 1e-7]
    lines = mismatches(found, expected, TOLERANCE, zeros=zeros)
    assert not lines, "\n".join(lines)
