"""A bundle for a runtime that lacks an operator, and one with the step of another: what each host language has to refuse.

    python lacking.py BUNDLE OTHER OPERATOR [INSTEAD]

copies BUNDLE to OTHER with every node OPERATOR renamed (`Unheard` by default). The manifest and its copy in the step stay, so that the step still is the bundle's; hashes of files go.
"""
import json
import pathlib
import shutil
import sys

import onnx


def without(bundle, other, operator, instead="Unheard"):
    shutil.copytree(bundle, other)
    path = pathlib.Path(other) / "step.onnx"
    model, renamed = onnx.load(path), 0
    for nodes in (model.graph.node, *(f.node for f in model.functions)):
        for node in nodes:
            if node.op_type == operator and node.domain in ("", "ai.onnx"):
                node.op_type, renamed = instead, renamed + 1
    assert renamed, f"{path} has no {operator}"
    onnx.save(model, path)
    manifest = pathlib.Path(other) / "manifest.json"
    text = json.loads(manifest.read_text())
    del text["files"]["step.onnx"]
    manifest.write_text(json.dumps(text, indent=2) + "\n")


if __name__ == "__main__":
    without(*sys.argv[1:])
