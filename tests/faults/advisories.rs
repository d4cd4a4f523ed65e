//! What the onnx project's own advisories of 2022 to 2026 are about, tried on spgraph: one row for each, by its number. What reads a model must refuse it in
//! words, or take no harm; nothing outside may be read into an output, and nothing outside may be written.

use crate::bad_inputs::{changed, floats, one};
use crate::external_data::{fixture, write};
use crate::measure::measured;
use crate::models::copy_with;
use crate::scenario::{Tree, command, content, ok, scratch, shared, words};
use spgraph::onnx::attributes::{attr_int, attr_ints};
use spgraph::onnx::{self, pb};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

/// What must become of a trial.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Exit code 1, or 2 where the request itself makes no sense, with one error.
    Refused,
    /// Done, as if the attack were not there.
    Harmless,
}
use End::{Harmless, Refused};

/// An advisory, how its attack is prepared in the folder `lab/here`, and the commands that meet it there.
struct Row {
    number: &'static str,
    /// In a few words.
    about: &'static str,
    prepare: fn(&Path),
    commands: &'static [&'static str],
    end: End,
}

const READERS: &[&str] = &[
    "inspect evil.onnx",
    "rewrite evil.onnx -o out",
    "rewrite evil.onnx --external-data -o out",
    "grad evil.onnx --wrt params --of logits -o out.onnx",
    "lower evil.onnx -o out.onnx",
    "predict evil.onnx @images/plaid/plaid-s0-00000.png --engine tract",
    "predict evil.onnx @images/plaid/plaid-s0-00000.png",
    "fisher evil.onnx --data @images -o out.safetensors",
];

/// Those that take a network of images.
const NETWORKS: &[&str] = &[
    "inspect evil.onnx",
    "rewrite evil.onnx -o out",
    "predict evil.onnx @images/plaid/plaid-s0-00000.png --engine tract",
    "predict evil.onnx @images/plaid/plaid-s0-00000.png",
];

/// What must not get out of `lab/secret.bin`: 64 kB that no model has.
/// As weights they are finite.
fn secret() -> Vec<u8> {
    (0..16_384u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) & !(1 << 30)).to_le_bytes()).collect()
}

fn external(lab: &Path, location: &str) {
    write(&lab.join("evil.onnx"), &(location.into(), String::new(), String::new()));
}

fn network(lab: &Path, model: pb::ModelProto) {
    onnx::write(lab.join("evil.onnx"), &model).unwrap();
}

/// One entry of a tar archive.
fn tar(name: &str, data: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(124, &format!("{:011o}\0", data.len()));
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let padding = vec![0; data.len().next_multiple_of(512) - data.len() + 1024];
    [&header[..], data, &padding].concat()
}

/// `If` in the branch of `If`, so many deep.
fn nested(depth: usize) -> pb::ModelProto {
    let graph = |attribute: &str, node: pb::NodeProto| pb::AttributeProto {
        name: Some(attribute.into()),
        r#type: Some(pb::attribute_proto::AttributeType::Graph as i32),
        g: Some(pb::GraphProto { name: Some("body".into()), node: vec![node], ..Default::default() }),
        ..Default::default()
    };
    let mut inner = crate::models::node("Identity", "inner", &["x"], "deep");
    for _ in 0..depth {
        let mut outer = crate::models::node("If", "if", &["x"], "deep");
        outer.attribute = vec![graph("then_branch", inner)];
        inner = outer;
    }
    inner.output = vec!["features".into()];
    crate::models::classifier(vec![inner], vec![])
}

