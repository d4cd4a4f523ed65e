//! What the command line says about itself: help, examples that run, suggestions, completions, man pages; and how much it says.

use crate::support::{Lab, Outcome, shared};

fn commands(lab: &Lab) -> Vec<String> {
    let help = lab.run(&["--help"]).ok();
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names =
        list.lines().filter(|l| l.starts_with("  ") && !l.starts_with("   ")).map(|l| l.split_whitespace().next().unwrap().to_string());
    names.filter(|n| n != "help").collect()
}

/// The lines under "Examples:" of a command's help.
fn examples(lab: &Lab, command: &str) -> Vec<String> {
    let help = lab.run(&[command, "--help"]).ok();
    let list = help.split("Examples:\n").nth(1).unwrap_or_else(|| panic!("{command} has no examples: {help}"));
    list.split("\n\n")
        .next()
        .unwrap()
        .lines()
        .filter_map(|l| l.strip_prefix("  "))
        .filter(|l| !l.starts_with(' '))
        .map(String::from)
        .collect()
}

/// A study of two cells.
const STUDY: &str = r#"
title = "two cells"
methods = [["none"]]
sources.net = { model = "model.onnx", test = { folder = "photos", per-class = 1 } }
targets.shapes = { images = { synthetic = "target-a", per-class = 3, seed = 2 }, test-per-class = 1, validation-per-class = 1 }
pairs = [{ source = "net", target = "shapes", images = [1], select-with = 1 }]
training = { steps = 1, batch = 2, seeds = [0] }
selection = { rates = [0.01], betas = [0.01], seeds = [100] }
"#;

