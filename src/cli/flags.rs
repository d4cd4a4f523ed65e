//! What options are called on the command line, in the place of the library's names for them.

use spgraph::Field;
use std::sync::OnceLock;

/// Where the file of `--config` says something: `training.batch`.
static CONFIGURED: OnceLock<Vec<String>> = OnceLock::new();

/// From now on options that are given in the configuration, and by no flag, are called as they are there.
pub fn know_configuration(keys: Vec<String>) {
    let _ = CONFIGURED.set(keys);
}

/// What the user has written, or would write: the flag, or where the value is a configuration's its key.
pub fn shown(field: Field) -> String {
    let flag = flag(field);
    let Some(keys) = CONFIGURED.get() else { return flag };
    let given = |word: &str| std::env::args_os().any(|arg| arg.to_str().is_some_and(|arg| arg.split('=').next() == Some(word)));
    match key(field, keys).filter(|_| !flag.split([' ', ',']).any(|word| word.starts_with('-') && given(word))) {
        Some(key) => match field.name().split_once(" = ") {
            Some((_, value)) => format!("`{key} = \"{value}\"`"),
            None => format!("`{key}`"),
        },
        None => flag,
    }
}

/// Whether what follows stands within a command, which is there to be copied.
fn is_in_command(before: &str) -> bool {
    before.rsplit_once("`spgraph ").is_some_and(|(_, command)| !command.contains('`'))
}

/// The option's key, where it is among these.
fn key(field: Field, keys: &[String]) -> Option<&str> {
    let name = field.name().split(" = ").next().unwrap_or_default();
    let scalar = |key: &str| match field {
        Field::LR | Field::ALPHA | Field::BETA => key.strip_prefix("training.scalars.") == Some(name),
        Field::STRENGTHS => key.starts_with("training.scalars.alpha:"),
        _ => false,
    };
    let own = |key: &&String| {
        let plain = key.strip_prefix("rewriting.").or(key.strip_prefix("training.")).or(key.strip_prefix("execution.")).unwrap_or(key);
        plain == name || scalar(key)
    };
    keys.iter().find(own).map(String::as_str)
}

/// The flag.
pub fn flag(field: Field) -> String {
    match field {
        Field::PENALTY_STEP => "--prox or --decoupled".into(),
        Field::HEAD => "--classes or --head keep".into(),
        Field::RUNTIME => "--for".into(),
        Field::FIND_LR => "--lr auto".into(),
        Field::TEST => "--test-data".into(),
        Field::STRENGTHS => "--alpha".into(),
        Field::PROXIMAL => "--prox".into(),
        Field::DECOUPLED => "--decoupled".into(),
        Field::REGULARIZERS => "--regularizer".into(),
        Field::LAYERS => "--delta-layers".into(),
        Field::SINGULAR_VALUES => "--bss-k".into(),
        Field::KEEP_HEAD => "--head keep".into(),
        Field::CLASS_NAMES => "--class-names".into(),
        Field::ENGINE => "--engine".into(),
        Field::EPOCHS => "--epochs".into(),
        Field::STEPS => "--steps".into(),
        Field::LENGTH => "--epochs or --steps".into(),
        Field::VALIDATION => "--val-data or --val-split".into(),
        Field::PREPROCESSING => "--mean, --std and --resize".into(),
        Field::BAD_IMAGES => "--on-bad-image".into(),
        Field::REPLACE => "--force".into(),
        Field::RESUME => "--resume".into(),
        Field::OUTPUT => "-o".into(),
        Field::PREDICTION => "--output".into(),
        Field::BEST_STATE => "--state best".into(),
        Field::CHECKPOINT_STATE => "--state checkpoint".into(),
        Field::FINAL_STATE => "--state final".into(),
        // The command line has no groups of options.
        field => {
            let name = field.name();
            format!("--{}", name.rsplit_once('.').map_or(name, |(_, own)| own).replace('_', "-"))
        }
    }
}

/// The text with flags where it names options.
pub fn with_flags(text: &str) -> String {
    Field::replaced(text, |before, field| if is_in_command(before) { flag(field) } else { shown(field) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn options_of_a_configuration_have_their_keys() {
        let keys: Vec<String> = [
            "name",
            "rewriting.lr",
            "rewriting.head.classes",
            "training.early_stopping.patience",
            "training.scalars.alpha:layer4.*",
            "engine.device",
        ]
        .map(String::from)
        .into();
        let found = |field| key(field, &keys);
        assert_eq!(found(Field::LR), Some("rewriting.lr"));
        assert_eq!(found(Field::CLASSES), Some("rewriting.head.classes"));
        assert_eq!(found(Field::PATIENCE), Some("training.early_stopping.patience"));
        assert_eq!(found(Field::STRENGTHS), Some("training.scalars.alpha:layer4.*"));
        assert_eq!(found(Field::DEVICE), Some("engine.device"));
        assert_eq!((found(Field::ALPHA), found(Field::VALIDATION), found(Field::RESUME)), (None, None, None));
    }

    #[test]
    fn a_command_has_flags() {
        let text = format!("`spgraph runtime install {} cuda` gets one, or train on the CPU ({} cpu)", Field::DEVICE, Field::DEVICE);
        let found = Field::replaced(&text, |before, _| is_in_command(before).to_string());
        assert_eq!(found, "`spgraph runtime install true cuda` gets one, or train on the CPU (false cpu)");
    }

    #[test]
    fn every_option_has_a_flag() {
        let command = crate::cli::help::command();
        let arguments = command.get_subcommands().flat_map(|c| c.get_arguments());
        let known: HashSet<String> =
            arguments.flat_map(|a| [a.get_long().map(|l| format!("--{l}")), a.get_short().map(|s| format!("-{s}"))]).flatten().collect();
        for field in Field::ALL {
            let shown = flag(*field);
            assert!(known.contains(shown.split([' ', ',']).next().unwrap()), "{} is shown as {shown}", field.name());
        }
    }
}
