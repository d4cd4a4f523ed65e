"""Networks of torchvision and timm against PyTorch: which are right, which are refused and why. Writes docs/networks.md.

    python run.py [PATTERN…] [-j 2] [--again refused,wrong] [--report]

A pattern is a glob on `torchvision:resnet18`, or a family: `timm:convnext*`, `swin`. Each network is a process of its own; its result is kept in
the cache, so that a run that was interrupted goes on. `--again` judges anew what had such a verdict. Only a run over everything writes the report,
or `--report`, which does nothing else.
"""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import networks
import report
from exports import EXPORTS

HERE = pathlib.Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "target" / "coverage"
PAGE = HERE.parents[1] / "docs" / "networks.md"


def chosen(patterns):
    names = networks.names()
    if patterns:
        names = [n for n in names if any(fnmatch.fnmatch(n, p) or networks.family(n) == p for p in patterns)]
    return names


def in_order(names):
    """The smallest of each family, then the second …: a first impression comes early, and what takes long comes last."""
    seen, rank = {}, {}
    for n in sorted(names, key=networks.elements):
        rank[n] = seen[networks.family(n)] = seen.get(networks.family(n), -1) + 1
    return sorted(rank, key=rank.get)


def kept(cache, name):
    path = cache / f"{name.replace(':', '.')}.json"
    return json.loads(path.read_text()) if path.exists() else None


def due(result, wanted, again):
    """Which of the wanted exports have no result yet, or one that is to be judged anew."""
    if result is None or result["results"][0]["export"] == "all":
        return wanted if result is None or result["results"][0]["verdict"] in again else []
    left = [e for e in wanted if e not in result.get("asked", wanted)]
    return left + [e for e in wanted if e not in left and any(r["export"] == e and r["verdict"] in again for r in result["results"])]


def run(name, wanted, cache, timeout):
    """The network's result, from a process of its own, beside what is known of its other exports."""
    before = kept(cache, name)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        command = ["nice", sys.executable, HERE / "one.py", name, "--keep", scratch, "--exports", ",".join(wanted)]
        try:
            done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout, env=os.environ | {"OMP_NUM_THREADS": "1"})
            result = json.loads(done.stdout.strip().splitlines()[-1])
        except subprocess.TimeoutExpired:
            result = failed(name, f"no result within {timeout} s")
        except (IndexError, ValueError):
            result = failed(name, f"exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    others = [r for r in before["results"] if r["export"] not in wanted and r["export"] != "all"] if before else []
    result["results"] = sorted(result["results"] + others, key=lambda r: [*EXPORTS, "all"].index(r["export"]))
    result["asked"] = sorted({r["export"] for r in result["results"]} | set(wanted) | set(before.get("asked", EXPORTS) if before else []))
    (cache / f"{name.replace(':', '.')}.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def failed(name, reason):
    return dict(name=name, family=networks.family(name), size=0, parameters=0, results=[dict(export="all", mode="-", verdict="not run", reason=reason)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*")
    parser.add_argument("-j", "--jobs", type=int, default=1)
    parser.add_argument("--cache", type=pathlib.Path, default=CACHE)
    parser.add_argument("--again", default="", help="verdicts that are judged anew: refused,wrong,not run,not exported,right")
    parser.add_argument("--exports", default=",".join(EXPORTS), help="which of %(default)s; of a network without BatchNorm the one that is not live")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for a network")
    parser.add_argument("--report", action="store_true", help="only write the report, from what the cache holds")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    # What another machine has judged, as the page has it.
    for name, result in report.earlier(PAGE).items():
        if not kept(options.cache, name):
            (options.cache / f"{name.replace(':', '.')}.json").write_text(json.dumps(result, indent=1) + "\n")
    again = set(filter(None, options.again.split(",")))
    names = chosen(options.patterns)
    if not options.report:
        asked = options.exports.split(",")
        todo = [(n, wanted) for n in in_order(names) if (wanted := due(kept(options.cache, n), asked, again))]
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            for result in pool.map(lambda t: run(*t, options.cache, options.timeout), todo):
                print(report.line(result), flush=True)
    results = [r for n in names if (r := kept(options.cache, n))]
    print(report.summary(results))
    if options.report or not options.patterns:
        files = options.cache / "files.list"
        report.write(PAGE, results, len(names), json.loads(files.read_text()) if files.exists() else report.earlier_files(PAGE))
    wrong = any(r["verdict"] == "wrong" for result in results for r in result["results"])
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
