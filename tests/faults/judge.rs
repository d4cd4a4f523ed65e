//! What is demanded after a fault: old content or new, a message, nothing left behind, and that the next start brings the undisturbed end.

use crate::scenario::{Next, Scenario, Tree, command, content, copy, difference, ok, scratch, shared, words};
use crate::supervisor::{Call, Fault, Outcome, Plan, run};
use spgraph::storage::run_folder::RECORD;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A scenario with its undisturbed course.
pub struct Trial {
    scenario: Scenario,
    program: fn(&Path, &[String]) -> Command,
    args: Vec<String>,
    before: TempDir,
    old: Tree,
    new: Tree,
    /// Counted calls of the undisturbed course.
    pub calls: Vec<Call>,
}

impl Trial {
    pub fn new(scenario: &Scenario) -> Trial {
        Trial::of(scenario, command)
    }

    /// Of another program than spgraph.
    pub fn of(scenario: &Scenario, program: fn(&Path, &[String]) -> Command) -> Trial {
        let (shared, before) = (shared(), scratch("lab"));
        for line in scenario.before {
            match *line {
                "HALF" => half(before.path()),
                line => ok(&mut program(before.path(), &words(line, shared))),
            }
        }
        let args = words(scenario.command, shared);
        let old = content(before.path());
        let mut trial = Trial { scenario: scenario.clone(), program, args, before, old, new: Tree::new(), calls: vec![] };
        let lab = trial.lab();
        let undisturbed = trial.start(lab.path(), &trial.args, None);
        assert_eq!(undisturbed.code, Some(0), "{}: {}", scenario.name, undisturbed.err);
        (trial.new, trial.calls) = (content(lab.path()), undisturbed.calls);
        trial
    }

    fn lab(&self) -> TempDir {
        let lab = scratch("lab");
        copy(self.before.path(), lab.path());
        lab
    }

    fn start(&self, lab: &Path, args: &[String], plan: Plan) -> Outcome {
        run((self.program)(lab, args), &[lab, shared()], plan).unwrap()
    }

    /// One disturbed course and its judgement: the call that was hit, or `None` where there was none of that number; why it is wrong.
    pub fn judge(&self, at: usize, fault: Fault) -> Result<Option<Call>, String> {
        let lab = self.lab();
        let outcome = self.start(lab.path(), &self.args, Some((at, fault)));
        let Some((hit, fault)) = outcome.hit.clone() else { return Ok(None) };
        let wrong = |why: String| {
            let Call { name, path, .. } = &hit;
            Err(format!("{} with {fault:?} at call {at}, {name} of {}: {why}\n{}", self.scenario.name, path.display(), said(&outcome.err)))
        };
        if let Err(why) = self.writes_the_page(lab.path(), &outcome) {
            return wrong(why);
        }
        let found = content(lab.path());
        // What could not be removed stays until the next start, and so does a run that was replaced of which cannot be read that it is that one.
        let of_replaced =
            hit.path.parent().is_some_and(|run| run.extension().is_some_and(|e| e == "replaced")) && hit.path.ends_with(RECORD);
        let removal = of_replaced
            || matches!(hit.name, "unlink" | "unlinkat" | "rmdir" | "getdents64")
            || (hit.name.starts_with("open") && hit.path.is_dir());
        if fault != Fault::Kill {
            if let Err(why) = self.says(&outcome, &hit, fault) {
                return wrong(why);
            }
            let strange: Vec<_> = found.keys().filter(|k| !self.known(k)).collect();
            if !strange.is_empty() && !removal {
                return wrong(format!("it leaves {strange:?}"));
            }
        }
        if let Err(why) = self.old_or_new(&found, fault == Fault::Kill || removal) {
            return wrong(why);
        }
        if outcome.code == Some(0)
            && !removal
            && !matches!(self.scenario.next, Next::Resume(_))
            && let Some(why) = self.unlike_the_end(&found)
        {
            return wrong(format!("it says that all went well, but {why}"));
        }
        if let Err(why) = self.next(lab.path(), &found) {
            return wrong(format!("the next start: {why}"));
        }
        Ok(Some(hit))
    }

