//! Classes of different size: which images an epoch has, and what each weighs in the loss.

use crate::error::{Error, Result};
use crate::field::Field;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which images an epoch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Each of them once.
    #[default]
    Shuffle,
    /// Every class equally often, and as many images as there are: those of small classes come several times, and of large classes another part in
    /// each epoch.
    Balanced,
}

/// What images of each class weigh in the loss, whose mean is then a weighted one: PyTorch's `CrossEntropyLoss(weight=…)`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassWeights {
    /// All the same.
    #[default]
    None,
    /// n/(K·n_k), with n images of K classes, n_k of them of the class itself: classes weigh the same.
    Balanced,
    /// By the name of the class.
    Given(BTreeMap<String, f64>),
}

impl ClassWeights {
    /// The weights by label, for classes of that many training images; `None` where nothing is weighed. Fails for names that are no class, classes
    /// without a weight, and weights that make no sense.
    pub fn by_label(&self, classes: &[String], images: &[usize]) -> Result<Option<Vec<f64>>> {
        let wrong = |why: String| Err(Error::option(Field::CLASS_WEIGHTS, why));
        match self {
            ClassWeights::None => Ok(None),
            ClassWeights::Balanced => {
                let (all, present) = (images.iter().sum::<usize>(), images.iter().filter(|n| **n > 0).count());
                // A class without images weighs nothing in any case.
                let weight = |&n: &usize| if n == 0 { 1.0 } else { all as f64 / present.saturating_mul(n) as f64 };
                Ok(Some(images.iter().map(weight).collect()))
            }
            ClassWeights::Given(given) => {
                if let Some(unknown) = given.keys().find(|name| !classes.contains(name)) {
                    return wrong(format!(": '{unknown}' is none of the classes, which are {}", classes.join(", ")));
                }
                if let Some((name, weight)) = given.iter().find(|(_, w)| !(w.is_finite() && **w >= 0.0)) {
                    return wrong(format!(": {weight} for '{name}' is no weight; give 0 or a positive number"));
                }
                let missing: Vec<&str> = classes.iter().filter(|c| !given.contains_key(*c)).map(String::as_str).collect();
                if !missing.is_empty() {
                    return wrong(format!(": there is no weight for {}", missing.join(", ")));
                }
                let weights: Vec<f64> = classes.iter().filter_map(|c| given.get(c).copied()).collect();
                if images.iter().zip(&weights).all(|(&n, &w)| n == 0 || w == 0.0) {
                    return wrong(": no class with images has a weight above 0".into());
                }
                Ok(Some(weights))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_by_label_or_not_at_all() {
        let classes = ["a", "b", "c"].map(String::from);
        let balanced = ClassWeights::Balanced.by_label(&classes, &[30, 10, 20]).unwrap().unwrap();
        // As scikit-learn's compute_class_weight("balanced").
        assert_eq!(balanced, [60.0 / 90.0, 2.0, 1.0]);
        assert_eq!(ClassWeights::Balanced.by_label(&classes, &[30, 0, 10]).unwrap().unwrap(), [40.0 / 60.0, 1.0, 2.0]);
        assert_eq!(ClassWeights::None.by_label(&classes, &[1, 2, 3]).unwrap(), None);
        let given = |list: &[(&str, f64)]| ClassWeights::Given(list.iter().map(|(n, w)| (n.to_string(), *w)).collect());
        assert_eq!(given(&[("c", 3.0), ("a", 1.0), ("b", 0.0)]).by_label(&classes, &[1; 3]).unwrap().unwrap(), [1.0, 0.0, 3.0]);
        for (list, part) in [
            (&[("c", 3.0), ("a", 1.0), ("d", 0.0)][..], "'d' is none"),
            (&[("c", 3.0), ("a", 1.0)], "no weight for b"),
            (&[("c", 3.0), ("a", -1.0), ("b", 1.0)], "-1 for 'a'"),
            (&[("c", f64::NAN), ("a", 1.0), ("b", 1.0)], "NaN for 'c'"),
            (&[("c", 0.0), ("a", 0.0), ("b", 0.0)], "above 0"),
        ] {
            let error = given(list).by_label(&classes, &[1; 3]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
