"""Compares the graphs that two builds of spgraph write: `make compare-bundles BEFORE=path/to/an/older/spgraph`.

Every case of CASES is rewritten by both binaries. Of each emitted model the nodes (in order: name, operator, domain, inputs, outputs,
attributes), the functions, the tensors (by name, to the last bit), inputs, outputs and operator sets must be equal. What a mended fault
changes on purpose stands in EXPLAINED, and what it adds in ADDED, with the reason; everything else ends with exit code 1.
"""

import argparse
import fnmatch
import pathlib
import subprocess
import sys
import tempfile

import onnx

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests/fixtures"

# (source, options of `spgraph rewrite`)
CASES = [
    ("tests/fixtures/basic.bn.onnx", "--batch 3"),
    ("tests/fixtures/basic.bn.onnx", "--batch dynamic --split --classes 4 --penalty l1-sp --prox"),
    ("tests/fixtures/basic.bn.onnx", "--batch 3 --batch-norm frozen --penalty gl-sp --alpha 1.*=0.5 --alpha-depth 2 --optimizer adamw"),
    ("tests/fixtures/basic.bn.onnx", "--batch 3 --classes 4 --regularizer delta --regularizer bss --regularizer lwf=2 --split"),
    ("tests/fixtures/basic.onnx", "--batch 3 --penalty l2 --decoupled --dialect inlined --penalize all"),
    ("tests/fixtures/bottleneck.dynamo.onnx", "--batch 3 --freeze-stages 2 --optimizer lars"),
    ("tests/fixtures/grouped.bn.onnx", "--batch 2 --penalty none --classes 5 --beta 0.1"),
    ("tests/fixtures/inception.bn.onnx", "--batch 3 --clip-norm 1 --ema 0.99"),
    ("tests/fixtures/mobilenet.bn.onnx", "--batch 3 --batch-norm frozen --lr-mult *bias=2 --split"),
    ("tests/fixtures/shuffle.symbolic.onnx", "--batch dynamic"),
    ("tests/fixtures/shuffle.bn.onnx", "--batch 2 --freeze *0.0*"),
    ("tests/fixtures/slices.bn.onnx", "--batch 3 --dialect inlined"),
    ("tests/fixtures/tokens.onnx", "--batch 3 --penalize *weight --sp-exclude mix*"),
    ("tests/fixtures/silu.bn.onnx", "--batch 3 --nesterov"),
    ("tests/fixtures/float64.bn.onnx", "--batch 3 --spd 0.1 --optimizer adamw"),
    ("tests/fixtures/conv_head.onnx", "--batch 3 --classes 7 --regularizer lwf --label-smoothing 0.1"),
    ("tests/fixtures/pool_ceil.onnx", "--batch 3"),
    ("tests/fixtures/average_pool.onnx", "--batch 3"),
    ("tests/fixtures/dilated.bn.onnx", "--batch 3 --external-data --split"),
    ("tests/fixtures/shared.bn.onnx", "--batch 3 --keep-ties"),
    ("tests/fixtures/identity.bn.onnx", "--batch 3 --freeze *bn*"),
    ("tests/fixtures/view_chain.bn.onnx", "--batch 3"),
    ("tests/fixtures/preactivation.onnx", "--batch 3 --train 1.*"),
    ("tests/fixtures/leaky.bn.onnx", "--batch 3"),
    ("tests/fixtures/relu6.bn.onnx", "--batch dynamic"),
    ("tests/fixtures/asymmetric.bn.onnx", "--batch 3"),
    ("tests/fixtures/odd.bn.onnx", "--batch 3"),
    ("tests/fixtures/vgg.onnx", "--batch 3 --penalty gl-sp --prox"),
    ("tests/fixtures/resnet18.bn.onnx", "--batch 4 --classes 6"),
    ("tests/fixtures/resnet50.onnx", "--batch 4 --classes 6 --split"),
    ("models/resnet20-source.onnx", "--batch 20 --classes 6 --batch-norm frozen"),
]

# (pattern on "source options", pattern on the file, what differs: "nodes", "functions", "tensors", "ports" or "opsets", why)
EXPLAINED: list[tuple[str, str, str, str]] = []