    /// A run is complete without its page, which is no reason to call it failed: then that is said, with the command that writes it.
    fn writes_the_page(&self, lab: &Path, outcome: &Outcome) -> Result<(), String> {
        let Some((_, why)) = outcome.err.split_once("the run is complete, but its page is not: ") else { return Ok(()) };
        let advised = why.split_once("`spgraph ").and_then(|(_, rest)| rest.split_once("` writes it"));
        let Some((advised, _)) = advised.filter(|_| outcome.code == Some(0)) else { return Err("no command for the page".into()) };
        let written = self.start(lab, &words(advised, shared()), None);
        if written.code == Some(0) { Ok(()) } else { Err(format!("{advised} ends with {:?}: {}", written.code, said(&written.err))) }
    }

    /// Whether a file is one of before or one of the undisturbed end, or of a run under way.
    fn known(&self, name: &Path) -> bool {
        let last = name.file_name().unwrap_or_default().to_string_lossy();
        let under_way = last.starts_with("checkpoint.");
        self.old.contains_key(name) || self.new.contains_key(name) || under_way
    }

    /// The first difference from the undisturbed end. A cache may lack entries; those that it has are whole.
    fn unlike_the_end(&self, found: &Tree) -> Option<String> {
        let mut end = self.new.clone();
        end.retain(|name, _| !name.starts_with("cache") || found.contains_key(name));
        difference(found, &end)
    }

    fn says(&self, outcome: &Outcome, hit: &Call, fault: Fault) -> Result<(), String> {
        let err = &outcome.err;
        for part in ["panicked", "RUST_BACKTRACE", "/.spgraph-"] {
            if err.contains(part) {
                return Err(format!("`{part}` in its message"));
            }
        }
        let harmless = matches!(fault, Fault::Short | Fault::Error(libc::EINTR));
        match outcome.code {
            Some(0) => Ok(()),
            Some(code) if harmless => Err(format!("nothing was wrong, and it ends with {code}")),
            Some(1) => {
                let errors = err.matches("error: ").count();
                // The cells of a sweep are processes with messages of their own, before the sweep's.
                let several = self.args.first().is_some_and(|a| a == "sweep");
                if errors != 1 && !(several && errors > 1) {
                    return Err(format!("{errors} errors in its message"));
                }
                let error = &err[err.find("error: ").unwrap_or(0)..];
                let places = hit
                    .path
                    .components()
                    .chain(self.scenario.command.split_whitespace().flat_map(|w| Path::new(w.trim_start_matches('@')).components()));
                let named = places.filter_map(|c| c.as_os_str().to_str()).any(|part| part.len() > 2 && error.contains(part));
                if !named {
                    return Err("no file in its message".into());
                }
                let number = match fault {
                    Fault::Error(number) => number,
                    _ => libc::ENOSPC,
                };
                let reason = std::io::Error::from_raw_os_error(number);
                let reasons = [reason.to_string(), reason.kind().to_string()];
                let plain = reasons[0].split(" (os").next().unwrap_or_default().to_string();
                // Of several files, each has its own reason, before the error in the end.
                let told = reasons.iter().chain([&plain]).any(|r| err.contains(r.as_str()) || outcome.out.contains(r.as_str()));
                if !told { Err(format!("its message does not say why: {plain}")) } else { Ok(()) }
            }
            code => Err(format!("it ends with {code:?}")),
        }
    }

