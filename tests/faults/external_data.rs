//! Models whose external data lie elsewhere than in a plain file of their own folder, or not where they say: every one is refused by every command, and
//! nothing of what they point to is read into anything.

use crate::measure::measured;
use crate::models::copy_with;
use crate::scenario::{binary, content, scratch, shared, words};
use spgraph::onnx::pb;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// Where the data are said to be: location, offset, length; an empty text leaves the field away.
pub type Place = (String, String, String);

pub fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn traps(outer: &Path) -> Vec<Place> {
    let outside = outer.join("outside.bin").display().to_string();
    let inside = outer.join("sub/good.bin").display().to_string();
    let long = "a/".repeat(3000) + "b";
    let locations = [
        // Out of the folder, by a path.
        "../outside.bin",
        "../sub/good.bin",
        "./../outside.bin",
        "deeper/../../outside.bin",
        "deeper/../../sub/good.bin",
        "../../../../../../etc/passwd",
        "..",
        "../",
        "./..",
        "deeper/../..",
        // By an absolute path, or one of another system.
        &outside,
        &inside,
        "/etc/passwd",
        "//etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/mem",
        "/proc/self/environ",
        "/proc/self/fd/0",
        "file:///etc/passwd",
        "~/outside.bin",
        "$HOME/outside.bin",
        "C:\\outside.bin",
        "\\\\host\\outside.bin",
        "..\\outside.bin",
        // By links.
        "link.bin",
        "inside_link.bin",
        "up/outside.bin",
        "up/sub/good.bin",
        "chain.bin",
        "loop.bin",
        "dangling.bin",
        "device.bin",
        "self/good.bin",
        // By another name of the same file.
        "hard.bin",
        "twin.bin",
        // What is no file.
        "deeper",
        "deeper/",
        ".",
        "pipe",
        "socket",
        "good.bin/",
        "good.bin/x",
        "good.bin/.",
        // What is not there.
        "gone.bin",
        "deeper/gone.bin",
        "GOOD.BIN",
        "good.bin ",
        " good.bin",
        "good.bin\0",
        "good.bin\0.txt",
        "\0",
        &long,
    ];
    let numbers = [
        "-1",
        "-9223372036854775808",
        "9223372036854775807",
        "18446744073709551615",
        "18446744073709551616",
        "1e3",
        "abc",
        "0x10",
        "1.5",
        "99999999",
    ];
    let place = |location: &str, offset: &str, length: &str| (location.to_string(), offset.to_string(), length.to_string());
    let by_location = locations.iter().map(|location| place(location, "", ""));
    let by_offset = numbers.iter().map(|offset| place("good.bin", offset, ""));
    let by_length = numbers.iter().map(|length| place("good.bin", "", length));
    let both = [("9223372036854775807", "9223372036854775807"), ("18446744073709551615", "2"), ("4", "18446744073709551612")];
    let by_both = both.iter().map(|(offset, length)| place("good.bin", offset, length));
    by_location.chain(by_offset).chain(by_length).chain(by_both).collect()
}

pub fn write(to: &Path, (location, offset, length): &Place) {
    copy_with(&fixture("external.onnx"), to, |tensor| {
        let entry = |key: &str, value: &str| pb::StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
        if tensor.external_data.is_empty() {
            return;
        }
        let given = [("location", location), ("offset", offset), ("length", length)];
        for (key, value) in given.into_iter().filter(|(_, value)| !value.is_empty()) {
            tensor.external_data.retain(|e| e.key() != key);
            tensor.external_data.push(entry(key, value));
        }
    });
}

#[test]
fn every_trap_is_refused_by_every_command() {
    let lab = scratch("traps");
    let at = |name: &str| lab.path().join(name);
    std::fs::create_dir_all(at("sub/deeper")).unwrap();
    let weights = std::fs::read(fixture("external.weights")).unwrap();
    for name in ["outside.bin", "sub/good.bin", "sub/plain.bin", "sub/first.bin"] {
        std::fs::write(at(name), &weights).unwrap();
    }
    std::fs::hard_link(at("outside.bin"), at("sub/hard.bin")).unwrap();
    std::fs::hard_link(at("sub/first.bin"), at("sub/twin.bin")).unwrap();
    for (to, name) in [
        ("../outside.bin", "link.bin"),
        ("good.bin", "inside_link.bin"),
        ("..", "up"),
        (".", "self"),
        ("link.bin", "chain.bin"),
        ("loop.bin", "loop.bin"),
        ("nowhere", "dangling.bin"),
        ("/dev/zero", "device.bin"),
    ] {
        symlink(to, at("sub").join(name)).unwrap();
    }
    rustix::fs::mkfifoat(rustix::fs::CWD, at("sub/pipe"), rustix::fs::Mode::RWXU).unwrap();
    let _socket = UnixListener::bind(at("sub/socket")).unwrap();
    let run = |line: &str| {
        let mut command = Command::new(binary());
        command.args(words(line, shared())).current_dir(lab.path());
        measured(&mut command)
    };
    let traps = traps(lab.path());
    assert!(traps.len() >= 46, "{}", traps.len());
    let commands = |model: &str| {
        [
            format!("inspect {model}"),
            format!("rewrite {model} -o out"),
            format!("predict {model} @images/plaid/plaid-s0-00000.png --engine tract"),
        ]
    };
    let mut wrong = vec![];
    for (number, trap) in traps.iter().enumerate() {
        let model = format!("sub/trap{number}.onnx");
        write(&at(&model), trap);
        for line in commands(&model) {
            let found = run(&line);
            let left = at("out").exists();
            if found.code != Some(1)
                || found.err.matches("error: ").count() != 1
                || found.err.contains("panicked")
                || found.seconds > 1.0
                || left
            {
                wrong.push(format!("{trap:?}: `{line}`: {:?}, {:.2} s, out {left}: {}", found.code, found.seconds, found.err));
            }
        }
        std::fs::remove_file(at(&model)).unwrap();
    }
    println!("{} traps, {} wrong", traps.len(), wrong.len());
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    // And where nothing is wrong, all is accepted, and nothing else has been written.
    write(&at("sub/model.onnx"), &("plain.bin".into(), String::new(), String::new()));
    assert_eq!(run("rewrite sub/model.onnx -o out").code, Some(0));
    assert!(content(&at("out")).len() > 3);
}
