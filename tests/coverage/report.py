"""What the results say, as a line, as a summary, and as docs/networks.md."""
import collections
import importlib.metadata
import pathlib
import platform
import re

import networks
from exports import EXPORTS


def verdict(result):
    """One for a network: the worst of its files."""
    found = {r["verdict"] for r in result["results"]}
    return next((v for v in ("wrong", "not run", "refused", "folded", "right") if v in found), "not exported")


def kinds(reason):
    """What a refusal is about, without what belongs to the one file (nodes' names, numbers, advice): one text for each operator that it lists."""
    lines = reason.removeprefix("error: ").strip().splitlines() or ["no reason"]
    listed = [f"{m[1]}: {m[2]}" for m in (re.match(r"\s+(\S+) \(node `[^`]*`\): (.*)", line) for line in lines) if m]
    return sorted({general(line) for line in listed or lines[:1]})


def general(text):
    text = re.sub(r"`[^`]*`", "`…`", re.sub(r"\S*/\S+\.onnx", "the model", text))
    return re.sub(r"\d[\d.e-]*", "N", text)[:200]


def line(result):
    cells = [f"{r['export']}/{r['mode']} {r['verdict']}" + (f" {r['error']:.1e}" if "error" in r else "") for r in result["results"]]
    return f"{result['name']:40} {verdict(result):12} " + ", ".join(cells)


def summary(results):
    counts = collections.Counter(verdict(r) for r in results)
    return f"{len(results)} networks: " + ", ".join(f"{n} {v}" for v, n in counts.most_common())


def reasons(results, wanted):
    """`(kind, files)`, most files first; a file that has several reasons is listed under each."""
    groups = collections.defaultdict(list)
    for result in results:
        for r in result["results"]:
            if r["verdict"] == wanted:
                for kind in kinds(r["reason"]):
                    groups[kind].append((result["name"], f"{r['export']}/{r['mode']}"))
    return sorted(groups.items(), key=lambda g: -len(g[1]))


def write(path, results, total, files=()):
    """docs/networks.md. `files`: results of real files, as `files.py` leaves them."""
    path.write_text("\n".join([*heading(results, total), *table(results), *refusals(results), *folded(results), *failures(results), *real(files)]) + "\n")


def heading(results, total):
    spans = collections.Counter((r["name"].split(":")[0], verdict(r)) for r in results)
    libraries = sorted({library for library, _ in spans}, reverse=True)
    words = ("right", "folded", "refused", "wrong", "not exported", "not run")
    lines = [
        "# Networks against PyTorch", "",
        "Made by `make coverage` (`tests/coverage`); don't edit it by hand.", "",
        f"{sum(verdict(r) != 'not run' for r in results)} of {total} networks were run: every classification model of torchvision {version('torchvision')} and the architectures of timm "
        f"{version('timm')} that `tests/coverage/timm.txt` names, with PyTorch {torches(results)} and ONNX Runtime {version('onnxruntime')}, on {processor()}. "
        "Weights are random (seeded, and spread so that no gradient vanishes), images random and small. Each network is exported by both of PyTorch's exporters, "
        "with BatchNorm folded and live where it has any:", "",
        *(f"- **{name}**: {text}" for name, text in EXPORTS.items()), "",
        "`spgraph rewrite` makes a bundle of each file, ONNX Runtime evaluates it in float32 on three images, and the gradient of **every tensor** is compared with PyTorch's in "
        "float64, in the norm of the tensor. A file is *right* if every gradient agrees to 2e-4 and every parameter that PyTorch trains is trained. A rectifier whose input "
        "float32 puts on the other side of 0 moves gradients by 1e-3 and more; another batch puts another one there, or none, while a fault stays: up to six "
        "batches are tried, and each tensor's smallest error counts; from the second batch on, three times the error that PyTorch itself makes in float32 is allowed (statistics of three small "
        "images cost digits); where float32 falls short in all of them, PyTorch computes the bundle's own "
        "graph in float64, which must agree to the same 2e-4. What a file trains beside PyTorch's parameters (tables, numbers with a name) is compared with PyTorch's gradients "
        "of the file itself, which it runs in float64 (`tests/coverage/interpret.py`). A network is right if all its files are that PyTorch can write and that were judged.", "",
        "*Folded* means that the exporter has put parameters together (a gain times a scale, the exponential of a logarithm, a table looked up beforehand), so that the file holds "
        "none of them by itself, and that everything the file does hold is trained right: PyTorch's gradients of the file itself agree; a second export with these parameters moved "
        "differs only in constants that are trained; and their change along their gradients is the change of the loss that the parameters' own gradients say, within 2 %.", "",
        "Judged so far: " + ", ".join(f"{n} networks by {e}" for e, n in judged(results).items()) + ". An empty cell was not judged, or has no such export.", "",
        "| | " + " | ".join(words) + " |", "|---|" + "---:|" * len(words),
    ]  # fmt: skip
    for library in libraries:
        count = sum(n for (l, _), n in spans.items() if l == library)
        lines.append(f"| {library}, {count} | " + " | ".join(str(spans[library, w]) for w in words) + " |")
    return lines + [""]