const ROWS: &[Row] = &[
    Row {
        number: "CVE-2022-25882",
        about: "external data by `../`",
        prepare: |lab| external(lab, "../secret.bin"),
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "CVE-2024-27318, GHSA-whh8-fjgc-qp73",
        about: "external data by `folder/../../`",
        prepare: |lab| {
            std::fs::create_dir(lab.join("folder")).unwrap();
            external(lab, "folder/../../secret.bin");
        },
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "CVE-2024-27319, GHSA-h8wv-9h96-m4hr",
        about: "messages longer than their buffer",
        prepare: |lab| {
            let long = "x".repeat(70_000);
            network(lab, changed(one(&long, &[], &[]), |g| g.node[0].name = Some(long.clone())));
        },
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "CVE-2024-5187, GHSA-6rq9-53c3-f7vj",
        about: "an archive whose members are written out of the folder; spgraph unpacks none, also not arrays",
        prepare: |lab| {
            let mut file = std::fs::File::create(lab.join("evil.npz")).unwrap();
            file.write_all(&zip("../victim.txt", b"overwritten")).unwrap();
        },
        commands: &["data evil.npz", "finetune @b --data evil.npz --steps 1 --engine tract -o out", "runtime install --from evil.npz"],
        end: Refused,
    },
    Row {
        number: "CVE-2024-7776",
        about: "the same with a tar archive in the place of a model",
        prepare: |lab| std::fs::write(lab.join("evil.onnx"), tar("../victim.txt", b"overwritten")).unwrap(),
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "CVE-2025-51480",
        about: "external data are written where a model says",
        prepare: |lab| external(lab, "../victim.txt"),
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "VA-26-233-01",
        about: "external data are written through a link that lies in the output folder",
        prepare: |lab| {
            ok(&mut command(lab, &words("rewrite @m.onnx --external-data -o out", shared())));
            std::fs::remove_file(lab.join("out/weights.bin")).unwrap();
            symlink("../../victim.txt", lab.join("out/weights.bin")).unwrap();
        },
        commands: &["rewrite @m.onnx --external-data --force -o out"],
        end: Harmless,
    },
    Row {
        number: "CVE-2026-27489, GHSA-3r9x-f23j-gc73",
        about: "external data by a link",
        prepare: |lab| {
            symlink("../secret.bin", lab.join("data.bin")).unwrap();
            external(lab, "data.bin");
        },
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "CVE-2026-34447, GHSA-p433-9wv8-28xj",
        about: "external data by a linked folder",
        prepare: |lab| {
            symlink("..", lab.join("up")).unwrap();
            external(lab, "up/secret.bin");
        },
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "CVE-2026-27489, whose mending is said to miss it",
        about: "a link to the root, and a model in the current folder, which has no folder in its name",
        prepare: |lab| {
            symlink("/", lab.join("root")).unwrap();
            let secret = lab.parent().unwrap().join("secret.bin");
            external(lab, &format!("root{}", secret.display()));
        },
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "CVE-2026-34446, GHSA-cmw6-hcpp-c6jp",
        about: "external data by a hard link",
        prepare: |lab| {
            std::fs::hard_link(lab.join("../secret.bin"), lab.join("data.bin")).unwrap();
            external(lab, "data.bin");
        },
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "CVE-2026-34445, GHSA-538c-55jv-c5g9",
        about: "keys of external data that are a program's own names",
        prepare: |lab| {
            std::fs::copy(fixture("external.weights"), lab.join("external.weights")).unwrap();
            copy_with(&fixture("external.onnx"), &lab.join("evil.onnx"), |tensor| {
                if tensor.external_data.is_empty() {
                    return;
                }
                for key in ["__class__", "__dict__", "basepath", "location ", "Length", "self"] {
                    let entry = pb::StringStringEntryProto { key: Some(key.into()), value: Some("99999999999999999999".into()) };
                    tensor.external_data.push(entry);
                }
            });
        },
        commands: &["inspect evil.onnx", "rewrite evil.onnx -o out"],
        end: Harmless,
    },
    Row {
        number: "CVE-2026-34445, GHSA-538c-55jv-c5g9: lengths",
        about: "a length that would take all memory",
        prepare: |lab| {
            std::fs::copy(fixture("external.weights"), lab.join("external.weights")).unwrap();
            write(&lab.join("evil.onnx"), &("external.weights".into(), "0".into(), "9000000000000".into()));
        },
        commands: READERS,
        end: Refused,
    },
    Row {
        number: "CVE-2026-28500",
        about: "models of a foreign place are loaded without asking; spgraph loads from files alone",
        prepare: |_| {},
        commands: &["inspect https://example.org/evil.onnx", "rewrite https://example.org/evil.onnx -o out", "inspect file:///etc/passwd"],
        end: Refused,
    },
    Row {
        number: "CVE-2026-44512, GHSA-hwpq-hmq9-wj77",
        about: "Upsample of an old opset without inputs",
        prepare: |lab| {
            let scale = |name: &str| onnx::attributes::attr_float(name, 2.0);
            let mut model = changed(one("Upsample", &[], &[scale("width_scale"), scale("height_scale")]), |g| g.node[0].input.clear());
            model.opset_import[0].version = Some(6);
            network(lab, model);
        },
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "onnx 1.22.0, the adapter of Gemm",
        about: "Gemm of an old opset with a vector",
        prepare: |lab| {
            let mut model = one("Gemm", &[floats("w", &[3]), floats("b", &[3])], &[]);
            model.opset_import[0].version = Some(7);
            network(lab, model);
        },
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "onnx 1.22.0, the adapter of Cast",
        about: "Cast without inputs",
        prepare: |lab| network(lab, changed(one("Cast", &[], &[attr_int("to", 1)]), |g| g.node[0].input.clear())),
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "convPoolShapeInference: strides",
        about: "fewer strides than the window has dimensions",
        prepare: |lab| network(lab, one("Conv", &[floats("k", &[3, 3, 3, 3])], &[attr_ints("strides", [1])])),
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "convPoolShapeInference: zero",
        about: "strides of zero",
        prepare: |lab| network(lab, one("Conv", &[floats("k", &[3, 3, 3, 3])], &[attr_ints("strides", [0, 1])])),
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "convPoolShapeInference: a pool's zero",
        about: "strides of zero in a pooling",
        prepare: |lab| network(lab, one("AveragePool", &[], &[attr_ints("kernel_shape", [2, 2]), attr_ints("strides", [0, 1])])),
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "onnx #8036, ONNX Runtime #28731",
        about: "a kernel of more dimensions than the image, dilations for the image's",
        prepare: |lab| {
            network(lab, one("Conv", &[floats("k", &[3, 3, 3, 3, 3, 3])], &[attr_ints("dilations", [1, 1])]));
        },
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "DepthToSpace",
        about: "a block whose square overflows",
        prepare: |lab| network(lab, one("DepthToSpace", &[], &[attr_int("blocksize", 1 << 32)])),
        commands: NETWORKS,
        end: Refused,
    },
    Row {
        number: "TraverseGraphsToAddExistingSymbols",
        about: "branches nested so deep that a stack ends",
        prepare: |lab| network(lab, nested(40)),
        commands: NETWORKS,
        end: Refused,
    },
];

