//! Text and data inside a page.

use crate::shell::is_order;
use base64::Engine;

/// Text as it can stand between tags and in quoted attributes. Signs that no page can show are replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if is_order(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The content of a file as an address, for pictures inside a page.
pub fn data_uri(mime: &str, data: &[u8]) -> String {
    format!("data:{mime};base64,{}", base64::engine::general_purpose::STANDARD.encode(data))
}

/// A number for people: four significant digits, or an exponent where it is very large or small.
pub fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if !value.is_finite() => "-".into(),
        0.0 => "0".into(),
        _ if !(1e-3..1e6).contains(&size) => format!("{value:.3e}"),
        _ => {
            let digits = 3.0 - size.log10().floor();
            format!("{value:.*}", digits.clamp(0.0, 6.0) as usize)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(escape("<script>&\"'\u{7}\u{202e}x"), "&lt;script&gt;&amp;&quot;&#39;\u{fffd}\u{fffd}x");
    }

    #[test]
    fn numbers_keep_four_digits() {
        let shown: Vec<String> = [0.0, 0.12345, 12.3456, 1234.56, 0.0001234, 1e7, -2.5].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "0.1235", "12.35", "1235", "1.234e-4", "1.000e7", "-2.500"]);
    }
}
