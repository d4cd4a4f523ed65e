//! Where the system gives few threads, or none, and where it is asked for very many.

use crate::support::{BINARY, Lab, Outcome, shared};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Nobody's, so that other processes do not count.
const USER: u32 = 64_321;

#[test]
fn few_threads_are_enough_or_are_an_error() {
    let lab = Lab::new();
    std::fs::copy(BINARY, lab.path("program")).unwrap();
    std::fs::copy(&shared().model, lab.path("m.onnx")).unwrap();
    std::fs::copy(format!("{}/cells/cells-s0-00000.png", shared().images), lab.path("one.png")).unwrap();
    std::fs::set_permissions(lab.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // Root may start as many as it likes; anybody else has others running, with which one is too many.
    let root = std::fs::metadata(lab.0.path()).unwrap().uid() == 0;
    if root {
        chown(lab.0.path(), Some(USER), None).unwrap();
    }
    let (mut ended, mut refused) = (0, 0);
    // From too few to as many as the threads need at once and once more.
    for most in 1..12 {
        for args in [
            vec!["inspect", "m.onnx"],
            vec!["rewrite", "m.onnx", "--batch", "4", "--force", "-o", "b"],
            vec!["predict", "m.onnx", "one.png", "--engine", "tract"],
        ] {
            let mut command = Command::new(lab.path("program"));
            command.args(&args).current_dir(lab.0.path()).env("RAYON_NUM_THREADS", "4").env("HOME", lab.0.path());
            if root {
                command.uid(USER);
            }
            let limit = rustix::process::Rlimit { current: Some(most), maximum: Some(most) };
            // SAFETY: one system call.
            unsafe { command.pre_exec(move || Ok(rustix::process::setrlimit(rustix::process::Resource::Nproc, limit)?)) };
            let outcome = Outcome::of(command.output().unwrap());
            match outcome.code {
                0 => ended += 1,
                _ => {
                    outcome.refused(1, &["thread"]);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused >= 3 && (!root || ended >= 3), "{refused} refused, {ended} went on");
}

#[test]
fn a_number_of_threads_that_nobody_has_is_not_taken() {
    let lab = Lab::new();
    let mut command = lab.command(&["inspect", &shared().model]);
    Outcome::of(command.env("RAYON_NUM_THREADS", "1000000").output().unwrap()).ok();
}
