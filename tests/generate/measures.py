"""What answers are worth: tests/fixtures/measures.json, by formulas in numpy's float64. Where scikit-learn is installed, it must agree.

Each case has probabilities and labels (or outputs and targets), and what is measured of them. Also tests/fixtures/ten_crop.json where torchvision is
installed: the pixels of an image and of its ten crops.
"""

import json
import pathlib

import numpy as np

OUT = pathlib.Path(__file__).parent.parent / "fixtures"
BINS = 15


def average_precision(score, positive):
    """The area below precision over recall, in steps, one for each different score."""
    found = 0.0
    before = 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        recall = (chosen & positive).sum() / positive.sum()
        found += (recall - before) * (chosen & positive).sum() / chosen.sum()
        before = recall
    return found


def classification(p, y):
    """`p` is images × classes; every row sums to 1."""
    n, k = p.shape
    said = p.argmax(1)
    matrix = np.zeros((k, k), dtype=int)
    for a, b in zip(y, said):
        matrix[a, b] += 1
    right, support, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    divide = lambda a, b: [None if d == 0 else c / d for c, d in zip(a.tolist(), b.tolist())]
    precision, recall, f1 = divide(right, predicted), divide(right, support), divide(2 * right, support + predicted)
    present = support + predicted > 0
    zero = lambda values: np.array([v or 0.0 for v in values])
    plain = [zero(v)[present].mean() for v in (precision, recall, f1)]
    weighted = [(zero(v) * support).sum() / n for v in (precision, recall, f1)]
    confidence, correct = p.max(1), said == y
    edges = np.arange(1, BINS + 1) / BINS
    place = np.minimum(np.digitize(confidence, edges, right=True), BINS - 1)
    bins, ece, mce = [], 0.0, 0.0
    for b in range(BINS):
        here = place == b
        count = int(here.sum())
        acc = float(correct[here].mean()) if count else 0.0
        conf = float(confidence[here].mean()) if count else 0.0
        bins.append([count, conf, acc])
        ece += abs(acc - conf) * count / n
        mce = max(mce, abs(acc - conf) if count else 0.0)
    hot = np.eye(k)[y]
    # Of equal scores the first class comes first.
    order = np.argsort(-p, axis=1, kind="stable")
    rank = np.array([int(np.flatnonzero(order[i] == y[i])[0]) for i in range(n)])
    aps = [average_precision(p[:, c], y == c) for c in range(k) if (y == c).any()]
    return {
        "probabilities": p.tolist(),
        "labels": y.tolist(),
        "accuracy": float(correct.mean()),
        "top2": float((rank < 2).mean()),
        "confusion": matrix.tolist(),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "macro": [float(v) for v in plain],
        "weighted": [float(v) for v in weighted],
        "balanced": float(np.mean([v for v in recall if v is not None])),
        "ece": float(ece),
        "mce": float(mce),
        "brier": float(((p - hot) ** 2).sum(1).mean()),
        "confidence": float(confidence.mean()),
        "bins": bins,
        "map": float(np.mean(aps)),
        "loss": float(-np.log(p[np.arange(n), y]).mean()),
    }


def regression(o, y):
    spread = ((y - y.mean(0)) ** 2).sum(0)
    varied = spread > 0
    r2 = 1 - ((o - y) ** 2).sum(0)[varied] / spread[varied]
    return {
        "outputs": o.tolist(),
        "targets": y.tolist(),
        "mae": float(np.abs(o - y).mean()),
        "rmse": float(np.sqrt(((o - y) ** 2).mean())),
        "r2": float(r2.mean()) if varied.any() else None,
    }


def cases(random):
    def draw(n, k, sharp, labels):
        z = random.normal(size=(n, k)) * sharp
        e = np.exp(z - z.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        y = np.array([random.choice(labels, p=p[i, labels] / p[i, labels].sum()) if random.random() < 0.7 else random.choice(labels) for i in range(n)])
        return p, y

    yield "usual", *draw(60, 5, 2.0, np.arange(5))
    yield "two classes", *draw(40, 2, 1.0, np.arange(2))
    yield "classes without images", *draw(25, 7, 3.0, np.array([0, 2, 3, 6]))
    yield "one image", *draw(1, 3, 1.0, np.arange(3))
    # Ties, edges of bins, certainty.
    p = np.array([[0.5, 0.5, 0.0], [0.25, 0.375, 0.375], [1.0, 0.0, 0.0], [0.6, 0.2, 0.2], [0.2, 0.4, 0.4], [0.8, 0.1, 0.1], [0.1, 0.1, 0.8]])
    yield "ties and edges", np.clip(p, 1e-300, 1.0), np.array([1, 2, 0, 0, 1, 1, 2])


def check(case):
    try:
        from sklearn import metrics
    except ImportError:
        return
    p, y = np.array(case["probabilities"]), np.array(case["labels"])
    said = p.argmax(1)
    for name, average in (("macro", "macro"), ("weighted", "weighted")):
        theirs = metrics.precision_recall_fscore_support(y, said, average=average, zero_division=0)[:3]
        np.testing.assert_allclose(case[name], theirs, rtol=1e-12)
    np.testing.assert_allclose(case["balanced"], metrics.balanced_accuracy_score(y, said), rtol=1e-12)
    assert metrics.confusion_matrix(y, said, labels=range(p.shape[1])).tolist() == case["confusion"]
    aps = [metrics.average_precision_score(y == c, p[:, c]) for c in range(p.shape[1]) if (y == c).any()]
    np.testing.assert_allclose(case["map"], np.mean(aps), rtol=1e-12)
    print("scikit-learn agrees")


def ten_crop():
    try:
        import torch
        from torchvision.transforms import functional
    except ImportError:
        return
    random = np.random.default_rng(5)
    found = []
    # Odd margins, so that the middle of a mirrored image is not the mirrored middle.
    for height, width, size in [(13, 18, (8, 7)), (10, 10, (10, 10)), (21, 11, (10, 11))]:
        image = random.integers(0, 256, (3, height, width), dtype=np.uint8)
        crops = functional.ten_crop(torch.from_numpy(image), list(size))
        found.append({"image": image.tolist(), "size": size, "crops": [c.tolist() for c in crops]})
    (OUT / "ten_crop.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


def main():
    random = np.random.default_rng(11)
    classes = []
    for name, p, y in cases(random):
        case = {"name": name, **classification(p, y)}
        check(case)
        classes.append(case)
    y = random.normal(size=(30, 2)) * [1.0, 20.0]
    numbers = [regression(y + random.normal(size=y.shape), y), regression(np.array([[1.0], [2.5]]), np.array([[2.0], [2.0]]))]
    text = json.dumps({"classification": classes, "regression": numbers}, indent=None, separators=(",", ":"))
    (OUT / "measures.json").write_text(text + "\n")
    ten_crop()


main()
