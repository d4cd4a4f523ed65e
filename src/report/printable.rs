//! Text from files, folders and models in what people read: no name gives orders to a terminal or rearranges a line.

use crate::shell::is_order;
use std::borrow::Cow;

/// The text with orders to terminals, and signs that turn the direction of what follows, spelled out, as in `\u{1b}`. Lines stay lines.
pub fn printable(text: &str) -> Cow<'_, str> {
    spelled(text, is_order)
}

/// The same for what has to stay on one line.
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    spelled(text, |c| is_order(c) || c == '\n' || c == '\t')
}

fn spelled(text: &str, out: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&out) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match out(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_spelled_out_and_text_is_left_alone() {
        assert_eq!(printable("a\u{1b}[2J\rb\u{9b}31m\u{202e}c\n\td"), "a\\u{1b}[2J\\rb\\u{9b}31m\\u{202e}c\n\td");
        assert_eq!(on_one_line("two\nlines\t"), "two\\nlines\\t");
        assert!(matches!(printable("größe 猫 🐈 \\n"), Cow::Borrowed("größe 猫 🐈 \\n")));
    }
}
