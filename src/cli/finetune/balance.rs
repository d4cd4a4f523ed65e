//! Classes of different size.

use crate::cli::choice::choice;
use spgraph::error::Error;
use spgraph::storage::regular;
use spgraph::train::{ClassWeights, Sampling, Training};
use std::collections::BTreeMap;
use std::path::Path;

#[derive(clap::Args)]
#[command(next_help_heading = "Data")]
pub struct BalanceArgs {
    /// Which images an epoch has: shuffle, each once, or balanced, every class equally often [default: shuffle]
    #[arg(long, value_name = "HOW", value_parser = choice::<Sampling>(&["shuffle", "balanced"]))]
    sampling: Option<Sampling>,
    /// What images of each class weigh in the loss: none, balanced (n/(K·n_k)), or a file with a weight for each class [default: none]
    ///
    /// The file is an object in JSON, {"cat": 2, "dog": 0.5}, or has lines `cat,2`. The mean is a weighted one, as in PyTorch's CrossEntropyLoss.
    #[arg(long, value_name = "balanced|none|FILE", value_parser = parse_weights)]
    class_weights: Option<ClassWeights>,
}

fn parse_weights(text: &str) -> Result<ClassWeights, String> {
    match text {
        "none" => Ok(ClassWeights::None),
        "balanced" => Ok(ClassWeights::Balanced),
        file => read(Path::new(file)).map(ClassWeights::Given),
    }
}

/// Weights by class from a file.
fn read(path: &Path) -> Result<BTreeMap<String, f64>, String> {
    let text = regular::read_text(path, "it is neither balanced nor none, and no file that can be read:").map_err(|e| e.to_string())?;
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(&text).map_err(|e| format!("{} is no object of weights by class: {e}", path.display()));
    }
    let mut found = BTreeMap::new();
    for (number, line) in (1usize..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let weight = line.rsplit_once(',').and_then(|(name, weight)| Some((name.trim(), weight.trim().parse::<f64>().ok()?)));
        let (name, weight) = weight.ok_or_else(|| format!("line {} of {} is no `class,weight`: {line}", number, path.display()))?;
        if found.insert(name.to_string(), weight).is_some() {
            return Err(format!("{} has two weights for {name}", path.display()));
        }
    }
    Ok(found)
}

impl BalanceArgs {
    pub fn set(&self, training: &mut Training) -> Result<(), Error> {
        training.sampling = self.sampling.unwrap_or(training.sampling);
        if let Some(weights) = &self.class_weights {
            training.class_weights = weights.clone();
        }
        Ok(())
    }
}
