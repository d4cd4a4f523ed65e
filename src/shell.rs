//! Paths in commands that people copy: each as the one word that a shell takes it for.

use std::ffi::OsStr;
use std::fmt;

/// Shown as one word of a command: quoted where a shell would read it otherwise, and with `./` before what would be an option.
#[derive(Debug, Clone, Copy)]
pub struct Word<'a>(&'a OsStr);

/// `text` as one word of a command.
pub fn word<T: AsRef<OsStr> + ?Sized>(text: &T) -> Word<'_> {
    Word(text.as_ref())
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = self.0.as_encoded_bytes().starts_with(b"-");
        let before = if option { "./" } else { "" };
        match self.0.to_str() {
            Some(text) if !text.is_empty() && text.chars().all(plain) => write!(f, "{before}{text}"),
            Some(text) if !text.chars().any(char::is_control) => write!(f, "'{before}{}'", text.replace('\'', r"'\''")),
            // As bash, zsh and POSIX of 2024 read it: bytes that are no text, and signs that would not survive a terminal.
            _ => {
                write!(f, "$'{before}")?;
                for &byte in self.0.as_encoded_bytes() {
                    match byte {
                        b'\'' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                        b' '..=b'~' => write!(f, "{}", char::from(byte))?,
                        _ => write!(f, "\\x{byte:02x}")?,
                    }
                }
                f.write_str("'")
            }
        }
    }
}

/// Signs that mean themselves everywhere in a word; letters of all languages are some.
fn plain(c: char) -> bool {
    c.is_alphanumeric() || "_./-+,:@%=".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 14] = [
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
    ];

    #[test]
    fn names_without_meaning_stay_as_they_are() {
        let shown = |name: &str| word(name).to_string();
        assert_eq!([shown("runs/größe-2"), shown("my run"), shown("-o"), shown("- o")], ["runs/größe-2", "'my run'", "./-o", "'./- o'"]);
    }

    /// What bash makes of it is the name again.
    #[cfg(unix)]
    #[test]
    fn a_shell_reads_one_word() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = OsStr::from_bytes(b"caf\xe9 'x'\\");
        for name in NAMES.iter().map(OsStr::new).chain([bytes]) {
            let line = format!("printf %s {}", word(name));
            let Ok(found) = std::process::Command::new("bash").env("LC_ALL", "C.UTF-8").args(["-c", &line]).output() else { return };
            let wanted = [if name.as_bytes().starts_with(b"-") { &b"./"[..] } else { b"" }, name.as_bytes()].concat();
            assert_eq!(found.stdout, wanted, "{line}");
        }
    }
}
