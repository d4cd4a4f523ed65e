//! What was probably meant by a command, option or value that there is not: the nearest name, the word that other tools have for it, or another command's
//! option.

use clap::Command;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use spgraph::nearest::{nearest, same};

/// Adds what was meant to an error of the parser.
pub fn improve(error: &mut Error, command: &Command) {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match error.kind() {
        ErrorKind::InvalidSubcommand => of_command(error, command),
        ErrorKind::UnknownArgument => {
            let own = words.iter().find_map(|word| command.find_subcommand(word)).unwrap_or(command);
            of_option(error, own, command, &words);
        }
        ErrorKind::InvalidValue => of_value(error),
        _ => {}
    }
}

fn text(error: &Error, kind: ContextKind) -> Option<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    }
}

fn tip(error: &mut Error, text: String) {
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(text)]));
}

fn of_command(error: &mut Error, command: &Command) {
    let Some(word) = text(error, ContextKind::InvalidSubcommand) else { return };
    let names: Vec<&str> = command.get_subcommands().map(Command::get_name).chain(["--version", "--help"]).collect();
    if let Some(name) = nearest(&word, &names) {
        match name.starts_with('-') {
            true => {
                error.remove(ContextKind::SuggestedSubcommand);
                tip(error, format!("the option for that is '{name}'"));
            }
            false => drop(error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![name.into()]))),
        }
    } else if std::path::Path::new(&word).exists() {
        tip(error, format!("to look at a model, a bundle or a run: 'spgraph inspect {}'", spgraph::shell::word(&word)));
    }
}

fn flags(command: &Command) -> Vec<&str> {
    command.get_arguments().filter_map(|arg| arg.get_long()).collect()
}

fn of_option(error: &mut Error, own: &Command, all: &Command, words: &[String]) {
    let Some(found) = text(error, ContextKind::InvalidArg) else { return };
    // `-epochs 5` is read as the cluster `-e -p …`, and `epochs=5` as a path.
    let whole = words.iter().find(|w| found.len() == 2 && w.starts_with(&found) && w.len() > 2).unwrap_or(&found);
    let word = whole.trim_start_matches('-').split('=').next().unwrap_or_default();
    let elsewhere: Vec<&str> = all.get_subcommands().filter(|c| flags(c).contains(&word)).map(Command::get_name).collect();
    if !whole.starts_with('-') && !whole.contains('=') {
        return;
    }
    let meant = match same(word, &flags(own)) {
        None if elsewhere.is_empty() => nearest(word, &flags(own)),
        meant => meant,
    };
    match meant {
        Some(name) => drop(error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{name}")))),
        None if !elsewhere.is_empty() => {
            error.remove(ContextKind::SuggestedArg);
            tip(error, format!("'--{word}' is an option of 'spgraph {}'", elsewhere.join("', 'spgraph ")));
        }
        None => {}
    }
}

fn of_value(error: &mut Error) {
    let (Some(word), Some(ContextValue::Strings(valid))) = (text(error, ContextKind::InvalidValue), error.get(ContextKind::ValidValue))
    else {
        return;
    };
    let valid: Vec<&str> = valid.iter().map(String::as_str).collect();
    if let Some(name) = nearest(&word, &valid).map(String::from) {
        error.insert(ContextKind::SuggestedValue, ContextValue::String(name));
    }
}
