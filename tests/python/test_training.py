"""Steps with each penalty and optimizer, in ONNX Runtime by nothing but the manifest, against PyTorch's float64 runs."""
import subprocess

import numpy as np
import pytest
from harness import BINARY, ENTRIES, FIXTURES, RUNS, TOLERANCE, mismatches, part, read_tensors, rewrite_fixture

OPTIMIZER_TOLERANCE = 1e-5  # norm-relative, for parameters, statistics, losses and the optimizer's own state
SERIES = ("loss", "data_loss", "penalty", "correct")


def train(bundle, run, batches):
    """The series of the step's outputs, and the last state."""
    step, state = bundle.graph("step"), bundle.start()
    series = {name: [] for name in SERIES}
    for k in range(run["steps"]):
        batch = part(batches, str(k % 4))
        outputs = step(bundle.feeds(state, batch["input"], batch["target"], lr=run["lr"], alpha=run["alpha"], beta=run["beta"]))
        for name in SERIES:
            series[name].append(float(outputs[name]))
        state = bundle.next_state(outputs)
    return {name: np.array(values) for name, values in series.items()}, state


def options(run):
    settings = run.get("optimizer") or {k: run[k] for k in ("momentum", "nesterov")}
    for name, value in settings.items():
        option = "--optimizer" if name == "kind" else f"--{name.replace('_', '-')}"
        if value is not False:
            yield from (option,) if value is True else (option, value)
    for pattern, factor in run.get("lr_mult", ()):
        yield from ("--lr-mult", f"{pattern}={factor}")
    for term in run.get("regularizers", ()):
        yield from ("--regularizer", f"{term['kind']}={term['strength']}")
        yield from (str(part) for name, option in (("k", "--bss-k"), ("temperature", "--temperature")) if name in term for part in (option, term[name]))
    if run["label_smoothing"]:
        yield from ("--label-smoothing", run["label_smoothing"])
    if "fisher" in run:
        yield from ("--fisher", FIXTURES / run["fisher"])
    yield from {"gradient": [], "proximal": ["--prox"], "decoupled": ["--decoupled"]}[run.get("step", "gradient")]


@pytest.mark.parametrize("dialect", ["functions", "inlined"])
@pytest.mark.parametrize("name", RUNS)
def test_training(name, dialect, tmp_path):
    run = RUNS[name]
    bundle = rewrite_fixture(run["fixture"], tmp_path, "--dialect", dialect, *options(run), mode=run["batch_norm"], penalty=run["penalty"])
    demand_run(bundle, run, *train(bundle, run, read_tensors(run["batches"])))


def demand_run(bundle, run, series, state):
    """The series and the last state, of network and optimizer, are PyTorch's."""
    golden = read_tensors(run["golden"])
    tolerance = OPTIMIZER_TOLERANCE if "optimizer" in run else TOLERANCE
    np.testing.assert_array_equal(series.pop("correct"), golden["correct"])
    lines = mismatches(series, {n: golden[n] for n in series}, tolerance)
    model_state = {n: state[n] for n in bundle.named("shared", "buffer")}
    lines += mismatches(model_state, part(golden, "final"), tolerance)
    if "optimizer" in run:
        extra = {s["name"] for s in bundle.state if s["role"] in ("optimizer", "ema") and "of" in s}
        lines += mismatches({n: state[n] for n in extra}, part(golden, "state"), tolerance)
    assert not lines, "\n".join(lines)
    if run.get("step") == "proximal":
        at_start(run, bundle.start(), state, part(golden, "final"))


def at_start(run, start, state, final):
    """What the proximal step leaves at its start: some but not all, and as many as PyTorch's float64 leaves there, give or
    take those at the very threshold."""
    weights = ENTRIES[run["fixture"]]["weights"]
    found, expected = [np.concatenate([(w[n] == start[n]).ravel() for n in weights]) for w in (state, final)]
    assert 0.05 < expected.mean() < 0.95
    assert (found != expected).sum() <= 2


@pytest.mark.parametrize("penalty", ["l2", "l2-sp"])
def test_the_penalty_acts_on_weights(penalty, tmp_path):
    bundle = rewrite_fixture("basic.bn", tmp_path, penalty=penalty)
    assert {s["name"] for s in bundle.state if s["penalized"]} == set(ENTRIES["basic.bn"]["weights"])
    assert bundle.manifest["penalty"]["kind"] == penalty


