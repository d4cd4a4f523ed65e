//! What stands under a key of a model's metadata, read as numbers.

use super::literal::Literal;

/// What stands under a key.
pub(super) struct Entry {
    pub key: String,
    pub text: String,
    pub value: Literal,
    /// Whether it is an entry of its own, and no part of a whole configuration, where a name may mean something else.
    pub alone: bool,
}

impl Entry {
    /// Numbers in any brackets, with commas, semicolons or blanks between them.
    pub fn numbers(&self) -> Option<Vec<f32>> {
        if !self.alone {
            return numbers(&self.value);
        }
        let plain: String = self.text.chars().map(|c| if "[]();,\"'".contains(c) { ' ' } else { c }).collect();
        let found: Option<Vec<f32>> = plain.split_whitespace().map(number).collect();
        found.filter(|n| !n.is_empty())
    }

    /// `[0, 1]`, `0-255`, `-1..1`
    pub fn range(&self) -> Option<(f32, f32)> {
        let ends = |separator: &str| self.text.split_once(separator).and_then(|(a, b)| Some((number(a.trim())?, number(b.trim())?)));
        match self.numbers().as_deref() {
            Some(&[low, high]) => Some((low, high)),
            _ => ["..", " to ", "-", "–", ":"].into_iter().find_map(ends),
        }
    }
}

/// A number, or a quotient of two.
fn number(text: &str) -> Option<f32> {
    let plain = |text: &str| text.trim().parse::<f32>().ok();
    let found = match text.split_once('/') {
        Some((above, below)) => plain(above)? / plain(below)?,
        None => plain(text)?,
    };
    Some(found).filter(|n| n.is_finite())
}

/// The numbers of a list, or the one number.
pub(super) fn numbers(value: &Literal) -> Option<Vec<f32>> {
    match value {
        Literal::List(items) => items.iter().map(|v| number(v.scalar()?)).collect(),
        other => Some(vec![number(other.scalar()?)?]),
    }
}
