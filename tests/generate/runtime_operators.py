"""Writes src/emit/operators_*.txt: which of ONNX's operators runtimes have, in which versions, as each says of itself.

    python tests/generate/runtime_operators.py ort            # with onnxruntime 1.32.0 and onnx
    python tests/generate/runtime_operators.py openvino       # with openvino 2026.4.1 and onnx
    python tests/generate/runtime_operators.py tract [FOLDER] # of tract-onnx 0.23.9, else where cargo keeps it

A line is an operator and the opsets whose versions of it the runtime has (`11 22`: what came with opset 11, and what came with 22).

- ONNX Runtime: its table of kernels (`get_all_opkernel_def`) for the processor. An open kernel serves the version that it begins with, as ONNX Runtime matches them. What
  ONNX defines as a function of other operators it computes by that, where it has these.
- OpenVINO: asked for each operator, with a model of one node in that opset: what it lacks it names when it reads the model.
- tract: what its source registers, whatever the version.
"""
import importlib.metadata
import pathlib
import re
import sys

import onnx
from onnx import defs, helper

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "src" / "emit"
VERSIONS = {"ort": ("onnxruntime", "1.32.0"), "openvino": ("openvino", "2026.4.1"), "tract": ("tract-onnx", "0.23.9")}
# Older operators are written anew when a model is read; newer opsets are not written.
FIRST, LAST = 13, 23


def schemas():
    """Each operator's versions that opsets from FIRST to LAST have."""
    found = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= LAST:
            found.setdefault(schema.name, {})[schema.since_version] = schema
    for name, versions in sorted(found.items()):
        # The version that an opset has is the last one that came before it.
        used = {max((v for v in versions if v <= opset), default=None) for opset in range(FIRST, LAST + 1)} - {None}
        yield name, [versions[v] for v in sorted(used) if not versions[v].deprecated]


def ort():
    from onnxruntime.capi import _pybind_state

    kernels = {}
    for kernel in _pybind_state.get_all_opkernel_def():
        if kernel.provider == "CPUExecutionProvider" and kernel.domain == "":
            kernels.setdefault(kernel.op_name, set()).add(kernel.version_range)

    def has(name, version):
        return any(first == version or (last != 2**31 - 1 and first <= version <= last) for first, last in kernels.get(name, ()))

    def computes(schema):
        if has(schema.name, schema.since_version):
            return True
        if schema.has_context_dependent_function:
            return True
        body = schema.function_body.node if schema.has_function else ()
        return bool(body) and all(has(n.op_type, defs.get_schema(n.op_type, schema.since_version).since_version) for n in body)

    return computes


def openvino():
    import openvino

    core, types = openvino.Core(), {"tensor(float)": onnx.TensorProto.FLOAT, "tensor(int64)": onnx.TensorProto.INT64, "tensor(bool)": onnx.TensorProto.BOOL}

    def kind(port):
        return next((t for name, t in types.items() if name in port.types), onnx.TensorProto.FLOAT)

    def computes(schema):
        needed = [p for p in schema.inputs if p.option != defs.OpSchema.FormalParameterOption.Optional]
        inputs = [helper.make_tensor_value_info(f"i{k}", kind(p), [1, 1, 4, 4]) for k, p in enumerate(needed)]
        outputs = [helper.make_empty_tensor_value_info("o")]
        node = helper.make_node(schema.name, [i.name for i in inputs], ["o"])
        graph = helper.make_graph([node], "one", inputs, outputs)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", schema.since_version if schema.since_version >= FIRST else FIRST)], ir_version=8)
        try:
            core.read_model(model.SerializeToString())
        except Exception as error:
            # Anything else that it says is of the node, which it knows then.
            return not re.search("No conversion rule found", str(error))
        return True

    return computes


def tract(folder=None):
    found = [pathlib.Path(folder)] if folder else list(pathlib.Path.home().glob(f".cargo/registry/src/*/tract-onnx-{VERSIONS['tract'][1]}"))
    text = "".join(p.read_text() for p in found[0].glob("src/ops/**/*.rs"))
    names = set(re.findall(r'reg\.insert\(\s*"(\w+)"', text))
    return lambda schema: schema.name in names


def main(name, *given):
    package, version = VERSIONS[name]
    assert name == "tract" or importlib.metadata.version(package) == version, f"this is {package} {importlib.metadata.version(package)}, not {version}"
    computes = {"ort": ort, "openvino": openvino, "tract": tract}[name](*given)
    lines = [f"# {package} {version}, by tests/generate/runtime_operators.py"]
    for operator, versions in schemas():
        known = [str(s.since_version) for s in versions if computes(s)]
        lines += [" ".join([operator, *known])] if known else []
    (FOLDER / f"operators_{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
