"""One file: rewritten, its gradients evaluated, and compared with PyTorch's."""
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
from harness import BINARY, Bundle  # noqa: E402
from folding import Folding, Unproven, key  # noqa: E402
from interpret import File  # noqa: E402
from match import Matcher  # noqa: E402
from networks import BATCH, batch_norms  # noqa: E402

TRIES = 6  # batches: where a rectifier lies on the other side of 0 in float32, another batch decides; a fault is wrong with each
TRIES_OF_FILE = 4
TOLERANCE = 2e-4  # norm-relative, for float32
LENIENT_FROM = 2  # batches, after which three times the smallest error that PyTorch's own float32 made is allowed: deep networks lose digits
FLOOR = 1e-2  # of the median norm: what is smaller is compared with this
ZERO = 1e-11  # of the largest norm in float64: a gradient that is 0, as that of a shift before statistics of the batch; constants of the file are float32, which leave of it what float32 does


def judge(model, mode, reference, folder, export=None, proven=None):
    """The verdict, with what it rests on. `export(module)`: the same kind of file of a network with other weights. `proven`: names without a
    counterpart whose gradients were right with frozen statistics; a file with a batch of 1 written into it cannot be run with others."""
    proven = set() if proven is None else proven
    begin = time.time()
    command = [BINARY, "rewrite", model, "-o", folder, "--force", "--batch", str(BATCH), "--batch-norm", mode, "--head", "keep", "--penalty", "none"]
    command += ["--split", "--external-data"]
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    seconds = round(time.time() - begin, 2)
    if done.returncode:
        text = done.stderr.strip()
        crashed = done.returncode not in (1, 2) or "panicked" in text
        return dict(verdict="wrong" if crashed else "refused", reason=f"exit code {done.returncode}: {text}" if crashed else text, seconds=seconds)
    return compare(Bundle(folder), mode, reference, model, export, proven) | dict(seconds=seconds)


def compare(bundle, mode, reference, model, export, proven):
    trained = bundle.named("shared", "new")
    start = bundle.start()
    matcher = Matcher(reference.module, batch_norms(reference.module))
    links = matcher.links({n: start[n] for n in trained})
    unmatched = [n for n in trained if n not in links]
    covered = {}
    for link in links.values():
        for name, count in link.covers.items():
            covered[name] = covered.get(name, 0) + count
    graph = bundle.graph("grad")
    errors, doubts, wrong, losses = {}, {}, {}, []
    for seed in range(1, TRIES + 1):
        images, target = reference.batch(seed, mode)
        outputs = graph(bundle.feeds(start, images, target))
        loss, gradients = reference(seed, mode)
        losses.append(abs(float(outputs["loss"]) - loss) / abs(loss))
        found = bundle.gradients(outputs)
        wanted = {n: link.gradient(gradients) for n, link in links.items()}
        smallest(errors, distances({n: link.project(found[n]) for n, link in links.items()}, wanted))
        wrong = {n: e for n, e in errors.items() if not e < TOLERANCE}
        if not wrong and min(losses) < TOLERANCE:
            break
        smallest(doubts, distances({n: link.gradient(reference(seed, mode, torch.float32)[1]) for n, link in links.items()}, wanted))
        if seed >= LENIENT_FROM and not (wrong := {n: e for n, e in wrong.items() if not e < 3 * doubts[n]}):
            break
    zero = reference(1, mode)[1]
    untrained = {n: v.size for n, v in matcher.values.items() if covered.get(n, 0) < v.size and np.linalg.norm(zero[n]) > 0}
    total = sum(v.size for v in matcher.values.values())
    share = sum(min(covered.get(n, 0), v.size) for n, v in matcher.values.items()) / total
    result = dict(
        error=max(errors.values()), parameters=total, share=share, tensors=len(trained), matched=len(links), tries=len(losses),
        loss_error=min(losses), float32=max(doubts.values(), default=0.0),
    )  # fmt: skip
    astray = not min(losses) < max(TOLERANCE, 1e-3 * (len(losses) > 1))
    if (wrong or astray) and (doubled := in_double(bundle, links, start, reference, mode)) is not None:
        loss, errors = doubled
        norms = {n: np.linalg.norm(link.gradient(zero)) for n, link in links.items()}
        none = {n for n, norm in norms.items() if norm < ZERO * max(norms.values())}
        wrong = {n: e for n, e in errors.items() if not e < max(TOLERANCE, 3 * doubts.get(n, 0.0) * (n in none))}
        astray = not loss < TOLERANCE
        result |= dict(double_error=max(errors.values()), double_loss_error=loss)
    if astray:
        return result | dict(verdict="wrong", reason=f"the loss differs by {min(losses):.2g}")
    if wrong:
        worst = sorted(wrong, key=wrong.get, reverse=True)
        lines = [f"{n}: {wrong[n]:.3g} (PyTorch's float32 {doubts.get(n, 0):.2g})" for n in worst[:8]]
        return result | dict(verdict="wrong", kind="gradients", reason=f"{len(wrong)} of {len(links)} gradients differ: " + "; ".join(lines))
    listed = ", ".join(f"{n} ({size})" for n, size in list(untrained.items())[:8])
    lack = f"{len(untrained)} parameters with {sum(untrained.values())} elements have no tensor of their own in the file: {listed}"
    if not unmatched:
        return result | (dict(verdict="wrong", kind="untrained", reason=f"{lack}, and nothing that is trained stands for them") if untrained else dict(verdict="right"))
    if mode == "train" and not untrained and proven.issuperset(unmatched):
        return result | dict(verdict="right", extra=unmatched[:20])
    try:
        folding = Folding(model, reference, mode)
        worst = checked(folding, graph, bundle, start, trained, unmatched)
        result |= dict(extra=unmatched[:20], extra_error=worst)
        if not untrained:
            proven.update(unmatched)
            return result | dict(verdict="right")
        constants, chain = folding.account(untrained, {key(start[n]) for n in trained}, export)
        named = f"{', '.join(constants[:8])}{', …' if len(constants) > 8 else ''}"
        return result | dict(verdict="folded", chain=chain, reason=f"{lack}. The exporter folded them into {len(constants)} constants, which are trained: {named}")
    except Unproven as reason:
        return result | dict(verdict="wrong", kind="unmatched", reason=f"{lack if untrained else ''}; without a counterpart in PyTorch: {', '.join(unmatched[:8])}; {reason}")