/// A zip archive of one member that is stored as it is.
fn zip(name: &str, data: &[u8]) -> Vec<u8> {
    let crc = crate::bad_inputs::crc(data).to_le_bytes();
    let size = (data.len() as u32).to_le_bytes();
    let length = (name.len() as u16).to_le_bytes();
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &crc, &size, &size, &length, &[0, 0]].concat();
    let local = [&b"PK\x03\x04"[..], &common, name.as_bytes(), data].concat();
    let central = [&b"PK\x01\x02\x14\x00"[..], &common, &[0; 14], name.as_bytes()].concat();
    let (place, sized) = ((local.len() as u32).to_le_bytes(), (central.len() as u32).to_le_bytes());
    [&local[..], &central, b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &sized, &place, &[0, 0]].concat()
}

/// Whether anything that was written holds a part of the secret.
fn leaks(tree: &Tree) -> bool {
    let secret = secret();
    let part = &secret[1000..1064];
    tree.values().any(|data| data.windows(part.len()).any(|w| w == part))
}

#[test]
fn what_the_onnx_project_warned_of_is_refused_or_harmless() {
    let (mut wrong, mut count) = (vec![], 0);
    for row in ROWS {
        for line in row.commands {
            let outer = scratch("advisory");
            let lab = outer.path().join("here");
            std::fs::create_dir(&lab).unwrap();
            std::fs::write(outer.path().join("secret.bin"), secret()).unwrap();
            std::fs::write(outer.path().join("victim.txt"), "as it was").unwrap();
            (row.prepare)(&lab);
            let before: Vec<_> = content(&lab).into_keys().filter(|name| !name.starts_with("out")).collect();
            let found = measured(&mut command(&lab, &words(line, shared())));
            count += 1;
            let mut complain = |why: &str| {
                wrong.push(format!(
                    "{} ({}): `{line}`: {why}: exit {:?}, {:.2} s: {}",
                    row.number, row.about, found.code, found.seconds, found.err
                ));
            };
            match row.end {
                Refused if !matches!(found.code, Some(1 | 2)) || found.err.matches("error: ").count() != 1 => complain("it is not refused"),
                Harmless if found.code != Some(0) => complain("it is not done"),
                _ => {}
            }
            if found.err.contains("panicked") || found.seconds > 2.0 || found.memory > 512 << 20 {
                complain("it takes harm");
            }
            let after = content(&lab);
            let left: Vec<_> = after.keys().filter(|name| !name.starts_with("out")).cloned().collect();
            if left != before || row.end == Refused && after.keys().any(|name| name.starts_with("out") || name.starts_with("out.onnx")) {
                complain("it leaves something");
            }
            if leaks(&after.into_iter().filter(|(name, _)| name.starts_with("out") || name.starts_with("out.onnx")).collect()) {
                complain("the secret got out");
            }
            if std::fs::read(outer.path().join("victim.txt")).unwrap() != b"as it was"
                || std::fs::read(outer.path().join("secret.bin")).unwrap() != secret()
            {
                complain("a file elsewhere was written");
            }
        }
    }
    println!("{} advisories, {count} commands, {} wrong", ROWS.len(), wrong.len());
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}

#[test]
fn without_the_attack_the_same_is_taken() {
    let lab = scratch("advisory");
    let lab = lab.path();
    std::fs::write(lab.join("data.bin"), secret()).unwrap();
    external(lab, "data.bin");
    ok(&mut command(lab, &words("rewrite evil.onnx -o out", shared())));
    assert!(leaks(&content(&lab.join("out"))), "a leak would not be seen");
    let kernel = [floats("k", &[3, 3, 3, 3])];
    let strides = [attr_ints("strides", [1, 1])];
    let pool = [attr_ints("kernel_shape", [2, 2]), attr_ints("strides", [1, 1])];
    for model in [one("Conv", &kernel, &strides), one("AveragePool", &[], &pool)] {
        network(lab, model);
        for line in NETWORKS {
            ok(&mut command(lab, &words(&line.replace("-o out", "--force -o out"), shared())));
        }
    }
}