    /// Each file or folder that the command writes is as before or as at the end, the whole of it.
    fn old_or_new(&self, found: &Tree, may_leave: bool) -> Result<(), String> {
        // A run under way is neither; the next start decides.
        if matches!(self.scenario.next, Next::Resume(_)) || self.scenario.command.starts_with("finetune") {
            return Ok(());
        }
        let files = self.scenario.next == Next::Files;
        let top = |name: &Path| match files {
            true => name.to_path_buf(),
            false => name.components().next().map(|c| PathBuf::from(c.as_os_str())).unwrap_or_default(),
        };
        let mut tops: Vec<PathBuf> = self.old.keys().chain(self.new.keys()).map(|n| top(n)).collect();
        tops.dedup();
        for output in tops {
            let part = |tree: &Tree| -> Tree {
                tree.iter()
                    .filter(|(k, _)| if files { **k == output } else { k.starts_with(&output) })
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            };
            let (mut is, old, new) = (part(found), part(&self.old), part(&self.new));
            if may_leave {
                is.retain(|name, _| !name.components().any(|c| c.as_os_str().to_string_lossy().starts_with(".spgraph-")));
            }
            if is != old && is != new {
                let why = difference(&is, &new).unwrap_or_default();
                return Err(format!("{} is neither the old one nor the new: {why}", output.display()));
            }
        }
        Ok(())
    }

    /// What a user does next, undisturbed, and what that must lead to.
    fn next(&self, lab: &Path, found: &Tree) -> Result<(), String> {
        let mut args = self.args.clone();
        match self.scenario.next {
            Next::Same | Next::Files => {}
            Next::Again => {
                let there = found.iter().any(|(k, _)| self.new.contains_key(k) && k.components().count() == 1);
                if there && !args.iter().any(|a| a == "--force") {
                    args.push("--force".into());
                }
            }
            Next::Resume(run) => {
                let weights = ["checkpoint.safetensors", "checkpoint.previous.safetensors", "state.safetensors", "best.safetensors"];
                let has = |name: &str| lab.join(run).join(name).is_file();
                if self.unlike_the_end(found).is_none() {
                    return Ok(());
                }
                if has("run.json") && weights.iter().any(|w| has(w)) || self.args.iter().any(|a| a == "--resume") {
                    args = words(&format!("finetune --resume -o {run}"), lab);
                    if let Some(more) = self.scenario.command.split(" --epochs ").nth(1) {
                        let record = std::fs::read_to_string(lab.join(run).join("run.json")).unwrap_or_default();
                        // Before the longer run was noted it is asked for again.
                        let unchanged = found.get(&Path::new(run).join("run.json")) == self.old.get(&Path::new(run).join("run.json"));
                        if unchanged && record.contains("\"complete\"") {
                            args.extend(["--epochs".into(), more.into()]);
                        }
                    }
                }
            }
        }
        let outcome = self.start(lab, &args, None);
        // What could not be removed in the end goes, and there is nothing else to do.
        let complete = outcome.code == Some(2) && outcome.err.contains("is complete");
        if outcome.code != Some(0) && !complete {
            return Err(format!("{args:?} ends with {:?}: {}", outcome.code, said(&outcome.err)));
        }
        self.unlike_the_end(&content(lab)).map_or(Ok(()), |why| Err(format!("{args:?} leads elsewhere: {why}; {}", said(&outcome.err))))
    }
}

/// The last lines.
fn said(text: &str) -> &str {
    text.find("error: ").or_else(|| text.trim_end().rfind('\n')).map_or(text, |at| &text[at..])
}

/// A run that was killed after its second checkpoint.
fn half(lab: &Path) {
    let args = words(
        "finetune @b --data @images --engine tract --threads 1 --workers 1 --val-split 0.25 --steps 5 --checkpoint-every 2 -o run",
        shared(),
    );
    let calls = run(command(lab, &args), &[lab], None).unwrap().calls;
    let last = calls.iter().rposition(|c| c.path.ends_with("run/checkpoint.safetensors") && c.name.starts_with("rename")).unwrap();
    // Which call is the N-th differs a little from course to course.
    for at in (0..40).map(|n| last + 4 + n % 8) {
        std::fs::remove_dir_all(lab.join("run")).unwrap();
        run(command(lab, &args), &[lab], Some((at, Fault::Kill))).unwrap();
        if lab.join("run/checkpoint.previous.safetensors").is_file() && !lab.join("run/state.safetensors").exists() {
            return;
        }
    }
    panic!("no run could be killed between its second checkpoint and its end");
}
