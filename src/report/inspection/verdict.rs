//! Whether a model can be fine-tuned: found out by rewriting it, in memory, as `spgraph rewrite` would.

use crate::artifact;
use crate::bundle::manifest::Preprocessing;
use crate::bundle::{HeadOption, Options};
use crate::emit::{self, Dialect};
use crate::engine::Computing;
use crate::error::Result;
use crate::onnx::{ExternalData, ModelFile};
use crate::report::memory::{MemoryPlan, plan_emitted};
use crate::rewrite::{Product, rewrite};
use serde::Serialize;
use std::path::Path;

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether it can be used.
    pub possible: bool,
    /// What stands in the way, where it cannot; the messages are those of the rewriting.
    pub reasons: Vec<String>,
    /// What is good to know.
    pub notes: Vec<String>,
    /// Options with which a model is rewritten.
    #[serde(skip)]
    pub options: Option<Options>,
    /// Whether image folders can be trained on; a loop of one's own takes any input.
    #[serde(skip)]
    pub images: bool,
    /// What is done to an image, where the model can be rewritten.
    #[serde(skip)]
    pub preprocessing: Option<Preprocessing>,
    /// What a step takes.
    pub memory: Option<StepMemory>,
}

/// The predicted peak of a training step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepMemory {
    /// Images in the step.
    pub batch: usize,
    /// Bytes, without the runtime itself.
    pub peak_bytes: u64,
}

impl From<MemoryPlan> for StepMemory {
    fn from(plan: MemoryPlan) -> Self {
        StepMemory { batch: plan.batch, peak_bytes: plan.peak_bytes }
    }
}

impl Verdict {
    pub(super) fn yes() -> Verdict {
        Verdict { possible: true, reasons: vec![], notes: vec![], options: None, images: true, preprocessing: None, memory: None }
    }

    pub(super) fn no(reasons: Vec<String>) -> Verdict {
        Verdict { possible: false, reasons, ..Verdict::yes() }
    }
}

/// The model as a training, with everything that writing it would check.
fn attempt(path: &Path, options: &Options) -> Result<(Product, StepMemory)> {
    let product = rewrite(path, options)?;
    artifact::check(&product)?;
    let proto = emit::model(&product.step.graph, Dialect::Functions)?;
    let step = ModelFile { proto, path: path.into(), external: ExternalData::new(path.parent().unwrap_or(Path::new("."))) };
    let memory = plan_emitted(&step, &product.manifest, None, Computing::default())?;
    Ok((product, memory.into()))
}

/// Rewrites the model at `path`: with a new head, else with its own, else with one behind its features.
/// `classes` is the number of classes of the head that was found; what cannot even be read, as `readable` says, no head makes possible.
/// `hidden` says that the output is a classifier's whose logits cannot be told.
pub(super) fn of_model(path: &Path, readable: bool, classes: Option<usize>, hidden: bool, input_shape: Option<Vec<usize>>) -> Verdict {
    decide(|options| attempt(path, options), readable, classes, hidden, input_shape)
}

/// The verdict of as few attempts as there can be: each is a whole rewriting.
fn decide(
    mut attempt: impl FnMut(&Options) -> Result<(Product, StepMemory)>,
    readable: bool,
    classes: Option<usize>,
    hidden: bool,
    input_shape: Option<Vec<usize>>,
) -> Verdict {
    // Another number than its own: what fits one number of classes only is no new head.
    let classes = classes.map_or(2, |n| n.clamp(1, 1000).saturating_add(1));
    let usual = Options { input_shape, ..Options::default() };
    if !readable && let Err(why) = attempt(&usual) {
        return Verdict::no(vec![why.to_string()]);
    }
    let new_head = Options { head: HeadOption::Classes(classes), ..usual.clone() };
    let added = Options { add_head: true, ..new_head.clone() };
    let first = match attempt(&new_head) {
        Ok(found) => return described(found, new_head),
        Err(error) => error,
    };
    let error = match attempt(&usual) {
        Ok(found) => {
            let mut verdict = described(found, usual);
            match attempt(&added) {
                Ok(_) => verdict.notes.push("a new head can be put behind the features that the network ends with".into()),
                Err(_) => verdict.notes.push(format!("its own classifier is trained; a new one is not possible: {first}")),
            }
            return verdict;
        }
        Err(error) => error,
    };
    if let Ok(found) = attempt(&added) {
        let mut verdict = described(found, added);
        if hidden {
            // Names the loss that takes it as it is.
            verdict.notes.push(format!("without a new head: {error}"));
        }
        return verdict;
    }
    // What hides its logits can still be trained towards numbers.
    let numbers = Options { loss: Some("mse".into()), ..usual };
    match hidden.then(|| attempt(&numbers)) {
        Some(Ok(found)) => {
            let mut verdict = described(found, numbers);
            verdict.notes.push(format!("towards numbers only: {error}"));
            verdict
        }
        _ => Verdict::no(vec![error.to_string()]),
    }
}

fn described((product, memory): (Product, StepMemory), options: Options) -> Verdict {
    let mut verdict = Verdict { options: Some(options), memory: Some(memory), ..Verdict::yes() };
    let manifest = &product.manifest;
    if let Err(why) = manifest.preprocessing.fits(&manifest.data.input.shape) {
        verdict.images = false;
        verdict.notes.push(format!("a loop of your own can train it, image folders cannot: {why}"));
    }
    for left in &product.plan.left_out {
        verdict.notes.push(format!("left out of the training: its output {left}"));
    }
    if !product.plan.freed_batch.is_empty() {
        verdict.notes.push("its shapes have a number for the batch, which was freed and checked by running it".into());
    }
    if let Some(first) = product.plan.split.first() {
        let count = product.plan.split.len();
        verdict.notes.push(format!(
            "{count} parameters that the exporter had stored together with others are trained apart, such as {}",
            first.name
        ));
    }
    if let Some((first, second)) = product.plan.alike.first() {
        let more = match product.plan.alike.len() {
            1 => String::new(),
            pairs => format!(", and so would others ({pairs} such pairs)"),
        };
        verdict.notes.push(format!("{first} and {second} hold the same numbers, and would be trained apart{more}"));
    }
    if verdict.images {
        verdict.notes.extend(manifest.preprocessing.note(&product.assumed, product.own_preparation));
    }
    verdict.preprocessing = Some(product.manifest.preprocessing);
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    /// What was attempted in vain, each time with a new head, a head behind the features, and the loss.
    fn attempted(hidden: bool) -> Vec<(bool, bool, Option<String>)> {
        let mut tried = vec![];
        let refuse = |options: &Options| {
            tried.push((options.head != HeadOption::default(), options.add_head, options.loss.clone()));
            Err(Error::model("no"))
        };
        assert_eq!(decide(refuse, true, None, hidden, None), Verdict::no(vec!["no".into()]));
        tried
    }

    #[test]
    fn a_loss_of_numbers_is_attempted_only_where_logits_are_hidden() {
        let usual = vec![(true, false, None), (false, false, None), (true, true, None)];
        assert_eq!(attempted(false), usual);
        assert_eq!(attempted(true), [usual, vec![(false, false, Some("mse".to_string()))]].concat());
    }
}
