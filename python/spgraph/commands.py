"""What the program does: rewriting, export, and weights between two networks."""
from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .binary import Error, run
from .bundle import Bundle

if TYPE_CHECKING:
    from .trainer import Trainer

Path = str | os.PathLike[str]


def rewrite(model: Path, output: Path | None = None, *, classes: int | Sequence[str] | Path | None = None, penalty: str = "l2-sp", force: bool = False, **options: object) -> Bundle:
    """Makes a training bundle of an ONNX model.

    `output`: the folder; by default the model's name with `.spgraph`, in the current folder. `classes`: a new head for so many classes, for classes of
    these names, or for the sub-folders of a folder of images; None keeps the head. `options` are those of `spgraph rewrite` with `_` for `-`: `batch=16`,
    `lr=0.01`, `batch_norm="frozen"`, `freeze_stages=2`, `split=True`, `freeze=["layer1.*", "layer2.*"]`.

    Raises `Error` with the reason where the model cannot be trained, and where `output` is there already (unless `force`).
    """
    output = pathlib.Path(output) if output is not None else pathlib.Path(pathlib.Path(model).stem + ".spgraph")
    command: list[object] = ["rewrite", model, "-o", output, "--penalty", penalty, *(["--force"] if force else [])]
    names = None
    if isinstance(classes, int):
        command += ["--classes", classes]
    elif isinstance(classes, (str, os.PathLike)):
        command += ["--classes", len(_classes(pathlib.Path(classes))), "--class-names-from", classes]
    elif classes is not None:
        names = list(classes)
    for option, value in options.items():
        flag = "--" + option.replace("_", "-")
        if value is True:
            command.append(flag)
        elif value is not None and value is not False:
            several = value if isinstance(value, (list, tuple)) else [value]
            command += [part for v in several for part in (flag, v)]
    with tempfile.TemporaryDirectory() as folder:
        if names is not None:
            path = pathlib.Path(folder) / "classes.txt"
            path.write_text("\n".join(names) + "\n", encoding="utf-8")
            command += ["--classes", len(names), "--class-names", path]
        run(*command)
    return Bundle(output)


def _classes(folder: pathlib.Path) -> list[str]:
    """The sub-folders, one for each class; those of `train`, where there is such a one with sub-folders, as the program takes it."""
    if not folder.is_dir():
        raise Error(f"{folder} is no folder of images with a sub-folder for each class")
    found = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    inside = _classes(folder / "train") if "train" in found else []
    return inside or found


def export(source: Trainer | Bundle | Path, output: Path, *, weights: Path | None = None, force: bool = False, **options: object) -> pathlib.Path:
    """Writes the tuned model: the source's graph and names with the new weights. It is run beside the bundle's network before it gets its name.

    `source`: a `Trainer`, a run of `spgraph finetune`, or a bundle with `weights` that `Trainer.save` wrote. `options` are those of `spgraph export`:
    `preprocess=True`, `softmax=True`, `top=3`. Returns the file. Raises `Error`, and writes nothing, where the two disagree.
    """
    return _write("export", source, output, weights, force, options)


def interpolate(source: Trainer | Bundle | Path, output: Path, to: float, *, weights: Path | None = None, force: bool = False) -> pathlib.Path:
    """Writes the model with the weights between the starting point (`to` is 0) and the tuned ones (1), after WiSE-FT. A new head stays as trained."""
    return _write("interpolate", source, output, weights, force, {"to": to})


def _write(command: str, source: Trainer | Bundle | Path, output: Path, weights: Path | None, force: bool, options: dict[str, object]) -> pathlib.Path:
    from .trainer import Trainer

    flags = [part for k, v in options.items() if v is not None and v is not False for part in ([f"--{k}"] if v is True else [f"--{k}", v])]
    flags += ["--force"] if force else []
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(source, Trainer):
            weights = pathlib.Path(folder) / "weights.safetensors"
            source.save(weights)
            source = source.bundle
        given = source.folder if isinstance(source, Bundle) else source
        run(command, given, "-o", output, *(["--weights", weights] if weights is not None else []), *flags)
    return pathlib.Path(output)
