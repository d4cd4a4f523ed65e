"""A training bundle: graphs, and a manifest that says what their inputs and outputs mean."""
from __future__ import annotations

import hashlib
import json
import os
import pathlib
import warnings

import numpy as np
import onnxruntime

from .binary import Error

try:
    from blake3 import blake3
except ImportError:
    blake3 = None

FORMATS = (2,)


class Bundle:
    """A folder that `rewrite` wrote.

    Raises `Error` where it is none, is of a format that this version does not read, or a file was changed since.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = pathlib.Path(folder)
        path = self.folder / "manifest.json"
        try:
            data = path.read_bytes()
            self.manifest: dict = json.loads(data)
            if self.manifest["format"] not in FORMATS:
                raise Error(f"{path} has format {self.manifest['format']}, and this spgraph reads {FORMATS[-1]}: rewrite the model again, or use the version that wrote it ({self.manifest.get('spgraph')})")
            self.input: dict = self.manifest["data"]["input"]
            self.target: dict = self.manifest["data"]["target"]
            self.state: list[dict] = self.manifest["state"]
            self.scalars: dict[str, dict] = {s["name"]: s for s in self.manifest["scalars"]}
            self.outputs: dict[str, str] = {o["meaning"]: o["name"] for o in self.manifest["outputs"]}
        except OSError as error:
            raise Error(f"{self.folder} is no bundle of `spgraph rewrite`: cannot read manifest.json ({error.strerror})") from None
        except (ValueError, KeyError, TypeError) as error:
            raise Error(f"{path} is damaged ({type(error).__name__}: {error}): rewrite the model again") from None
        self.sha256 = hashlib.sha256(data).hexdigest()
        if blake3 is None and self.manifest.get("files"):
            warnings.warn(f"the files of {self.folder} are not held against their hashes, for the package blake3 is not installed; the step is still held against the manifest", stacklevel=2)
        for name, expected in self.manifest.get("files", {}).items():
            if not (self.folder / name).is_file():
                raise Error(f"{self.folder / name} is missing: rewrite the model again")
            if file_hash(self.folder / name) not in (None, expected):
                raise Error(f"{self.folder / name} was changed since it was written (its hash is another one than the manifest's): rewrite the model again")

    @property
    def classes(self) -> list[str]:
        """The names of the classes by label; empty where they are not known."""
        return self.manifest.get("classes", [])

    @property
    def batch(self) -> int | None:
        """Images in a step; None where any number will do."""
        return None if self.input["shape"][0] < 0 else self.input["shape"][0]

    def named(self, *roles: str) -> list[dict]:
        """The state of those roles: shared, new, buffer, optimizer, ema."""
        return [s for s in self.state if s["role"] in roles]

    def session(self, name: str | os.PathLike[str], providers: list, options: onnxruntime.SessionOptions | None = None) -> onnxruntime.InferenceSession:
        """`step`, `init` or `eval` in onnxruntime, or another file of the step. Raises `Error` where this onnxruntime cannot run it."""
        path = self.folder / f"{name}.onnx" if name in ("step", "init", "eval") else pathlib.Path(name)
        options = options or onnxruntime.SessionOptions()
        options.log_severity_level = max(options.log_severity_level, 3)
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's exceptions have no common class
            raise Error(f"onnxruntime {onnxruntime.__version__} cannot run {path}: {error}. A newer onnxruntime may; a bundle in standard operators only is made with `dialect=\"inlined\"`") from None
        if name not in ("init", "eval") and not self._made(session.get_modelmeta().custom_metadata_map.get("spgraph.manifest", ""), path.parent == self.folder):
            raise Error(f"{path} is not the step of {self.folder / 'manifest.json'} (the manifest in its metadata is another one): rewrite the model again")
        return session

    def _made(self, text: str, inside: bool) -> bool:
        """Whether this is the manifest that the step had when both were written: all of it but what is known of finished files only, and for a step
        outside of the bundle, which may begin where a run has ended, all but how it was made and its halves."""
        gone = ("blake3", "files", "sealed", *(() if inside else ("rewriting", "split")))

        def bare(manifest: dict) -> dict:
            kept = {key: value for key, value in manifest.items() if key not in gone}
            return kept if inside else kept | {"state": [{k: v for k, v in s.items() if k != "gradient"} for s in kept.get("state", [])]}

        try:
            own = json.loads(text)
        except ValueError:
            return False
        return isinstance(own, dict) and bare(own) == bare(self.manifest)

    def start(self) -> dict[str, np.ndarray]:
        """Every tensor of the state at its start, by name."""
        session = self.session("init", ["CPUExecutionProvider"])
        return dict(zip((o.name for o in session.get_outputs()), session.run(None, {})))

    def check_state(self, tensors: dict[str, np.ndarray], source: object, roles: tuple[str, ...] = ("shared", "new", "buffer", "optimizer", "ema")) -> None:
        """Raises `Error` unless `tensors` has each tensor of those roles, all that it has in their shape and type, and nothing that the bundle lacks."""
        refused = f"{source} does not belong to {self.folder}: "
        unknown = sorted(tensors.keys() - {s["name"] for s in self.state})
        if unknown:
            raise Error(refused + f"it has `{unknown[0]}`, which the bundle has not")
        for s in self.state:
            t = tensors.get(s["name"])
            if t is None:
                if s["role"] in roles:
                    raise Error(refused + f"it lacks `{s['name']}`")
                continue
            if list(t.shape) != s["shape"] or t.dtype != s["dtype"]:
                raise Error(refused + f"`{s['name']}` is {t.dtype} {list(t.shape)}, and has to be {s['dtype']} {s['shape']}")

    def check_images(self, images: object) -> np.ndarray:
        """The images as the step takes them. Raises `Error` for another shape, and for bytes where the network takes normalised numbers."""
        array = np.asarray(images)
        due = self.input["shape"]
        if array.ndim != len(due) or any(d >= 0 and n != d for n, d in zip(array.shape, due)):
            raise Error(f"images have the shape {list(array.shape)}; the network takes {['any' if d < 0 else d for d in due]}")
        if array.dtype.kind != "f" and np.dtype(self.input["dtype"]).kind == "f":
            raise Error(f"images are {array.dtype}; the network takes normalised {self.input['dtype']}: use `spgraph.preprocess`, or divide, subtract the mean and convert")
        return np.ascontiguousarray(array, self.input["dtype"])

    def check_labels(self, labels: object, count: int) -> np.ndarray:
        """The labels as the step takes them, for `count` images. Raises `Error` for labels that the network has not."""
        array, due = np.asarray(labels), self.target["shape"]
        if array.ndim != len(due) or array.shape[0] != count or any(d >= 0 and n != d for n, d in zip(array.shape, due)):
            raise Error(f"labels have the shape {list(array.shape)}; for {count} images it has to be {[count, *due[1:]]}")
        if np.dtype(self.target["dtype"]).kind == "i":
            if array.dtype.kind not in "iu":
                raise Error(f"labels are {array.dtype}; the loss takes whole numbers, the place of each class")
            classes = self.manifest.get("class_count")
            if array.size and (array.min() < 0 or (classes and array.max() >= classes)):
                raise Error(f"labels are from {array.min()} to {array.max()}; the network has the classes 0 to {(classes or 0) - 1}")
        return np.ascontiguousarray(array, self.target["dtype"])


def file_hash(path: pathlib.Path) -> str | None:
    """None where the package blake3, which the wheel depends on, is not there."""
    if blake3 is None:
        return None
    return blake3(path.read_bytes()).hexdigest()
