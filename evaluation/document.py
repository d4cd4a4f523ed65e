#!/usr/bin/env python3
"""Writes the tables and figures of docs/evaluation.md anew, from the records that are kept in evaluation/results.

    SPGRAPH=target/release/spgraph python3 evaluation/document.py [DOCUMENT]

A table stands between `<!-- table NAMES FILE [COLUMNS] -->` and `<!-- end -->`: NAMES are those of records (`a` or `a+b`: one report of both),
FILE is a CSV of the report, COLUMNS are numbers of its columns (`1,2,5`), counted from 1. A figure is a link to `../evaluation/results/NAMES/FILE.svg`.
"""

import csv
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = ROOT / "evaluation" / "results"
TABLE = re.compile(r"<!-- table (\S+) (\S+)(?: ([\d,]+))? -->\n.*?<!-- end -->", re.DOTALL)
FIGURE = re.compile(r"\]\(\.\./evaluation/results/([^/)]+)/([^/)]+\.svg)\)")


def main() -> None:
    document = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "evaluation.md"
    spgraph = os.environ.get("SPGRAPH", ROOT / "target" / "release" / "spgraph")
    text = document.read_text()
    with tempfile.TemporaryDirectory() as folder:
        made: dict[str, pathlib.Path] = {}

        def report(names: str) -> pathlib.Path:
            if names not in made:
                made[names] = pathlib.Path(folder) / names
                records = [str(RESULTS / f"{name}.json") for name in names.split("+")]
                subprocess.run([spgraph, "report", *records, "-o", made[names]], check=True, stdout=subprocess.DEVNULL)
            return made[names]

        def table(match: re.Match) -> str:
            names, file, columns = match.groups()
            with open(report(names) / file, newline="") as lines:
                rows = list(csv.reader(lines))
            if columns:
                rows = [[row[int(at) - 1] for at in columns.split(",")] for row in rows]
            kept = "" if columns is None else f" {columns}"
            return f"<!-- table {names} {file}{kept} -->\n{markdown(rows)}<!-- end -->"

        text = TABLE.sub(table, text)
        for names, file in sorted(set(FIGURE.findall(text))):
            (RESULTS / names).mkdir(exist_ok=True)
            shutil.copy(report(names) / file, RESULTS / names / file)
    document.write_text(text)


def markdown(rows: list[list[str]]) -> str:
    head, *body = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, rule, *body])


if __name__ == "__main__":
    main()
