//! What the command line says about itself: help with the common options first and examples behind, suggestions, completions, man pages.

pub mod completions;
mod examples;
pub mod man;
mod suggest;

use super::Cli;
use clap::{CommandFactory, FromArgMatches};

/// The options that `-h` shows of commands that have many; `--help` shows all of them.
const COMMON: &[(&str, &[&str])] = &[
    (
        "rewrite",
        &[
            "output",
            "out",
            "artifact",
            "force",
            "classes",
            "class_names_from",
            "penalty",
            "alpha",
            "beta",
            "batch",
            "freeze_stages",
            "batch_norm",
            "loss",
            "explain",
            "optimizer",
            "lr",
        ],
    ),
    (
        "finetune",
        &[
            "output",
            "data",
            "epochs",
            "steps",
            "batch",
            "lr",
            "schedule",
            "augment",
            "val_data",
            "val_split",
            "penalty",
            "alpha",
            "beta",
            "classes",
            "config",
            "seed",
            "resume",
            "force",
            "engine",
        ],
    ),
    ("eval", &["data", "state", "head_from", "json", "csv", "class_names"]),
    ("predict", &["top", "state", "json", "csv", "features", "class_names"]),
    ("fisher", &["data", "output", "mode", "samples", "force", "resume", "json"]),
    ("attention", &["data", "output", "images", "force", "json"]),
];

/// The whole command line.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        let name = command.get_name().to_string();
        let own = command.get_after_help().map(|text| format!("\n\n{text}")).unwrap_or_default();
        let examples = examples::text(&name).unwrap_or_default();
        let common = COMMON.iter().find(|(of, _)| *of == name).map(|(_, common)| *common);
        let command = match common {
            Some(common) => command.mut_args(|arg| {
                let hidden = !arg.is_positional() && !common.contains(&arg.get_id().as_str());
                arg.hide_short_help(hidden)
            }),
            None => command,
        };
        let more = if common.is_some() { format!("\n\n`spgraph {name} --help` shows every option.") } else { String::new() };
        command.after_help(format!("{examples}{own}{more}")).after_long_help(format!("{examples}{own}"))
    })
}

/// The arguments of the process. Ends it after `--help`, `--version`, and a line that cannot be read, with what was probably meant.
pub fn parse() -> Cli {
    let mut command = command();
    let found = command.try_get_matches_from_mut(std::env::args_os()).and_then(|matches| Cli::from_arg_matches(&matches));
    found.unwrap_or_else(|mut error| {
        suggest::improve(&mut error, &command);
        error.exit()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    /// A group of options that is flattened in gives its heading to what follows it, so groups come last.
    #[test]
    fn options_that_all_commands_have_stand_under_no_heading() {
        let command = command();
        for sub in command.get_subcommands() {
            let general = ["force", "resume", "json"];
            for arg in sub.get_arguments().filter(|a| a.get_short() == Some('o') || general.contains(&a.get_id().as_str())) {
                assert_eq!(arg.get_help_heading(), None, "{} {}", sub.get_name(), arg.get_id());
            }
        }
    }

    /// Of commands with many options `-h` shows some, and those are there.
    #[test]
    fn short_help_is_short() {
        let mut command = command();
        command.build();
        for (name, _) in COMMON {
            let sub = command.find_subcommand(name).unwrap();
            let shown = sub.get_arguments().filter(|a| !a.is_positional() && !a.is_hide_short_help_set()).count();
            assert!((4..=26).contains(&shown), "`{name} -h` shows {shown} options");
        }
        for sub in command.get_subcommands() {
            let shown = sub.get_arguments().filter(|a| !a.is_hide_short_help_set()).count();
            assert!(shown <= 27, "`{} -h` shows {shown} options: choose the common ones in COMMON", sub.get_name());
        }
    }

    #[test]
    fn every_command_has_an_example_and_none_has_its_own_list() {
        let command = command();
        for sub in command.get_subcommands() {
            let text = sub.get_after_long_help().map(|t| t.to_string()).unwrap_or_default();
            assert!(text.starts_with("Examples:\n  spgraph "), "`{}` has no example: give it one in cli/help/examples.rs", sub.get_name());
            // Longer ones would be broken by the help and could not be copied.
            text.lines().filter(|l| l.starts_with("  spgraph ")).for_each(|l| assert!(l.len() <= 98, "{l}"));
        }
        for name in examples::commands() {
            assert!(command.find_subcommand(name).is_some(), "examples of `{name}`, which is no command");
        }
    }
}
