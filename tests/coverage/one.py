"""One network, in a process of its own: built, exported, judged; a JSON object on the last line.

    python one.py torchvision:resnet18 [--exports dynamo,torchscript] [--keep FOLDER]
"""
import argparse
import json
import pathlib
import sys
import tempfile

import networks
import torch
from exports import EXPORTS, exports, modes, write
from gradients import Reference
from judge import judge


def run(name, wanted, folder):
    module, size = networks.build(name)
    have = exports(module)
    asked = {e if e in have else e.removesuffix("-live") for e in wanted}
    results = judged(module, size, [e for e in have if e in asked], folder)
    parameters = sum(p.numel() for p in module.parameters())
    return dict(name=name, family=networks.family(name), size=size, parameters=parameters, results=results)


def judged(module, size, wanted, folder):
    reference, results = Reference(module, size), []
    for export, path, failed in write(module, size, folder, wanted):
        proven = set()
        for mode in modes(export, module):
            case = dict(export=export, mode=mode)
            if failed:
                results.append(case | dict(verdict="not exported", reason=failed))
                continue
            try:
                results.append(case | judge(path, mode, reference, folder / "bundle", lambda other: again(other, size, folder, export), proven))
            except Exception as error:
                results.append(case | dict(verdict="wrong", reason=f"the bundle cannot be run: {type(error).__name__}: {str(error)[:600]}"))
            print(results[-1], file=sys.stderr)
    return results


def again(module, size, folder, export):
    """The same export of a network with other weights."""
    (folder / "again").mkdir(exist_ok=True)
    [(_, path, failed)] = write(module, size, folder / "again", [export])
    return path, failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("--exports", default=",".join(EXPORTS))
    parser.add_argument("--keep")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(options.keep or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(run(options.name, options.exports.split(","), folder)))
