"""Training a bundle with onnxruntime."""
from __future__ import annotations

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable

import numpy as np
import onnxruntime
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .binary import Error
from .bundle import Bundle
from .commands import export, interpolate

CUDA = "CUDAExecutionProvider"
PROVIDERS = {"cpu": ["CPUExecutionProvider"], "cuda": [CUDA, "CPUExecutionProvider"]}


NUMBERS = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}


def _number(output: onnxruntime.NodeArg) -> onnxruntime.OrtValue:
    """A place for a number that a step gives, on the processor; NaN until there is one, where its type has it."""
    place = np.empty(output.shape, NUMBERS[output.type])
    place.fill(np.nan if place.dtype.kind == "f" else -1)
    return onnxruntime.OrtValue.ortvalue_from_numpy(place)


@dataclasses.dataclass(frozen=True)
class Step:
    """What a step gave: the loss (data loss + penalty), of the weights before the step, and how many images were right (None where the loss has no classes)."""

    loss: float
    data_loss: float
    penalty: float
    correct: int | None
    images: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The share of images whose class was found."""

    accuracy: float
    images: int


class Trainer:
    """Trains `bundle`, whose state stays on the device from step to step.

    `device`: "cpu" or "cuda" (which needs onnxruntime-gpu, and is never replaced by the CPU), or a list of onnxruntime's providers. `scalars` replace the
    bundle's own values: `lr=0.01`, `alpha=0.1`, `beta=0.01`. `options` go to onnxruntime: threads, and libraries of operators. `step`: another form of
    the bundle's step, such as `spgraph convert BUNDLE --to native -o FILE` makes, for `options` in which `libspgraph_ops` is registered.
    """

    def __init__(self, bundle: Bundle | str | os.PathLike[str], *, device: str | list = "cpu", options: onnxruntime.SessionOptions | None = None, step: str | os.PathLike[str] | None = None, **scalars: float):
        self.bundle = bundle if isinstance(bundle, Bundle) else Bundle(bundle)
        if isinstance(device, str) and device not in PROVIDERS:
            raise Error(f"there is no device {device}; there are {', '.join(PROVIDERS)}, or give a list of onnxruntime's providers")
        self.providers, self.options, self._eval = PROVIDERS[device] if isinstance(device, str) else list(device), options, None
        # A provider may come with options, as a pair.
        asked = {p if isinstance(p, str) else p[0]: {} if isinstance(p, str) else dict(p[1]) for p in self.providers}
        cuda = asked.get(CUDA)
        # Where the state lies: the device and its number.
        self._place = ("cpu", 0) if cuda is None else ("cuda", int(cuda.get("device_id", 0)))
        if cuda is not None and CUDA not in onnxruntime.get_available_providers():
            raise Error(f"onnxruntime {onnxruntime.__version__} has no CUDA provider; install onnxruntime-gpu, or take device=\"cpu\"")
        self.scalars = {name: s["default"] for name, s in self.bundle.scalars.items()}
        self.scalars |= self._known(scalars)
        self.session = self.bundle.session("step" if step is None else step, self.providers, options)
        # Where CUDA's libraries or a device are missing, onnxruntime warns and takes the processor.
        if cuda is not None and CUDA not in self.session.get_providers():
            raise Error("onnxruntime could not start its CUDA provider and would have computed on the processor; its warning says why, and `spgraph doctor --device cuda` what mends it; or take device=\"cpu\"")
        self.steps = 0
        # What no node computes, onnxruntime leaves a buffer untouched for: such a value is taken as it comes.
        inputs = {i.name for i in self.session.get_inputs()}
        self._computed = [s for s in self.bundle.state if s["output"] not in inputs]
        self._passed = [s for s in self.bundle.state if s["output"] in inputs]
        # Losses and counts have places that stay: a binding that is asked for its outputs wraps every tensor of the state, at each step.
        given = {o.name: o for o in self.session.get_outputs()}
        self._results = {m: _number(given[name]) for m, name in self.bundle.outputs.items()}
        start = self.bundle.start()
        self._anchors: dict[str, onnxruntime.OrtValue] = {}
        self._set(start)
        self.anchor(start)

    def _known(self, scalars: dict[str, float]) -> dict[str, float]:
        for name in scalars:
            if name not in self.bundle.scalars:
                raise Error(f"the bundle has no scalar `{name}`; it has {', '.join(self.bundle.scalars)}")
        return scalars

    def _set(self, tensors: dict[str, np.ndarray]) -> None:
        # Two sets of buffers that take turns: a step reads one and writes the other, so that a step that fails has changed nothing.
        def made() -> dict[str, onnxruntime.OrtValue]:
            # Copies: on the processor a value lies in the array that it is made of.
            return {s["name"]: onnxruntime.OrtValue.ortvalue_from_numpy(np.array(tensors[s["name"]], order="C"), *self._place) for s in self.bundle.state}

        self._state, self._spare = made(), made()
        self._bindings: list[onnxruntime.IOBinding | None] = [None, None]

    def _binding(self) -> onnxruntime.IOBinding:
        """From the state to the spare buffers, made once."""
        binding = self._bindings[0]
        if binding is None:
            binding = self._bindings[0] = self.session.io_binding()
            for s in self.bundle.state:
                binding.bind_ortvalue_input(s["input"], self._state[s["name"]])
            for name, value in self._anchors.items():
                binding.bind_ortvalue_input(name, value)
            # An output keeps its place among those of the binding, however often it is bound.
            for s in self._computed:
                binding.bind_ortvalue_output(s["output"], self._spare[s["name"]])
            for meaning, name in self.bundle.outputs.items():
                binding.bind_ortvalue_output(name, self._results[meaning])
        for s in self._passed:
            binding.bind_ortvalue_input(s["input"], self._state[s["name"]])
            binding.bind_output(s["output"], *self._place)
        return binding

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Every tensor of the state by name: weights, BatchNorm's statistics, the optimizer's."""
        # Copies: what `numpy` gives is onnxruntime's own memory, which the next step may free.
        return {name: value.numpy().copy() for name, value in self._state.items()}

    @state.setter
    def state(self, tensors: dict[str, np.ndarray]) -> None:
        self.bundle.check_state(tensors, "the state")
        self._set(tensors)

    def anchor(self, tensors: dict[str, np.ndarray] | None = None) -> None:
        """Moves the starting point, towards which the penalty pulls, to these tensors by name, or to the present weights. For a bundle of `rewrite(..., start="input")`; in others the starting point is a constant, and nothing happens."""
        tensors = self.state if tensors is None else tensors
        moved = {s["start"]: s for s in self.bundle.state if s.get("start")}
        self.bundle.check_state({s["name"]: tensors[s["name"]] for s in moved.values() if s["name"] in tensors}, "the starting point", ())
        self._anchors |= {name: onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(tensors[s["name"]], order="C"), *self._place) for name, s in moved.items() if s["name"] in tensors}
        self._bindings = [None, None]

    def step(self, images: object, labels: object, **scalars: float) -> Step:
        """One step on images `[N, …]` (normalised; arrays, or tensors of torch on the CPU) and labels `[N]`. `scalars` are for this step alone.

        Raises `Error` for wrong shapes, types or labels, and where the loss is no number; the state is then what it was.
        """
        images = self.bundle.check_images(images)
        labels = self.bundle.check_labels(labels, len(images))
        feeds = {self.bundle.input["name"]: images, self.bundle.target["name"]: labels}
        feeds |= {name: np.array(value, self.bundle.manifest["precision"]) for name, value in (self.scalars | self._known(scalars)).items()}
        binding = self._binding()
        for name, value in feeds.items():
            binding.bind_cpu_input(name, value)
        self.session.run_with_iobinding(binding)
        values = {meaning: float(value.numpy()) for meaning, value in self._results.items()}
        if not np.isfinite(values["loss"]):
            raise Error(f"the loss of step {self.steps + 1} is {values['loss']}: lower `lr`, or look at the images; the state is that before this step")
        if self._passed:
            self._spare |= {s["name"]: value for s, value in zip(self._passed, binding.get_outputs()[-len(self._passed) :])}
        self._state, self._spare = self._spare, self._state
        self._bindings.reverse()
        self.steps += 1
        correct = int(values["correct"]) if "correct" in values else None
        return Step(values["loss"], values.get("data-loss", values["loss"]), values.get("penalty", 0.0), correct, len(images))

    def fit(self, loader: Iterable, epochs: int = 1, *, schedule: Callable[[int], float] | None = None, log: Callable[[int, Step], None] | None = None) -> int:
        """Passes over `loader` (an `ImageFolder`, a DataLoader of torch, a list of pairs): batches that a fixed batch size does not allow are left out, and counted in what is returned.

        `schedule(step)` is the learning rate of a step, counted from 0; `log(step, result)` is called after each.
        """
        rate = next((name for name, s in self.bundle.scalars.items() if s["meaning"] == "learning-rate"), "lr")
        left_out, before = 0, self.steps
        for _ in range(epochs):
            for images, labels in loader:
                if self.bundle.batch and len(images) < self.bundle.batch:
                    left_out += len(images)
                    continue
                result = self.step(images, labels, **({rate: schedule(self.steps)} if schedule else {}))
                if log:
                    log(self.steps, result)
        if self.steps == before:
            raise Error(f"there was no batch of {self.bundle.batch or 'any'} images to train on: rewrite with a smaller `batch`, or \"dynamic\"")
        return left_out

    def predict(self, images: object) -> np.ndarray:
        """The network's output `[N, …]` for images `[N, …]`, of any number."""
        self._eval = self._eval or self.bundle.session("eval", self.providers, self.options)
        images = np.asarray(images)
        batch, parts = self.bundle.batch or len(images), []
        wanted = self.bundle.manifest.get("prediction", {}).get("output", self._eval.get_outputs()[0].name)
        taken = {i.name for i in self._eval.get_inputs()}
        weights = {s["input"]: self._state[s["name"]].numpy() for s in self.bundle.state if s["input"] in taken}
        for first in range(0, len(images), batch):
            part = images[first : first + batch]
            fill = np.repeat(part[-1:], batch - len(part), axis=0)
            feed = self.bundle.check_images(np.concatenate([part, fill]) if len(fill) else part)
            parts.append(self._eval.run([wanted], weights | {self.bundle.input["name"]: feed})[0][: len(part)])
        return np.concatenate(parts)

    def evaluate(self, loader: Iterable) -> Evaluation:
        """The accuracy on batches of images and labels."""
        right = count = 0
        for images, labels in loader:
            right += int((self.predict(images).argmax(axis=1) == np.asarray(labels)).sum())
            count += len(labels)
        return Evaluation(right / max(count, 1), count)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the whole state, whole or not at all, as safetensors, from which training goes on to the same bits, and which `spgraph export --weights` takes. Raises `Error` where it cannot be written."""
        path = pathlib.Path(path)
        tensors = {name: np.asarray(value, order="C") for name, value in self.state.items()}
        try:
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        except OSError as error:
            raise Error(f"cannot write {path}: {error.strerror}") from None
        os.close(handle)
        try:
            save_file(tensors, temporary, {"bundle": self.bundle.sha256, "steps": str(self.steps)})
            os.replace(temporary, path)
        except BaseException as error:
            os.unlink(temporary)
            if isinstance(error, (OSError, SafetensorError)):
                raise Error(f"cannot write {path}: {error}") from None
            raise

    def load(self, path: str | os.PathLike[str], *, fresh_optimizer: bool = False) -> None:
        """Goes on from what `save` wrote. With `fresh_optimizer`, takes the weights alone, also those of a run of `spgraph finetune` (state.safetensors).

        Raises `Error` for a file of another bundle; the state is then what it was.
        """
        try:
            with safe_open(str(path), "np") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise Error(f"cannot read {path}: {error}") from None
        if metadata.get("bundle", self.bundle.sha256) != self.bundle.sha256:
            raise Error(f"{path} is of another bundle than {self.bundle.folder}: open that one, or start anew")
        roles = ("shared", "new", "buffer", "ema")
        if not fresh_optimizer and any(s["name"] not in tensors for s in self.bundle.named("optimizer")):
            raise Error(f"{path} lacks the optimizer's state; fresh_optimizer=True takes its weights alone")
        self.bundle.check_state(tensors, path, roles if fresh_optimizer else (*roles, "optimizer"))
        if fresh_optimizer:
            start = self.bundle.start()
            tensors |= {s["name"]: start[s["name"]] for s in self.bundle.named("optimizer")}
        self._set(tensors)
        self.steps = int(metadata.get("steps", 0))

    def export(self, path: str | os.PathLike[str], *, force: bool = False, **options: object) -> pathlib.Path:
        """See `spgraph.export`."""
        return export(self, path, force=force, **options)

    def interpolate(self, path: str | os.PathLike[str], to: float, *, force: bool = False) -> pathlib.Path:
        """See `spgraph.interpolate`."""
        return interpolate(self, path, to, force=force)