def earlier(path):
    """What a page says: results of networks by name, for a cache that has none of them, so that a run on another machine goes on where the page ends."""
    if not path.exists():
        return {}
    found, library = {}, None
    verdicts = {mark: v for v, mark in MARKS.items()}
    text = path.read_text()
    folds = {(m[1], m[2]): m[3].removesuffix(".") for m in re.finditer(r"^- (\S+), (\S+) \(\w+\): (.*)$", text, re.M)}
    made = re.search(r"with PyTorch (\S+) and", text)
    for line in text.split("## Folded")[0].split("## Refused")[0].splitlines():
        library = line.removeprefix("### ").strip() if line.startswith("### ") else library
        row = [c.strip() for c in line.strip().strip("|").split("|")]
        if library is None or not line.startswith("| ") or len(row) != 3 + len(EXPORTS) or not row[1].isdigit():
            continue
        results = []
        for export, said in zip(EXPORTS, row[3:]):
            mark, _, error = said.partition(" ") if said != "not run" else (said, "", "")
            if mark in ("right", "folded"):
                case = dict(export=export, mode="frozen", verdict=verdicts[mark], error=float(error), reason=folds.get((row[0], export), ""))
                results.append(case | dict(torch=made[1] if made else ""))
        if results:
            name = f"{library}:{row[0]}"
            asked = [r["export"] for r in results]
            found[name] = dict(name=name, family=networks.family(name), size=int(row[1]), parameters=float(row[2].split()[0]) * 1e6, results=results, asked=asked)
    return found


def earlier_files(path):
    """The same of the real files."""
    text = path.read_text() if path.exists() else ""
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in text.partition("## Real files")[2].splitlines() if line.startswith("| ")]
    return [dict(zip(("name", "source", "verdict", "detail"), row)) for row in rows if len(row) == 4 and row[0] != "file"]


MARKS = {"right": "right", "folded": "folded", "refused": "refused", "wrong": "**wrong**", "not exported": "–", "not run": "not run"}


def table(results):
    """A line for each network; its parameters in millions, the largest error of each file."""
    lines = ["## By family", ""]
    for library in ("torchvision", "timm"):
        lines += [f"### {library}", "", "| network | pixels | parameters | " + " | ".join(EXPORTS) + " |", "|---|---:|---:|" + "---|" * len(EXPORTS)]
        mine = [r for r in results if r["name"].startswith(library)]
        for result in sorted(mine, key=lambda r: (r["family"], r["parameters"], r["name"])):
            cells = [cell([r for r in result["results"] if r["export"] in (export, "all")]) for export in EXPORTS]
            lines.append(f"| {result['name'].split(':')[1]} | {result['size']} | {result['parameters'] / 1e6:.1f} M | " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def cell(cases):
    if not cases:
        return ""
    worst = verdict(dict(results=cases))
    errors = [c["error"] for c in cases if c["verdict"] == worst and "error" in c]
    return MARKS[worst] + (f" {max(errors):.0e}" if errors else "")


def refusals(results):
    return listed(results, "refused", "## Refused, by reason", lambda found: sorted({n.split(":")[1] for n, _ in found}))


def judged(results):
    """Networks by export."""
    return {e: count for e in EXPORTS if (count := sum(any(r["export"] == e and r["verdict"] not in ("not exported", "not run") for r in result["results"]) for result in results))}


def folded(results):
    cases = [(r["name"].split(":")[1], c) for r in results for c in r["results"] if c["verdict"] == "folded"]
    return ["## Folded by the exporter", "", *(f"- {n}, {c['export']} ({c['mode']}): {c['reason']}." for n, c in cases), ""] if cases else []


def failures(results):
    lines = listed(results, "not exported", "## What PyTorch cannot export", lambda found: sorted({f"{n.split(':')[1]} ({e.split('/')[0]})" for n, e in found}))
    lines += listed(results, "not run", "## Not run", lambda found: sorted({n.split(":")[1] for n, _ in found}))
    wrong = [(r["name"].split(":")[1], c) for r in results for c in r["results"] if c["verdict"] == "wrong"]
    return lines + (["## Wrong", "", *(f"- {n}, {c['export']} ({c['mode']}): {c['reason']}" for n, c in wrong), ""] if wrong else [])


def listed(results, wanted, title, names):
    groups = reasons(results, wanted)
    return [title, "", *(f"- {kind}: {', '.join(names(found))}" for kind, found in groups), ""] if groups else []


def real(files):
    if not files:
        return []
    lines = ["## Real files", "", "From packages that anyone can install (`tests/coverage/files.py`).", "", "| file | from | verdict | |", "|---|---|---|---|"]
    return lines + [f"| {f['name']} | {f['source']} | {f['verdict']} | {f['detail']} |" for f in files] + [""]


def torches(results):
    """The versions that judged, this one first."""
    others = sorted({r["torch"] for result in results for r in result["results"] if r.get("torch")} - {version("torch")})
    return version("torch") + (f" (some rows with {', '.join(others)})" if others else "")


def version(package):
    return importlib.metadata.version(package).split("+")[0]


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines() if pathlib.Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor() or platform.machine())
