"""The list of what spgraph is built from is whole."""

import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sbom  # noqa: E402


def test_every_component_has_a_hash_a_licence_and_a_place():
    bom = sbom.sbom()
    components = {c["bom-ref"]: c for c in bom["components"]}
    assert len(components) == len(bom["components"]) > 50
    for component in components.values():
        assert len(component["hashes"][0]["content"]) == 64, component
        assert component["licenses"][0]["expression"], component
    own = bom["metadata"]["component"]["bom-ref"]
    edges = {d["ref"]: d["dependsOn"] for d in bom["dependencies"]}
    assert set(edges) == {own, *components}
    assert all(target in components for targets in edges.values() for target in targets)
    # Directly below it: what Cargo.toml names, and nothing of the tests.
    manifest = tomllib.loads((sbom.ROOT / "Cargo.toml").read_text())
    direct = {components[ref]["name"] for ref in edges[own]}
    everywhere = set(manifest["dependencies"])
    somewhere = {name for table in manifest.get("target", {}).values() for name in table.get("dependencies", {})}
    assert everywhere <= direct <= everywhere | somewhere
    assert not direct & (set(manifest["dev-dependencies"]) - set(manifest["dependencies"]))
    assert sbom.sbom() == bom
