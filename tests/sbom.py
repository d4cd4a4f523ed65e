"""Writes the list of what spgraph is built from, as CycloneDX 1.6 in JSON: `sbom.py OUTPUT` (`make sbom`).

From `cargo metadata` for the target and features at hand, and the hashes in Cargo.lock. The same sources give the same bytes.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def host(cargo: str) -> str:
    text = subprocess.run([cargo, "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.removeprefix("host: ") for line in text.splitlines() if line.startswith("host: "))


def sbom(cargo: str = "cargo") -> dict:
    arguments = [cargo, "metadata", "--format-version", "1", "--locked", "--filter-platform", host(cargo)]
    metadata = json.loads(subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    hashes = {(p["name"], p["version"]): p.get("checksum") for p in locked}
    packages = {p["id"]: p for p in metadata["packages"]}
    nodes = {n["id"]: n for n in metadata["resolve"]["nodes"]}

    def reference(package: str) -> str:
        return f"pkg:cargo/{packages[package]['name']}@{packages[package]['version']}"

    def built_in(node: dict) -> list[str]:
        """What becomes part of the program or builds it; not what tests need."""
        return [d["pkg"] for d in node["deps"] if any(kind["kind"] != "dev" for kind in d["dep_kinds"])]

    own = metadata["resolve"]["root"]
    reached, waiting = set(), [own]
    while waiting:
        package = waiting.pop()
        if package not in reached:
            reached.add(package)
            waiting.extend(built_in(nodes[package]))

    def component(package: str) -> dict:
        p = packages[package]
        found = {"type": "library", "bom-ref": reference(package), "name": p["name"], "version": p["version"], "purl": reference(package)}
        if p.get("license"):
            found["licenses"] = [{"expression": p["license"].replace("/", " OR ")}]
        if checksum := hashes[p["name"], p["version"]]:
            found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return found

    libraries = sorted(reached - {own}, key=reference)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": component(own) | {"type": "application"}},
        "components": [component(package) for package in libraries],
        "dependencies": [
            {"ref": reference(package), "dependsOn": sorted({reference(d) for d in built_in(nodes[package])})}
            for package in [own, *libraries]
        ],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(sbom(), indent=2) + "\n")
