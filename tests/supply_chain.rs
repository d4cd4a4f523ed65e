//! What spgraph is built from: every package from a registry, with the hash of its file, under a licence of deny.toml, and with a reason.
//! Known advisories need a list from the network: `make deny`. The tests' own packages change nothing in the program's.

use serde::Deserialize;
use spdx::{Expression, Licensee};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap();
    toml::from_str(&text).unwrap()
}

fn cargo(args: &[&str]) -> String {
    let program = std::env::var("CARGO").unwrap_or("cargo".into());
    let output = Command::new(program).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_package_comes_from_a_registry_with_its_hash() {
    let lock: Lock = read("Cargo.lock");
    let foreign: Vec<_> = lock.package.iter().filter(|p| p.name != "spgraph").collect();
    assert!(foreign.len() > 50);
    for package in foreign {
        let (name, version) = (&package.name, &package.version);
        let source = package.source.as_deref().unwrap_or_else(|| panic!("{name} {version} has no source"));
        assert!(source.starts_with("registry+"), "{name} {version} comes from {source}");
        assert!(package.checksum.as_ref().is_some_and(|c| c.len() == 64), "{name} {version} has no hash");
    }
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let deny: toml::Table = read("deny.toml");
    let allowed: Vec<Licensee> =
        deny["licenses"]["allow"].as_array().unwrap().iter().map(|l| Licensee::parse(l.as_str().unwrap()).unwrap()).collect();
    let metadata: serde_json::Value = serde_json::from_str(&cargo(&["metadata", "--format-version", "1", "--locked"])).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50);
    for package in packages {
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{} names no licence", package["name"]));
        // Some packages still write the `/` of old.
        let expression = Expression::parse(&licence.replace('/', " OR ")).unwrap_or_else(|e| panic!("{}: {e}", package["name"]));
        let fits = expression.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted)));
        assert!(fits, "{} is under {licence}, which deny.toml does not allow", package["name"]);
    }
    let strange = Expression::parse("GPL-3.0-only").unwrap();
    assert!(!strange.evaluate(|wanted| allowed.iter().any(|licensee| licensee.satisfies(wanted))));
}

/// Else the tests would be of another program than the one that is built, and everything would be compiled once more for them.
#[test]
fn packages_have_the_same_features_with_the_tests_as_without() {
    let tree = |edges: &str| -> BTreeSet<String> {
        let all = cargo(&["tree", "--locked", "--edges", edges, "--format", "{p} {f}", "--prefix", "none"]);
        all.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_string()).collect()
    };
    let (without, with) = (tree("normal,build"), tree("normal,build,dev"));
    assert!(without.len() > 50);
    let changed: Vec<&String> = without.difference(&with).collect();
    assert!(changed.is_empty(), "name these features in Cargo.toml's dependencies, or the tests change them: {changed:?}");
}
