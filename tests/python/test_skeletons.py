"""torchvision's ResNets at full size, with seeded weights: they rewrite, train for three steps, and the loss falls."""
import numpy as np
import onnx
import pytest
from fill_skeleton import fill
from harness import FIXTURES, rewrite

SKELETONS = sorted((FIXTURES / "skeleton").glob("*.onnx"))
PARAMETERS = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160, "resnet152": 60_192_808}


@pytest.mark.skeleton
@pytest.mark.parametrize("mode", ["frozen", "train"])
@pytest.mark.parametrize("path", SKELETONS, ids=lambda p: p.stem)
def test_full_size(path, mode, tmp_path):
    live = path.stem.endswith(".bn")
    if mode == "train" and not live:
        pytest.skip("BatchNorm is folded")
    model = tmp_path / "model.onnx"
    fill(path, model, size=64)
    onnx.checker.check_model(str(model), full_check=True)
    bundle = rewrite(model, tmp_path / "bundle", batch=2, batch_norm=mode, penalty="l2-sp")
    sizes = [int(np.prod(s["shape"])) for s in bundle.state if s["role"] == "shared"]
    if live:
        assert sum(sizes) == PARAMETERS[path.stem.removesuffix(".bn")]
    step, state, random = bundle.graph("step"), bundle.start(), np.random.default_rng(1)
    images, target = random.normal(size=(2, 3, 64, 64)).astype(np.float32), random.integers(0, 1000, 2)
    losses = []
    for _ in range(3):
        outputs = step(bundle.feeds(state, images, target, lr=1e-4, alpha=0.1))
        losses.append(float(outputs["data_loss"]))
        state = bundle.next_state(outputs)
    assert np.isfinite(losses).all() and losses[0] > losses[1] > losses[2], losses
    for file in [model, *bundle.folder.iterdir()]:  # hundreds of megabytes each
        file.unlink()