# (pattern on the file, pattern on names of nodes, functions, tensors or ports that only the newer build may write, why)
ADDED: list[tuple[str, str, str]] = []


def attributes(node):
    return sorted((a.name, a.SerializeToString(deterministic=True)) for a in node.attribute)


def nodes(container):
    return [(n.name, n.domain, n.op_type, tuple(n.input), tuple(n.output), attributes(n)) for n in container.node]


def parts(path, added=()):
    """What is compared, as a dictionary from a part's name to a comparable value; without what the patterns `added` match."""
    model = onnx.load(path)  # with external data
    graph = model.graph
    for list_ in (graph.node, model.functions, graph.initializer, graph.input, graph.output):
        kept = [x for x in list_ if not any(fnmatch.fnmatch(x.name, pattern) for pattern in added)]
        del list_[:]
        list_.extend(kept)
    return {
        "nodes": nodes(graph),
        "functions": sorted(
            (f.domain, f.name, tuple(f.input), tuple(f.output), tuple(sorted(f.attribute)), nodes(f)) for f in model.functions
        ),
        "tensors": {t.name: t.SerializeToString(deterministic=True) for t in graph.initializer},
        "ports": [[p.SerializeToString(deterministic=True) for p in ports] for ports in (graph.input, graph.output)],
        "opsets": sorted((o.domain, o.version) for o in model.opset_import),
    }


def first_difference(before, after):
    if isinstance(before, dict):
        gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
        changed = sorted(k for k in before.keys() & after.keys() if before[k] != after[k])
        return f"missing {gone[:5]}, new {new[:5]}, changed {changed[:5]}"
    for i, (a, b) in enumerate(zip(before, after)):
        if a != b:
            return f"number {i}: {str(a)[:300]}\n      became {str(b)[:300]}"
    return f"{len(before)} became {len(after)}"


def rewrite(binary, source, options, folder):
    command = [binary, "rewrite", ROOT / source, *options.split(), "-o", folder]
    result = subprocess.run(command, capture_output=True, text=True)
    return result.returncode, result.stderr.strip()


def compare(case, before, after):
    """The differences of one case, as (file, part, description)."""
    files = [sorted(p.name for p in folder.glob("*.onnx")) for folder in (before, after)]
    if files[0] != files[1]:
        return [("-", "files", f"{files[0]} became {files[1]}")]
    found = []
    for name in files[0]:
        a, b = parts(before / name), parts(after / name, [pattern for file, pattern, _ in ADDED if file == name])
        found += [(name, part, first_difference(a[part], b[part])) for part in a if a[part] != b[part]]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    parser.add_argument("-k", default="*", help="glob pattern on `source options`")
    arguments = parser.parse_args()
    wrong = explained = 0
    with tempfile.TemporaryDirectory() as scratch:
        for number, (source, options) in enumerate(CASES):
            case = f"{source} {options}"
            if not fnmatch.fnmatch(case, arguments.k):
                continue
            folders = [pathlib.Path(scratch) / f"{number}-{side}" for side in ("before", "after")]
            outcomes = [
                rewrite(binary, source, options, folder) for binary, folder in zip((arguments.before, arguments.after), folders)
            ]
            if outcomes[0][0] or outcomes[1][0]:
                # A case that both refuse compares nothing, so it is a mistake in this list.
                found = [("-", "exit", f"{outcomes[0]} became {outcomes[1]}")]
            else:
                found = compare(case, *folders)
            for name, part, what in found:
                why = [e[3] for e in EXPLAINED if fnmatch.fnmatch(case, e[0]) and fnmatch.fnmatch(name, e[1]) and e[2] == part]
                if why:
                    explained += 1
                    print(f"explained  {case}: {part} of {name}: {why[0]}")
                else:
                    wrong += 1
                    print(f"DIFFERENT  {case}: {part} of {name}\n    {what}")
            if not found:
                print(f"equal      {case}")
    print(f"{len(CASES)} cases, {wrong} differences, {explained} more that are explained")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
