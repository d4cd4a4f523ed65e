//! The harness finds programs that write in a wrong way, and lets a right one pass.

use crate::judge::Trial;
use crate::points;
use crate::scenario::{Next, Scenario};
use std::path::Path;
use std::process::Command;

fn shell(lab: &Path, args: &[String]) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(args.join(" ")).current_dir(lab);
    command
}

/// What is said of a script that replaces `out` by `m.onnx`.
fn judged(script: &'static str) -> Vec<String> {
    let scenario = Scenario { name: "a script", before: &["echo old > out"], command: script, next: Next::Same };
    let trial = Trial::of(&scenario, shell);
    assert!(trial.calls.len() > 3, "{:?}", trial.calls);
    points(&trial).into_iter().filter_map(|(at, fault)| trial.judge(at, fault).err()).collect()
}

#[test]
fn a_wrong_writer_is_caught() {
    for (script, why) in [
        ("cat @m.onnx > out", "neither the old one nor the new"),
        ("m=$({ cat @m.onnx > new && mv new out ; } 2>&1) || { echo error: $m >&2 ; exit 1 ; }", "it leaves [\"new\"]"),
        ("cat @m.onnx > new ; mv new out", "neither the old one nor the new"),
        ("cat @m.onnx > new && mv new out ; rm -f new ; exit 0", "it says that all went well"),
        ("m=$(cat @m.onnx 2>&1 > new && mv new out 2>&1) || { rm -f new ; echo error: $m >&2 ; exit 7 ; }", "it ends with Some(7)"),
        ("cat @m.onnx > new 2> /dev/null && mv new out 2> /dev/null || { rm -f new ; echo error: out >&2 ; exit 1 ; }", "does not say why"),
        ("test ! -e new && cat @m.onnx > new && mv new out", "the next start"),
    ] {
        let wrong = judged(script);
        assert!(wrong.iter().any(|w| w.contains(why)), "`{script}` is not found to be wrong by `{why}`: {wrong:#?}");
    }
}

#[test]
fn a_right_writer_passes() {
    let wrong = judged("m=$({ cat @m.onnx > new && mv new out ; } 2>&1) || { rm -f new ; echo error: $m >&2 ; exit 1 ; }");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
