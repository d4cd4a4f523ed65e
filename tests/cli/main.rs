//! The command line as a user meets it: what it prints, what it leaves behind, and how it refuses.
#![cfg(unix)]

mod annoyances;
mod bad_data;
mod bad_models;
mod comparison;
mod config;
mod continuing;
mod conventions;
mod deploy;
mod deployed;
mod device;
mod doctor;
mod evaluate;
mod finetune;
mod fisher;
mod help;
mod inspect;
mod interrupt;
mod invalid_models;
mod keep;
mod labels;
mod libraries;
mod models;
mod one_command;
mod outputs;
mod own_inputs;
mod pace;
mod penalties;
mod results;
mod rewrite;
mod run_files;
mod several;
mod study;
mod support;
mod usage;
mod verdict;
