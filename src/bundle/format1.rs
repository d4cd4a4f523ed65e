//! Manifests of format 1, in which names said what ports mean: they become manifests of format 2 as they are read.

use super::meaning::Measure;
use serde_json::{Value, json};

/// The step's outputs of format 1 that are no state, in their order.
const OUTPUTS: [Measure; 4] = [Measure::Loss, Measure::DataLoss, Measure::Penalty, Measure::Correct];

/// Gives ports their meaning. What is missing or damaged stays as it is, for the reader of format 2 to complain about.
///
/// The learning rate was the first scalar and outputs had an order, whatever they were called. Of the other scalars only the name says what they are.
pub(super) fn upgrade(manifest: &mut Value) {
    manifest["format"] = json!(2);
    for (at, scalar) in list(manifest, "scalars").enumerate() {
        let name = scalar["name"].as_str().unwrap_or_default().to_string();
        scalar["meaning"] = match (at, name.strip_prefix("alpha:")) {
            (0, _) => json!("learning-rate"),
            (_, Some(pattern)) => json!({ "alpha-of": pattern }),
            (_, None) if matches!(name.as_str(), "alpha" | "beta") => json!(name),
            (_, None) => json!({ "regularizer": name }),
        };
    }
    for (output, meaning) in list(manifest, "outputs").zip(OUTPUTS) {
        *output = json!({ "name": output, "meaning": meaning });
    }
    if manifest.pointer("/optimizer/clip_norm").is_some() {
        for state in list(manifest, "state").filter(|s| matches!(s["role"].as_str(), Some("shared" | "new"))) {
            state["gradient_square"] = json!(format!("{}.grad.square", state["name"].as_str().unwrap_or_default()));
        }
    }
    if list(manifest, "state").any(|s| s.get("gradient").is_some()) {
        let output = |name: &str, meaning: Measure| json!({ "name": name, "meaning": meaning });
        let mut grad = vec![output("loss", Measure::DataLoss), output("correct", Measure::Correct)];
        if list(manifest, "regularizers").next().is_some() {
            grad.push(output("regularizer", Measure::Regularizers));
        }
        manifest["split"] = json!({ "grad": grad, "apply": [output("penalty", Measure::Penalty)] });
    }
}

fn list<'a>(manifest: &'a mut Value, field: &str) -> impl Iterator<Item = &'a mut Value> {
    manifest.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten()
}
