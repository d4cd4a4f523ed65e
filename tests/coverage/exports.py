"""Four files of one network: both exporters of PyTorch, BatchNorm folded and live."""
import warnings

import torch
from networks import batch_norms, fresh

EXPORTS = {
    "dynamo": "PyTorch's default, `torch.onnx.export(model, (x,), path)`: a batch of 1 written into the graph, BatchNorm folded where the exporter does",
    "dynamo-live": "the same before the exporter's optimiser: BatchNorm live",
    "torchscript": "`dynamo=False`, dynamic batch, BatchNorm folded",
    "torchscript-live": "`dynamo=False`, dynamic batch, nothing folded, BatchNorm exported in training form (`training_mode=1`)",
}


def modes(export, module):
    """The BatchNorm modes in which a file's gradients are compared."""
    if not batch_norms(module) or not export.endswith("-live"):
        return ["frozen"]
    return ["frozen", "train"] if export == "dynamo-live" else ["train"]


def exports(module):
    """Without BatchNorm there is nothing that one of a pair could fold."""
    return [e for e in EXPORTS if batch_norms(module) or not e.endswith("-live")]


def write(module, size, folder, wanted):
    """Writes each of the wanted exports; yields its name and its path, or what the exporter said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program, failed = None, None
        if {"dynamo", "dynamo-live"} & set(wanted):
            try:
                program = torch.onnx.export(fresh(module), (torch.randn(1, 3, size, size),), dynamo=True, optimize=False, verbose=False)
            except Exception as error:
                failed = said(error)
        if "dynamo-live" in wanted:
            yield "dynamo-live", *(saved(program, folder / "dynamo-live.onnx") if program else (None, failed))
        if "dynamo" in wanted:
            if program:
                program.optimize()
            yield "dynamo", *(saved(program, folder / "dynamo.onnx") if program else (None, failed))
        del program
        for name in ("torchscript", "torchscript-live"):
            if name in wanted:
                yield name, *torchscript(module, size, folder / f"{name}.onnx", live=name.endswith("live"))


def saved(program, path):
    program.save(path, external_data=True)
    return path, None


def torchscript(module, size, path, live):
    options = dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False) if live else {}
    kept = {n: b.clone() for n, b in module.named_buffers()}
    fresh(module)
    norms = batch_norms(module) if live else []
    for m in norms:
        m.train()
    try:
        x = torch.randn(2, 3, size, size)
        torch.onnx.export(
            module, (x,), path, dynamo=False, input_names=["input"], output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}}, **options,
        )  # fmt: skip
        return path, None
    except Exception as error:
        return None, said(error)
    finally:
        for m in norms:
            m.eval()
        with torch.no_grad():
            for n, b in module.named_buffers():
                b.copy_(kept[n])


def said(error):
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:300] if str(error).strip() else ''}"