/// Every example of every command runs as it is printed, one after another in one folder.
#[test]
fn every_example_runs() {
    let lab = Lab::new();
    let copy = |from: &str, to: &str| {
        let done = std::process::Command::new("cp").args(["-r", from]).arg(lab.path(to)).status().unwrap();
        assert!(done.success());
    };
    copy(&shared().model, "model.onnx");
    copy(&shared().images, "photos");
    copy(&shared().images, "test");
    lab.write("study.toml", STUDY);
    let photo = std::fs::read_dir(format!("{}/plaid", shared().images)).unwrap().next().unwrap().unwrap().path();
    copy(photo.to_str().unwrap(), "bird.jpg");
    let path = format!("{}:{}", std::path::Path::new(crate::support::BINARY).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut run = 0;
    // What takes a run comes after what makes it.
    let all: Vec<String> = commands(&lab).iter().flat_map(|command| examples(&lab, command)).collect();
    let (late, first): (Vec<String>, Vec<String>) = all.into_iter().partition(|line| line.starts_with("spgraph convert birds --"));
    for line in first.iter().chain(&late) {
        assert!(line.starts_with("spgraph "), "{line}");
        // The one that needs a network, and the one that needs a pager.
        if line.contains("runtime install") || line.contains("man -l") {
            continue;
        }
        let mut shell = std::process::Command::new("sh");
        shell.args(["-ec", line]).current_dir(lab.0.path()).env("PATH", &path);
        let outcome = Outcome::of(shell.output().unwrap());
        assert_eq!(outcome.code, 0, "{line}: {}", outcome.err);
        run += 1;
    }
    assert!(run >= 20, "{run} examples");
}

fn tip(lab: &Lab, args: &[&str], meant: &str) {
    let before = lab.files();
    let found = lab.run(args);
    assert_eq!((found.code, found.out.as_str()), (2, ""), "{args:?}");
    assert!(found.err.contains(meant), "{args:?}: no `{meant}` in {}", found.err);
    assert_eq!(lab.files(), before, "{args:?}");
}

#[test]
fn words_of_other_tools_get_the_right_command() {
    let lab = Lab::new();
    for (word, meant) in [
        ("train", "'finetune'"),
        ("fit", "'finetune'"),
        ("fine-tune", "'finetune'"),
        ("finetune-model", "'finetune'"),
        ("fintune", "'finetune'"),
        ("val", "'eval'"),
        ("test", "'eval'"),
        ("validate", "'eval'"),
        ("evaluate", "'eval'"),
        ("conevrt", "'convert'"),
        ("rewriet", "'rewrite'"),
        ("classify", "'predict'"),
        ("info", "'inspect'"),
        ("exprot", "'export'"),
        ("completion", "'completions'"),
        ("version", "'--version'"),
        ("Version", "'--version'"),
    ] {
        tip(&lab, &[word], meant);
        tip(&lab, &[word, "x", "--data", "y"], meant);
    }
    // Somebody who gives a file alone wants to know what it is.
    lab.write("m.onnx", b"x");
    tip(&lab, &["m.onnx"], "spgraph inspect m.onnx");
    let lost = lab.run(&["banana"]);
    assert!(lost.code == 2 && !lost.err.contains("tip:"), "{}", lost.err);
}

#[test]
fn options_get_the_right_name() {
    let lab = Lab::new();
    let model = shared().model.as_str();
    for (command, option, meant) in [
        ("finetune", "--learning-rate", "'--lr'"),
        ("finetune", "--learning_rate", "'--lr'"),
        ("finetune", "--batch-size", "'--batch'"),
        ("finetune", "--num_train_epochs", "'--epochs'"),
        ("finetune", "--epoch", "'--epochs'"),
        ("finetune", "--epcohs", "'--epochs'"),
        ("finetune", "-epochs", "'--epochs'"),
        ("finetune", "--val_split", "'--val-split'"),
        ("finetune", "--overwrite", "'--force'"),
        ("finetune", "--num-workers", "'--workers'"),
        ("finetune", "--output-dir", "'--output'"),
        ("rewrite", "--batch_norm", "'--batch-norm'"),
        ("rewrite", "--num-classes", "'--classes'"),
        ("rewrite", "--momentun", "'--momentum'"),
        ("rewrite", "--val-split", "'spgraph finetune'"),
        ("eval", "--silent", "'--quiet'"),
    ] {
        tip(&lab, &[command, model, option, "5"], meant);
    }
    tip(&lab, &["finetune", model, "epochs=5"], "'--epochs'");
}

#[test]
fn values_get_the_right_name() {
    let lab = Lab::new();
    let model = shared().model.as_str();
    for (option, value, meant) in [
        ("--penalty", "l2sp", "`l2-sp`"),
        ("--penalty", "l2_sp", "`l2-sp`"),
        ("--penalty", "L2-SP", "`l2-sp`"),
        ("--penalty", "ewc", "`l2-sp-fisher`"),
        ("--penalty", "weight-decay", "`l2`"),
        ("--regularizer", "dleta", "`delta`"),
        ("--optimizer", "Adam", "'adamw'"),
        ("--optimizer", "sdg", "'sgd'"),
        ("--loss", "ce", "'cross-entropy'"),
        ("--loss", "CrossEntropyLoss", "'cross-entropy'"),
        ("--batch-norm", "frosen", "'frozen'"),
    ] {
        tip(&lab, &["rewrite", model, option, value, "-o", "b"], meant);
    }
    for (option, value, meant) in [
        ("--schedule", "cos", "`cosine`"),
        ("--schedule", "StepLR", "`step`"),
        ("--engine", "onnxruntime", "'ort'"),
        ("--device", "gpu", "`cuda`"),
    ] {
        tip(&lab, &["finetune", shared().bundle.as_str(), "--data", "x", "-o", "r", option, value], meant);
    }
}

#[test]
fn help_is_short_or_long_and_without_colours_in_a_pipe() {
    let lab = Lab::new();
    for command in commands(&lab) {
        let (short, long) = (lab.run(&[&command, "-h"]).ok(), lab.run(&[&command, "--help"]).ok());
        assert!(short.len() <= long.len(), "{command}");
        assert!(!(short + &long).contains('\x1b'), "{command}");
    }
    let (short, long) = (lab.run(&["rewrite", "-h"]).ok(), lab.run(&["rewrite", "--help"]).ok());
    assert!(short.lines().count() < 80 && !short.contains("--dialect") && short.contains("spgraph rewrite --help"), "{short}");
    assert!(long.contains("--dialect") && long.contains("\nPenalty:\n") && long.contains("\nOptimizer:\n"), "{long}");
    // Alone it prints the short help.
    let alone = lab.run(&[]);
    assert!(alone.code == 2 && alone.err.contains("Usage: spgraph") && alone.err.contains("A first run:"), "{}", alone.err);
}

#[test]
fn bash_completes_commands_options_and_values() {
    let lab = Lab::new();
    lab.write("spgraph.bash", lab.run(&["completions", "bash"]).ok());
    let complete = |words: &str, current: &str| {
        let all = format!("{words} {current}");
        let count = all.split(' ').count() - 1;
        let script = format!(
            "source ./spgraph.bash; COMP_WORDS=({words} '{current}'); COMP_CWORD={count}; _spgraph spgraph '{current}' '{}'; echo ${{COMPREPLY[@]}}",
            words.rsplit(' ').next().unwrap()
        );
        let done = std::process::Command::new("bash").args(["-c", &script]).current_dir(lab.0.path()).output().unwrap();
        Outcome::of(done).ok().trim().to_string()
    };
    assert_eq!(complete("spgraph", "fine"), "finetune");
    assert_eq!(complete("spgraph rewrite", "--batch-n"), "--batch-norm");
    assert_eq!(complete("spgraph rewrite --batch-norm", "fr"), "frozen");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let text = lab.run(&["completions", shell]).ok();
        assert!(text.contains("finetune") && text.contains("batch-norm"), "{shell}");
    }
    tip(&lab, &["completions", "tcsh"], "bash");
}

