"""The comparisons themselves: each kind of error is seen. Needs no binary."""
import numpy as np
import pytest

from harness import CASES, ENTRIES, RUNS, TOLERANCE, mismatches, part, read_tensors


def golden_gradients(name="basic.bn", mode="train"):
    return part(part(read_tensors(ENTRIES[name]["golden"]), mode), "grad")


def test_equal_tensors_pass():
    expected = golden_gradients()
    assert not mismatches({n: t.astype(np.float32) for n, t in expected.items()}, expected, TOLERANCE)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: -t,
        lambda t: t * 1.0002,
        lambda t: t + np.eye(1, t.size).reshape(t.shape) * np.linalg.norm(t) * 2e-4,
        lambda t: np.zeros_like(t),
        lambda t: t * np.nan,
        lambda t: t.reshape(-1, 1),
        lambda t: t.sum(),
    ],
    ids=["sign", "scale", "one element", "zero", "no number", "shape", "sum"],
)
def test_one_spoilt_tensor_is_seen(spoil):
    expected = golden_gradients()
    for name in expected:
        assert mismatches(expected | {name: spoil(expected[name])}, expected, TOLERANCE), name


def test_missing_and_unexpected_tensors_are_seen():
    expected = golden_gradients()
    name = next(iter(expected))
    fewer = {n: t for n, t in expected.items() if n != name}
    assert mismatches(fewer, expected, TOLERANCE) == [f"{name}: missing"]
    assert mismatches(expected, fewer, TOLERANCE) == [f"{name}: not expected"]
    assert not mismatches(expected, fewer, TOLERANCE, allow_more=True)


def test_a_gradient_that_must_vanish_is_seen():
    expected = golden_gradients("mobilenet.bn")
    zeros = ENTRIES["mobilenet.bn"]["zero_gradients"]["train"]
    assert zeros
    assert not mismatches(expected, expected, TOLERANCE, zeros=zeros)
    assert mismatches(expected | {zeros[0]: np.ones_like(expected[zeros[0]])}, expected, TOLERANCE, zeros=zeros)


@pytest.mark.parametrize("name,mode", CASES)
def test_golden_files_are_whole(name, mode):
    values = part(read_tensors(ENTRIES[name]["golden"]), mode)
    gradients = part(values, "grad")
    assert set(ENTRIES[name]["weights"]) <= gradients.keys()
    assert values["loss"].shape == () and values["logits"].shape == (ENTRIES[name]["input_shape"][0], ENTRIES[name]["classes"])
    assert bool(part(values, "buffer")) == (mode == "train")
    # The bound of a tensor is never wider than the tolerance: float32 itself is close enough to float64.
    assert max(part(values, "f32_error").values(), default=0) < TOLERANCE


@pytest.mark.parametrize("name", RUNS)
def test_training_files_are_whole(name):
    run, values = RUNS[name], read_tensors(RUNS[name]["golden"])
    assert values["loss"].shape == (run["steps"],)
    np.testing.assert_allclose(values["loss"], values["data_loss"] + values["penalty"])
    assert max(part(values, "f32_error").values(), default=0) < TOLERANCE
