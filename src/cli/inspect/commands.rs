//! The verdict in words, and what to type next: exact, with what the model at hand needs.

use crate::cli::flags::flag;
use crate::cli::output;
use crate::cli::rewrite::named_after;
use serde::Serialize;
use spgraph::Field;
use spgraph::bundle::{HeadOption, Options};
use spgraph::report::{BundleInspection, Inspection, RunInspection, Verdict};
use spgraph::shell::word;
use spgraph::train::Status;
use std::path::Path;

/// Commands, with what they are for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Commands(Vec<Next>);

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Next {
    /// Can be typed, but for words in capitals.
    command: String,
    what: String,
}

/// What the options of a rewriting are on the command line, as far as a verdict chooses them.
fn flags(options: &Options) -> String {
    let mut flags = String::new();
    if options.head == HeadOption::Keep {
        flags.push_str(&format!(" {}", flag(Field::KEEP_HEAD)));
    }
    if options.add_head {
        flags.push_str(&format!(" {}", flag(Field::ADD_HEAD)));
    }
    if let Some(loss) = &options.loss {
        flags.push_str(&format!(" {} {loss}", flag(Field::LOSS)));
    }
    if let Some(shape) = &options.input_shape {
        let sizes = shape.iter().map(|n| n.to_string()).collect::<Vec<_>>().join("x");
        flags.push_str(&format!(" {} {sizes}", flag(Field::INPUT_SHAPE)));
    }
    flags
}

impl Commands {
    fn new(list: impl IntoIterator<Item = (String, &'static str)>) -> Commands {
        Commands(list.into_iter().map(|(command, what)| Next { command, what: what.into() }).collect())
    }

    /// For a model.
    pub fn of_model(found: &Inspection, path: &Path) -> Commands {
        let Some(options) = found.verdict.options.as_ref().filter(|_| found.verdict.possible) else { return Commands(vec![]) };
        let (model, flags) = (word(path), flags(options));
        let classes = if options.head == HeadOption::Keep { "" } else { " --classes N" };
        let bundle = named_after(path, "bundle").unwrap_or_default();
        let bundle = word(&bundle);
        let train =
            (format!("spgraph finetune {model} --data FOLDER{flags}"), "trains it on FOLDER, with a sub-folder per class, and exports it");
        let rewrite = (format!("spgraph rewrite {model}{classes}{flags} -o {bundle}"), "makes the training graph alone");
        Commands::new(if found.verdict.images { vec![train, rewrite] } else { vec![rewrite] })
    }

    /// For a bundle.
    pub fn of_bundle(found: &BundleInspection) -> Commands {
        let bundle = word(&found.path);
        Commands::new(match found.verdict.possible {
            true => vec![
                (format!("spgraph finetune {bundle} --data FOLDER --epochs 10 -o RUN"), "trains it on FOLDER, with a sub-folder per class"),
                (format!("spgraph inspect {bundle} --memory"), "what takes the memory"),
            ],
            false => vec![(format!("spgraph rewrite {} -o {bundle} --force", word(&found.source.file)), "makes it again")],
        })
    }

    /// For a run.
    pub fn of_run(found: &RunInspection) -> Commands {
        let run = word(&found.path);
        let mut list = vec![];
        if found.resumable {
            list.push((format!("spgraph finetune --resume -o {run}"), "goes on from the checkpoint"));
        }
        if found.verdict.possible {
            let there = |name: &str| found.files.iter().any(|f| f.name.starts_with(name) && f.problem.is_none());
            let state = match found.status {
                Status::Complete => "",
                _ if there("state.") => "",
                _ if there("checkpoint.") => " --state checkpoint",
                _ => " --state best",
            };
            list.push((format!("spgraph eval {run} --data FOLDER{state}"), "measures it"));
            list.push((format!("spgraph export {run} -o tuned.onnx{state}"), "writes the tuned network"));
        }
        if found.verdict.possible && found.best.is_some() && found.files.iter().any(|f| f.name.starts_with("best.")) {
            list.push((format!("spgraph export {run} -o best.onnx --state best"), "the one that was best by validation"));
        }
        Commands::new(list)
    }

    /// The verdict and the commands; `what` is as in "can be trained".
    pub fn text(&self, verdict: &Verdict, what: &str) -> String {
        let (answer, can) = if verdict.possible { ("yes", "can") } else { ("no", "cannot") };
        let mut text = format!("verdict     {answer}, it {can} {what}\n");
        for reason in &verdict.reasons {
            text.push_str(&format!("            {}\n", reason.replace('\n', "\n            ")));
        }
        for note in &verdict.notes {
            text.push_str(&format!("note        {note}\n"));
        }
        if let Some(memory) = &verdict.memory {
            let images = if memory.batch == 1 { "image" } else { "images" };
            text.push_str(&format!("memory      {} predicted for a step of {} {images}\n", output::size(memory.peak_bytes), memory.batch));
        }
        for (i, next) in self.0.iter().enumerate() {
            let head = if i == 0 { "next        " } else { "            " };
            text.push_str(&format!("{head}{}\n                {}\n", next.command, next.what));
        }
        text
    }
}
