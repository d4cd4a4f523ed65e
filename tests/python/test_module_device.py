"""`Trainer(device="cuda")` on a stand-in: onnxruntime's CPU provider under CUDA's name. What lies where, which buffers a step reads and writes, and that the
steps are those of `device="cpu"` to the last bit. What CUDA itself computes is for a machine with one: `make gpu-check`, its part `python`."""
import numpy as np
import onnxruntime
import pytest
from test_module import BATCH, SOURCE, data, spgraph, the_binary, work  # noqa: F401

CUDA = "CUDAExecutionProvider"


class Value:
    """Onnxruntime's values, remembered with the place that was asked for."""

    made = []

    @staticmethod
    def ortvalue_from_numpy(array, device="cpu", number=0):
        value = onnxruntime.OrtValue.ortvalue_from_numpy(array, "cpu", 0)
        Value.made.append((value, (device, number)))
        return value

    @staticmethod
    def place(value):
        return next(place for other, place in Value.made if other is value)


class Binding:
    """A binding that remembers what was bound."""

    def __init__(self, session):
        self.real, self.inputs, self.outputs, self.open = session.io_binding(), {}, {}, {}

    def bind_ortvalue_input(self, name, value):
        self.inputs[name] = value
        self.real.bind_ortvalue_input(name, value)

    def bind_ortvalue_output(self, name, value):
        self.outputs[name] = value
        self.real.bind_ortvalue_output(name, value)

    def bind_output(self, name, device="cpu", number=0):
        self.open[name] = (device, number)
        self.real.bind_output(name, "cpu", 0)

    def bind_cpu_input(self, name, array):
        self.real.bind_cpu_input(name, array)

    def get_outputs(self):
        return self.real.get_outputs()


class StandIn:
    """The module onnxruntime with a CUDA provider that is the processor's; `starts` says whether it can be started."""

    def __init__(self, starts=True):
        self.starts, self.asked, self.bindings, self.run = starts, [], [], []

    def __getattr__(self, name):
        return Value if name == "OrtValue" else getattr(onnxruntime, name)

    def get_available_providers(self):
        return [CUDA, *onnxruntime.get_available_providers()]

    def InferenceSession(self, path, options, providers):
        session, stand_in = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]), self
        stand_in.asked.append((path, providers))

        class Session:
            def __getattr__(self, name):
                return getattr(session, name)

            def get_providers(self):
                return [p if isinstance(p, str) else p[0] for p in providers if stand_in.starts or CUDA not in p]

            def io_binding(self):
                stand_in.bindings.append(Binding(session))
                return stand_in.bindings[-1]

            def run_with_iobinding(self, binding):
                stand_in.run.append(binding)
                session.run_with_iobinding(binding.real)

        return Session()


@pytest.fixture
def stand_in(monkeypatch):
    def made(**options):
        found = StandIn(**options)
        for module in ("trainer", "bundle"):
            monkeypatch.setattr(getattr(spgraph, module), "onnxruntime", found)
        Value.made.clear()
        return found

    return made


@pytest.mark.parametrize("options", [{}, {"start": "input"}, {"dropout": 0.3}, {"optimizer": "adamw", "ema": 0.9}], ids=["momentum", "start", "dropout", "adamw"])
@pytest.mark.parametrize("device, place", [("cuda", ("cuda", 0)), ([(CUDA, {"device_id": 1}), "CPUExecutionProvider"], ("cuda", 1))], ids=["cuda", "second"])
def test_the_state_lies_on_the_device_and_the_steps_are_the_processors(work, stand_in, tmp_path, options, device, place):  # noqa: F811
    bundle = spgraph.rewrite(SOURCE, tmp_path / "bundle", classes=work / "images", batch=BATCH, **options)
    given = data(bundle, work)[:5]
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = 1
    plain = spgraph.Trainer(bundle, lr=0.01, options=one_thread)
    expected, scores = [plain.step(*batch) for batch in given], plain.predict(given[0][0])
    found = stand_in()
    trainer = spgraph.Trainer(bundle, device=device, lr=0.01, options=one_thread)
    assert [trainer.step(*batch) for batch in given] == expected
    state = trainer.state
    for name, tensor in plain.state.items():
        np.testing.assert_array_equal(state[name], tensor, err_msg=name)

    providers = dict((str(path).rpartition("/")[2], providers) for path, providers in found.asked)
    assert [p if isinstance(p, str) else p[0] for p in providers["step.onnx"]] == [CUDA, "CPUExecutionProvider"]
    assert providers["init.onnx"] == ["CPUExecutionProvider"]
    # Two bindings, made once, that take turns: each reads what the other writes.
    first, second = found.bindings
    assert found.run == [first, second, first, second, first]
    passed = {s["output"] for s in bundle.state if s["output"] in {i.name for i in trainer.session.get_inputs()}}
    for one, other in ((first, second), (second, first)):
        for s in bundle.state:
            if s["output"] in passed:
                assert one.open[s["output"]] == place
            else:
                assert one.outputs[s["output"]] is other.inputs[s["input"]] is not one.inputs[s["input"]]
                assert Value.place(one.outputs[s["output"]]) == place
        for s in bundle.state:
            if s.get("start"):
                assert Value.place(one.inputs[s["start"]]) == place
        # Losses and counts come to the processor, into one place each.
        for name in bundle.outputs.values():
            assert Value.place(one.outputs[name]) == ("cpu", 0) and one.outputs[name] is other.outputs[name]
    np.testing.assert_array_equal(trainer.predict(given[0][0]), scores)
    assert dict((str(path).rpartition("/")[2], providers) for path, providers in found.asked)["eval.onnx"] == providers["step.onnx"]


def test_what_goes_wrong_leaves_the_state_and_files_go_on_anywhere(work, stand_in, tmp_path):  # noqa: F811
    bundle = spgraph.Bundle(work / "bundle")
    images, labels = data(bundle, work)[0]
    stand_in()
    trainer = spgraph.Trainer(bundle, device="cuda")
    trainer.step(images, labels)
    before = trainer.state
    with pytest.raises(spgraph.Error, match="the loss of step 2"):
        trainer.step(images * np.inf, labels)
    for name, tensor in trainer.state.items():
        np.testing.assert_array_equal(tensor, before[name], err_msg=name)
    trainer.save(tmp_path / "state.safetensors")
    trainer.step(images, labels)
    other = spgraph.Trainer(bundle, device="cuda")
    other.load(tmp_path / "state.safetensors")
    other.step(images, labels)
    for name, tensor in trainer.state.items():
        np.testing.assert_array_equal(other.state[name], tensor, err_msg=name)


def test_a_provider_that_does_not_start_is_no_processor(work, stand_in):  # noqa: F811
    stand_in(starts=False)
    with pytest.raises(spgraph.Error, match="could not start its CUDA provider.*doctor --device cuda"):
        spgraph.Trainer(work / "bundle", device="cuda")