def in_double(bundle, links, start, reference, mode):
    """The errors of the bundle's own graph, of its loss and its gradients, where PyTorch computes it in float64, which tells a fault from what float32
    can do; none if it cannot."""
    try:
        images, target = reference.batch(1, mode)
        outputs = File(bundle.folder / "grad.onnx")(bundle.feeds(start, images, target))
        found = bundle.gradients(outputs)
    except Exception as error:  # whatever the interpreter does not know of this graph
        print(f"not in float64: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    loss, gradients = reference(1, mode)
    errors = distances({n: link.project(found[n]) for n, link in links.items()}, {n: link.gradient(gradients) for n, link in links.items()})
    return abs(float(outputs["loss"]) - loss) / abs(loss), errors


def checked(folding, graph, bundle, start, trained, unmatched):
    """The largest error of the tensors without a counterpart, against PyTorch's gradients of the file; tensors of one value together."""
    if unknown := folding.unknown(start, unmatched):
        raise Unproven(f"not in the file: {', '.join(unknown[:8])}")
    keys = {n: key(start[n]) for n in trained}
    asked, errors = {keys[n] for n in unmatched}, {}
    double = File(bundle.folder / "grad.onnx")  # the same graph where float32 falls short with every batch
    for seed, evaluate in [*((seed, graph) for seed in range(1, TRIES_OF_FILE + 1)), (1, double)]:
        images, target = folding.reference.batch(seed, folding.mode)
        try:
            found = bundle.gradients(evaluate(bundle.feeds(start, images, target)))
        except Exception as error:
            if evaluate is graph:
                raise
            print(f"not in float64: {type(error).__name__}: {error}", file=sys.stderr)
            break
        total = folding.gradients(seed)[1]
        sums = {k: sum(np.asarray(found[n], np.float64).ravel() for n in trained if keys[n] == k) for k in set(keys.values()) & total.keys()}
        smallest(errors, {k: e for k, e in distances(sums, {k: total[k] for k in sums}).items() if k in asked})
        if max(errors.values()) < TOLERANCE:
            return max(errors.values())
    worst = [f"{n}: {errors[keys[n]]:.3g}" for n in unmatched if not errors[keys[n]] < TOLERANCE]
    raise Unproven(f"gradients that differ from PyTorch's of the file: {', '.join(worst[:8])}")


def distances(found, wanted):
    """Norm of the difference over the norm, tensor by tensor."""
    norms = {n: np.linalg.norm(w) for n, w in wanted.items()}
    least = FLOOR * float(np.median(list(norms.values()))) if norms else 0.0
    errors = {}
    for n, w in wanted.items():
        f = np.asarray(found[n], np.float64)
        usable = f.shape == w.shape and np.isfinite(f).all()
        errors[n] = float(np.linalg.norm(f - w) / max(norms[n], least, 1e-300)) if usable else np.inf
    return errors


def smallest(kept, errors):
    for n, e in errors.items():
        kept[n] = min(e, kept.get(n, np.inf))


os.environ.setdefault("OMP_NUM_THREADS", "1")