#[test]
fn man_pages_for_every_command() {
    let lab = Lab::new();
    let main = lab.run(&["man"]).ok();
    assert!(main.starts_with(".ie") || main.contains(".TH"), "{main}");
    lab.run(&["man", "pages"]).ok();
    // Again, over those that are there.
    let said = lab.run(&["man", "pages"]).ok();
    let names = crate::support::names(&lab.path("pages"));
    let expected = commands(&lab).iter().map(|c| format!("spgraph-{c}.1")).chain(["spgraph.1".into()]).collect::<Vec<_>>();
    assert!(expected.iter().all(|name| names.contains(name)), "{names:?}");
    assert!(said.contains(&format!("{} pages", names.len())), "{said}");
    let page = std::fs::read_to_string(lab.path("pages/spgraph-rewrite.1")).unwrap();
    assert!(page.contains("spgraph rewrite") && page.contains("\\-\\-batch\\-norm") && page.contains("Examples"), "{page}");
    lab.write("file", b"x");
    lab.refuses(&["man", "file"], 1, &["file"]);
}

#[test]
fn quiet_prints_results_alone() {
    let lab = Lab::new();
    let (model, images) = (shared().model.as_str(), shared().images.as_str());
    let quiet = |args: &[&str]| {
        let found = lab.run(args);
        assert_eq!((found.code, found.err.as_str()), (0, ""), "{args:?}");
        found.out
    };
    assert_eq!(quiet(&["rewrite", model, "--batch", "4", "-o", "b", "-q"]), "b\n");
    assert_eq!(quiet(&["-q", "finetune", "b", "--data", images, "--steps", "2", "-o", "r"]), "r\n");
    assert_eq!(quiet(&["export", "r", "-o", "t.onnx", "--quiet"]), "t.onnx\n");
    assert_eq!(quiet(&["new", "resnet20", "--classes", "2", "-o", "n.onnx", "-q"]), "n.onnx\n");
    assert!(quiet(&["eval", model, "--data", images, "-q"]).contains("accuracy"));
    lab.refuses(&["export", "nowhere", "-o", "x", "-q"], 1, &["nowhere does not exist"]);
    // Progress can be had or left everywhere.
    for log in ["auto", "bar", "lines", "none"] {
        lab.run(&["eval", model, "--data", images, "--log", log]).ok();
    }
    let lines = lab.run(&["finetune", "b", "--data", images, "--steps", "2", "-o", "j", "--log", "jsonl", "-q"]).ok();
    assert!(lines.lines().count() >= 2 && lines.lines().all(|l| l.starts_with('{')), "{lines}");
}
