//! Damaged and hostile files of every kind that is read: an answer or a refusal, never a panic, in bounded time and memory.
//!
//! A target is a kind of file, with sound members and a reader (`targets/`). Mutations are of bytes, of text and JSON, and of a model's structure
//! (`mutate/`). Each target runs in a process of its own, so that the death of one is seen by the other and has a seed and an input. What once
//! went wrong is kept, made small, in `corpus/`, a folder for each target, and tried first.
//!
//! | variable | |
//! |---|---|
//! | `FUZZ_SECONDS` | how long each target runs, instead of the slice with the same inputs each time |
//! | `STRESS_MINUTES` | how long all of them run together, from a seed that the clock gives (`make fuzz`) |
//! | `FUZZ_SEED` | the first seed; round N has seed + N |
//! | `FUZZ_TARGET` | some targets only, by name, with commas between |
//! | `FUZZ_KEEP` | the folder for inputs at fault |
//! | `FUZZ_INPUT` | `cargo test --release --test fuzz -- --ignored --nocapture one_input`: what one file does, read as by `FUZZ_TARGET` |
//! | `FUZZ_SMALLER` | with those: the file to write the smallest input to that has the same fault |
#![cfg(unix)]

mod child;
mod fault;
mod memory;
mod mutate;
mod parent;
mod smaller;
mod targets;

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { parent::fuzz(stringify!($name)); })*

        #[test]
        fn every_target_is_run() {
            let named = [$(stringify!($name)),*];
            assert_eq!(targets::all().iter().map(|t| t.name).collect::<Vec<_>>(), named);
        }
    };
}

targets!(model, rewriting, external, bundle, emitted, state, fisher, image, list, arrays, class_names, run_record, configuration, study);

/// Not a test: the process that a target runs in.
#[test]
#[ignore = "the process that reads inputs"]
fn child() {
    child::main();
}

/// Not a test: what one file does, and the smallest that does the same.
#[test]
#[ignore = "for people, see above"]
fn one_input() {
    smaller::main();
}