def test_the_starting_point_has_no_penalty(tmp_path):
    tensors = read_tensors(ENTRIES["basic.bn"]["golden"])
    bundle = rewrite_fixture("basic.bn", tmp_path, penalty="l2-sp")
    outputs = bundle.graph("step")(bundle.feeds(bundle.start(), tensors["input"], tensors["target"], alpha=7.0))
    assert outputs["penalty"] == 0 and outputs["loss"] == outputs["data_loss"]


def test_weights_return_to_the_starting_point(tmp_path):
    """Away from w0, L2-SP pulls back by lr·α·(w − w0): the difference of two steps that differ in α alone."""
    tensors = read_tensors(ENTRIES["basic.bn"]["golden"])
    bundle = rewrite_fixture("basic.bn", tmp_path, penalty="l2-sp")
    start, step, generator = bundle.start(), bundle.graph("step"), np.random.default_rng(0)
    weights = ENTRIES["basic.bn"]["weights"]
    moved = start | {n: (start[n] + generator.normal(0, 0.1, start[n].shape)).astype(np.float32) for n in weights}

    def after(alpha):
        return bundle.next_state(step(bundle.feeds(moved, tensors["input"], tensors["target"], lr=0.5, alpha=alpha)))

    without, pulled = after(0.0), after(0.4)
    found = {n: without[n].astype(np.float64) - pulled[n] for n in weights}
    lines = mismatches(found, {n: 0.5 * 0.4 * (moved[n].astype(np.float64) - start[n]) for n in weights}, TOLERANCE)
    assert not lines, "\n".join(lines)


@pytest.mark.parametrize(
    "arguments,words",
    [
        (("--optimizer", "adamw", "--momentum", 0.9), "--momentum has no meaning with --optimizer adamw"),
        (("--optimizer", "lars", "--nesterov"), "--nesterov has no meaning with --optimizer lars"),
        (("--beta1", 0.9), "--beta1 has no meaning with --optimizer sgd"),
        (("--weight-decay", 0.1), "--penalty l2"),
        (("--optimizer", "adamw", "--trust", 1), "it belongs to --optimizer lars"),
        (("--optimizer", "adamw", "--beta2", 1), "--beta2 1 is not at least 0 and below 1"),
        (("--optimizer", "adamw", "--eps", 0), "--eps 0 "),
        (("--optimizer", "lars", "--trust", "nan"), "--trust NaN"),
        (("--optimizer", "adam"), "adamw"),
        (("--clip-norm", 0), "--clip-norm 0 is no positive number"),
        (("--ema", 1), "--ema 1 is not at least 0 and below 1"),
        (("--spd", -1), "--spd -1 is no positive number"),
        (("--lr-mult", "9.*"), "'fc.*=10'"),
        (("--lr-mult", "9.*=x"), "`x` is no number"),
        (("--lr-mult", "9.*=-1"), "must be 0 or a positive number"),
        (("--lr-mult", "9.*=inf"), "must be 0 or a positive number"),
        (("--lr-mult", "fc.*=10"), "matches no parameter"),
        (("--lr-mult", "9.*=10", "--freeze", "9.*"), "is frozen"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, words, tmp_path):
    command = [BINARY, "rewrite", FIXTURES / "vgg.onnx", "-o", tmp_path / "bundle", *arguments]
    done = subprocess.run([str(a) for a in command], capture_output=True, text=True)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_manifest_of_sgd_alone_has_nothing_of_others(tmp_path):
    bundle = rewrite_fixture("vgg", tmp_path)
    given = {name: value for name, value in bundle.manifest["optimizer"].items() if value is not None}
    assert given == {"kind": "sgd", "momentum": 0.9, "nesterov": False}
    assert not any(key in s for s in bundle.state for key in ("lr_mult", "ema"))


def test_a_rate_of_zero_keeps_every_bit(tmp_path):
    tensors = read_tensors(ENTRIES["vgg"]["golden"])
    bundle = rewrite_fixture("vgg", tmp_path, "--optimizer", "adamw", "--lr-mult", "*=0", "--lr-mult", "9.*=1", penalty="l2-sp")
    start = bundle.start()
    after = bundle.next_state(bundle.graph("step")(bundle.feeds(start, tensors["input"], tensors["target"])))
    moved = {n for n in bundle.named("shared") if after[n].tobytes() != start[n].tobytes()}
    assert moved == {"9.weight", "9.bias"}
