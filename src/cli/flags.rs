//! What options are called on the command line, in the place of the library's names for them.

use spgraph::Field;

/// The flag.
pub fn flag(field: Field) -> String {
    match field {
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
    Field::replaced(text, flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

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
