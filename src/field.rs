//! How messages name options, of a rewriting and of what is done with a bundle. A library has no command line and a configuration file no
//! flags, so messages say "option `freeze`"; whoever shows them to a user may put in their place what that user writes, as the command line does with its flags.

use std::fmt;

/// An option, or one of its values that has a name of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(&'static str);

impl fmt::Display for Field {
    /// "option `freeze`".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", Field::BEFORE, self.0, Field::BEHIND)
    }
}

macro_rules! fields {
    ($($name:ident $text:literal,)*) => {
        impl Field {
            $(#[doc = concat!("`", $text, "`.")] pub const $name: Field = Field($text);)*
            /// All of them.
            pub const ALL: &[Field] = &[$(Field::$name),*];
        }
    };
}

fields! {
    PENALTY "penalty",
    ALPHA "alpha",
    BETA "beta",
    PENALIZE "penalize",
    SP_EXCLUDE "sp_exclude",
    STRENGTHS "strengths",
    ALPHA_DEPTH "alpha_depth",
    PENALTY_STEP "penalty_step",
    PROXIMAL "penalty_step = proximal",
    DECOUPLED "penalty_step = decoupled",
    FISHER "fisher",
    REGULARIZERS "regularizers",
    LAYERS "regularizers.layers",
    ATTENTION "regularizers.attention",
    TEMPERATURE "regularizers.temperature",
    SINGULAR_VALUES "regularizers.singular_values",
    HEAD "head",
    KEEP_HEAD "head = keep",
    CLASSES "head.classes",
    ADD_HEAD "add_head",
    HEAD_MAP "head_map",
    CLASS_NAMES "classes",
    FREEZE "freeze",
    FREEZE_STAGES "freeze_stages",
    FREEZE_UNITS "freeze_units",
    TRAIN "train",
    BATCH_NORM "batch_norm",
    DROPOUT "dropout",
    BATCH "batch",
    INPUT_SHAPE "input_shape",
    LABEL_SMOOTHING "label_smoothing",
    SOFT_TARGETS "soft_targets",
    LOSS "loss",
    PREDICTION "prediction",
    EXTERNAL_DATA "external_data",
    KEEP_TIES "keep_ties",
    DIALECT "dialect",
    RUNTIME "runtime",
    OPSET "opset",
    WEIGHTS "weights",
    LR "lr",
    FIND_LR "find_lr",
    LR_MULT "lr_mult",
    OPTIMIZER "optimizer",
    MOMENTUM "optimizer.momentum",
    NESTEROV "optimizer.nesterov",
    BETA1 "optimizer.beta1",
    BETA2 "optimizer.beta2",
    EPS "optimizer.eps",
    WEIGHT_DECAY "optimizer.weight_decay",
    TRUST "optimizer.trust",
    CLIP_NORM "optimizer.clip_norm",
    SPD "optimizer.spd",
    EMA "optimizer.ema",
    SPLIT "split",
    START "start",
    WRT "wrt",
    OF "of",
    ENGINE "engine.choice",
    DEVICE "engine.device",
    THREADS "engine.threads",
    ORT_LIB "engine.ort_lib",
    CUDA_GRAPH "engine.cuda_graph",
    KERNELS "engine.kernels",
    PRECISION "engine.precision",
    MIXED_PRECISION "precision",
    DATA "data",
    LENGTH "length",
    EPOCHS "length.epochs",
    STEPS "length.steps",
    HEAD_FIRST "head_first",
    SCHEDULE "schedule",
    AUGMENT "augment",
    WARMUP "warmup",
    DROP_LAST "drop_last",
    CRITERION "early_stopping.criterion",
    PATIENCE "early_stopping.patience",
    MIN_DELTA "early_stopping.min_delta",
    SAMPLING "sampling",
    CLASS_WEIGHTS "class_weights",
    CHECKPOINT_EVERY "checkpoint_every",
    VALIDATION "validation",
    TEST "test",
    PREPROCESSING "preprocessing",
    MODE "mode",
    SAMPLES "samples",
    PAIRS "pairs",
    SEED "seed",
    IMAGES "images",
    BAD_IMAGES "bad_images",
    RESIZE "preprocessing.resize",
    MEAN "preprocessing.mean",
    STD "preprocessing.std",
    CHANNELS "preprocessing.channels",
    SCALE "preprocessing.scale",
    LAYOUT "preprocessing.layout",
    FORCE "force",
    FORCE_MEMORY "force_memory",
    MEMORY "memory",
    VERIFY_DATA "verify_data",
    REPLACE "existing = replace",
    RESUME "existing = resume",
    BEST_STATE "which = best",
    CHECKPOINT_STATE "which = checkpoint",
    FINAL_STATE "which = final",
    HEAD_FROM "head_from",
    CONFUSION "confusion",
    FEATURES "features",
    TO "to",
    SOFTMAX "softmax",
    LABELS "labels",
    TOP "top",
    PREPROCESS "preprocess",
    OUTPUT "output",
}

impl Field {
    const BEFORE: &str = "option `";
    const BEHIND: char = '`';

    /// What the field is called in the options' data.
    pub fn name(self) -> &'static str {
        self.0
    }

    /// The text with what `shown` gives in the place of every field that it names, of the text before it and the field.
    pub fn replaced(text: &str, shown: impl Fn(&str, Field) -> String) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(Field::BEFORE) {
            let behind = &rest[at + Field::BEFORE.len()..];
            let found = behind.split_once(Field::BEHIND).and_then(|(name, after)| Some((Field::ALL.iter().find(|f| f.0 == name)?, after)));
            match found {
                Some((field, after)) => {
                    out.push_str(&rest[..at]);
                    let own = shown(&out, *field);
                    out.push_str(&own);
                    rest = after;
                }
                None => {
                    out.push_str(&rest[..at + Field::BEFORE.len()]);
                    rest = behind;
                }
            }
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_texts_and_nothing_else_is() {
        let text = format!("{} 'x' needs {}; option `none` and option ` stay", Field::FREEZE, Field::PROXIMAL);
        assert_eq!(
            Field::replaced(&text, |_, f| format!("<{}>", f.name())),
            "<freeze> 'x' needs <penalty_step = proximal>; option `none` and option ` stay"
        );
    }
}
