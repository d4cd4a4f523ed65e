//! Paths in commands that people copy: each as the one word that a shell takes it for.

use std::ffi::OsStr;
use std::fmt;

/// Shown as one word of a command: quoted where a shell would read it otherwise, and with `./` before what would be an option.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a>(&'a OsStr);

impl Word<'_> {
    /// Whether it is shown by the numbers of its bytes: what is no text, and signs that a terminal obeys or does not show.
    fn is_escaped(&self) -> bool {
        self.0.to_str().is_none_or(|text| text.chars().any(|c| is_order(c) || is_unseen(c) || c == '\n' || c == '\t'))
    }

    /// Whether it is shown as `$'…'`, as bash, zsh and POSIX of 2024 read it, and older shells do not: a line's end that ends a name, which a shell takes off what a command printed.
    pub fn is_for_newer_shells(&self) -> bool {
        self.0.as_encoded_bytes().ends_with(b"\n")
    }
}

/// Whether a sign is an order to a terminal or page, or turns the direction of what follows, by which a name could rearrange a line.
pub(crate) fn is_order(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Signs that nobody sees, or takes for a space, and that are part of no word in any language: hyphens and spaces without width or break, fillers, marks of
/// annotations, tags.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{ad}' | '\u{115f}' | '\u{1160}' | '\u{200b}' | '\u{202f}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}')
        || matches!(c, '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e00ff}')
}

/// `text` as one word of a command.
pub fn word<T: AsRef<OsStr> + ?Sized>(text: &T) -> Word<'_> {
    Word(text.as_ref())
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = self.0.as_encoded_bytes().starts_with(b"-");
        let before = if option { "./" } else { "" };
        match self.0.to_str().filter(|_| !self.is_escaped()) {
            Some(text) if is_plain(text) => write!(f, "{before}{text}"),
            // A backslash within quotes means itself but in fish; outside of them all shells read two as one.
            Some(text) => {
                write!(f, "'{before}")?;
                for c in text.chars() {
                    match c {
                        '\'' | '\\' => write!(f, "'\\{c}'")?,
                        c => write!(f, "{c}")?,
                    }
                }
                f.write_str("'")
            }
            None => {
                let newer = self.is_for_newer_shells();
                write!(f, "{}{before}", if newer { "$'" } else { "\"$(printf '" })?;
                for &byte in self.0.as_encoded_bytes() {
                    match byte {
                        b'%' if !newer => f.write_str("%%")?,
                        b' '..=b'~' if !b"'\\".contains(&byte) => write!(f, "{}", char::from(byte))?,
                        _ => write!(f, "\\{byte:03o}")?,
                    }
                }
                f.write_str(if newer { "'" } else { "')\"" })
            }
        }
    }
}

/// Whether all signs mean themselves, as letters of all languages do. At the beginning `=` is zsh's for the place of a command, and `%` is a job.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.starts_with(['=', '%']) && text.chars().all(|c| c.is_alphanumeric() || "_./-+,:@%=".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 22] = [
        "plain/größe_1.onnx",
        "",
        "a b",
        "it's",
        "-o",
        "- o",
        "--out=x",
        "$HOME`id`\"\\",
        "two\nlines",
        "\u{1b}[31m'\\",
        "*?[a]{b,c}",
        "~root",
        "#x;y&z|(<>)!",
        "\u{9b}猫\n",
        "exe.\u{202e}gnp it's",
        "a\u{200b}b\u{2028}",
        "\u{e0041}\u{3164}",
        "=ls",
        "%1",
        "ends in \\",
        "\\\\two\\'",
        "'",
    ];

    #[test]
    fn names_without_meaning_stay_as_they_are() {
        let shown = |name: &str| word(name).to_string();
        assert_eq!(
            [shown("a\u{202e}b"), shown("it's\u{200b}")],
            [r#""$(printf 'a\342\200\256b')""#, r#""$(printf 'it\047s\342\200\213')""#]
        );
        assert_eq!([shown("5%\u{200b}"), shown("a\n")], [r#""$(printf '5%%\342\200\213')""#, r"$'a\012'"]);
        assert_eq!([shown("runs/größe-2"), shown("my run"), shown("-o"), shown("- o")], ["runs/größe-2", "'my run'", "./-o", "'./- o'"]);
        assert_eq!([shown("=ls"), shown("%1"), shown("a=5%"), shown(r"a\")], ["'=ls'", "'%1'", "a=5%", r"'a'\\''"]);
    }

    /// What shells make of it is the name again.
    #[cfg(unix)]
    #[test]
    fn a_shell_reads_one_word() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = OsStr::from_bytes(b"caf\xe9 'x'\\");
        for name in NAMES.iter().map(OsStr::new).chain([bytes]) {
            let line = format!("printf %s {}", word(name));
            for shell in ["sh", "bash", "zsh", "fish"] {
                if ["sh", "fish"].contains(&shell) && word(name).is_for_newer_shells() {
                    continue;
                }
                let found = match std::process::Command::new(shell).env("LC_ALL", "C.UTF-8").args(["-c", &line]).output() {
                    Ok(found) => found,
                    // Not every machine has the others.
                    Err(why) => {
                        assert!(shell != "sh", "{why}");
                        continue;
                    }
                };
                let wanted = [if name.as_bytes().starts_with(b"-") { &b"./"[..] } else { b"" }, name.as_bytes()].concat();
                assert_eq!(found.stdout, wanted, "{shell}: {line}");
            }
        }
    }
}
