//! Parameters that hold the same numbers and are trained apart: exporters that compute a weight's other form ahead store it as a weight of its own.

use crate::import::{Imported, Split};
use crate::ir::Tensor;
use std::collections::HashMap;

/// Pairs of weights by name, of which the second is the first again, or its transpose: nothing keeps them so while they are trained. Those that import has
/// taken apart itself are not among them, nor are weights of equal numbers.
pub(super) fn alike(imported: &Imported, split: &[Split]) -> Vec<(String, String)> {
    let is_split = |name: &str| split.iter().any(|s| s.name == name || s.initializer == name);
    let weights = imported.parameters.iter().filter(|p| p.kind.is_weight() && !is_split(&p.name));
    let weights = weights.filter_map(|p| Some((&p.name, imported.graph.value(p.value).initializer()?)));
    // By sizes, the first number and the last, which a transpose keeps; what agrees by these is compared.
    let mut before: HashMap<_, Vec<(&String, &Tensor)>> = HashMap::new();
    let mut found = vec![];
    for (name, tensor) in weights.filter(|(_, t)| t.shape().len() > 1 && t.count() > 1) {
        let mut sizes = tensor.shape().to_vec();
        sizes.sort_unstable();
        let mut words = tensor.bytes().chunks_exact(tensor.dtype().size().max(1));
        if words.clone().all(|word| tensor.bytes().starts_with(word)) {
            continue;
        }
        let others = before.entry((sizes, words.next(), words.next_back())).or_default();
        if let Some((first, _)) = others.iter().find(|(_, other)| same(tensor, other)) {
            found.push((first.to_string(), name.clone()));
        }
        others.push((name, tensor));
    }
    found
}

/// Whether both hold the same numbers in the same places, or with two axes exchanged.
fn same(one: &Tensor, other: &Tensor) -> bool {
    if one.dtype() != other.dtype() {
        return false;
    }
    if one.shape() == other.shape() && one.bytes() == other.bytes() {
        return true;
    }
    let (&[rows, columns], &[a, b]) = (one.shape(), other.shape()) else { return false };
    let size = one.dtype().size();
    let at = |i: usize| one.bytes().get(i.saturating_mul(size)..i.saturating_add(1).saturating_mul(size));
    let turned = || (0..columns).flat_map(|c| (0..rows).map(move |r| r.saturating_mul(columns).saturating_add(c)));
    (a, b) == (columns, rows) && turned().zip(other.bytes().chunks_exact(size.max(1))).all(|(i, number)| at(i) == Some(number))
}
