"""Writes src/onnx/schemas.txt: every operator of ONNX's own domain as the onnx package describes it, for the opsets that spgraph reads.

    python tests/python/schemas.py

One line for each operator and version that changed it:

    NAME VERSION in NAME[?|*MIN]:TYPES … out … attr NAME[!]=TYPE … types VAR=TYPE,TYPE …

`?` is optional, `*MIN` a list of at least MIN (`~MIN` where its members may be of different types), `!` required. TYPES is a variable or a type; `other` stands for what spgraph has no type for.
A line that ends behind the version is an operator that the version took away.
"""

import sys
from pathlib import Path

import onnx

FIRST, LAST = 7, 26
TARGET = Path(__file__).resolve().parents[2] / "src" / "onnx" / "schemas.txt"
TYPES = {
    "float": "f32", "double": "f64", "float16": "f16", "bfloat16": "bf16", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "u8", "uint16": "u16", "uint32": "u32", "uint64": "u64", "bool": "bool",
}  # fmt: skip


def short(types):
    """The types that spgraph has, in its order, and `other` where there are more."""
    names = {t[len("tensor(") : -1] if t.startswith("tensor(") else "" for t in types}
    known = [ours for theirs, ours in TYPES.items() if theirs in names]
    return ",".join(known + ["other"] * (len(known) < len(names)))


def parameter(p, variables):
    option = onnx.defs.OpSchema.FormalParameterOption
    many = f"{'*' if p.is_homogeneous else '~'}{p.min_arity}"
    mark = {option.Single: "", option.Optional: "?", option.Variadic: many}[p.option]
    return f"{p.name}{mark}:{p.type_str if p.type_str in variables else short([p.type_str])}"


def line(schema, born):
    head = f"{schema.name} {schema.since_version}"
    # GroupNormalization came deprecated, for a mistake in its text, and exporters wrote it for three versions.
    if schema.deprecated and not born:
        return head
    variables = {c.type_param_str for c in schema.type_constraints}
    inputs = [parameter(p, variables) for p in schema.inputs]
    outputs = [parameter(p, variables) for p in schema.outputs]
    attributes = [f"{n}{'!' if a.required else ''}={a.type.name}" for n, a in sorted(schema.attributes.items())]
    types = [f"{c.type_param_str}={short(c.allowed_type_strs)}" for c in schema.type_constraints]
    return " ".join([head, "in", *inputs, "out", *outputs, "attr", *attributes, "types", *types])


def table():
    versions = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= LAST:
            versions.setdefault(schema.name, {})[schema.since_version] = schema
    lines = []
    for name, found in sorted(versions.items()):
        first = max((v for v in found if v <= FIRST), default=FIRST)
        lines += [line(found[v], v == min(found)) for v in sorted(found) if v >= first]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(table())
    print(f"{TARGET}: {len(table().splitlines())} lines", file=sys.stderr)
