"""Numbers that a guide's generators write with PyTorch: the guides' own cases, kept in frozen/, since PyTorch is not needed to follow the guides.
`follow.py --freeze PYTHON` makes them again, by running the generators as the guides leave them."""
import json
import pathlib
import shutil
import struct
import subprocess

KEPT = pathlib.Path(__file__).resolve().parent / "frozen"
FIXTURES = pathlib.Path("tests/fixtures")
# A kind of regularizer, and its cases among those of the fixture.
KIND, CASES = "logits", "regularizers.safetensors"
# A run of training, and where the fixtures' index lists it.
RUN, INDEX = "vgg.lion", "index.json"
GOLDEN = f"{RUN}.training.safetensors"


def load(path):
    """Cases and tensors of a fixture."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    cases = json.loads(header.pop("__metadata__")["cases"])
    body = data[8 + length :]
    return cases, {name: (about, body[slice(*about["data_offsets"])]) for name, about in header.items()}


def save(path, cases, tensors):
    header, body = {"__metadata__": {"cases": json.dumps(cases)}}, b""
    for name, (about, data) in tensors.items():
        header[name] = about | {"data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def part(cases, tensors, chosen, first):
    """Some of the cases, with numbers from `first` on."""
    kept, renamed = [], {}
    for old in chosen:
        for name, tensor in tensors.items():
            number, _, what = name.partition("/")
            if number == str(old):
                renamed[f"{first + len(kept)}/{what}"] = tensor
        kept.append(cases[old])
    return kept, renamed


def lay(tree):
    """Puts what is kept into the copy's fixtures, as the generators would."""
    fixtures = tree / FIXTURES
    cases, tensors = load(fixtures / CASES)
    own, theirs = load(KEPT / CASES)
    more, renamed = part(own, theirs, range(len(own)), len(cases))
    save(fixtures / CASES, cases + more, tensors | renamed)
    shutil.copy(KEPT / GOLDEN, fixtures / GOLDEN)
    index = json.loads((fixtures / INDEX).read_text())
    index["training"].append(json.loads((KEPT / INDEX).read_text()))
    (fixtures / INDEX).write_text(json.dumps(index))


def freeze(tree, python):
    fixtures = tree / FIXTURES
    subprocess.run([python, "tests/generate/regularizers.py"], cwd=tree, check=True)
    subprocess.run([python, "tests/generate/generate.py", RUN], cwd=tree, check=True)
    KEPT.mkdir(exist_ok=True)
    cases, tensors = load(fixtures / CASES)
    save(KEPT / CASES, *part(cases, tensors, [i for i, c in enumerate(cases) if c["kind"] == KIND], 0))
    shutil.copy(fixtures / GOLDEN, KEPT / GOLDEN)
    (row,) = [r for r in json.loads((fixtures / INDEX).read_text())["training"] if r["name"] == RUN]
    (KEPT / INDEX).write_text(json.dumps(row) + "\n")
