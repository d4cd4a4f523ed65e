//! Of bytes, and of text.

use super::Random;

/// Flips, cuts, repeats, moves and overwrites.
pub fn bytes(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = seed.to_vec();
    for _ in 0..=random.below(4) {
        if out.is_empty() {
            return out;
        }
        let at = random.below(out.len());
        let len = 1 + random.below(16.min(out.len() - at));
        match random.below(8) {
            0 | 1 => out[at] ^= 1 << random.below(8),
            2 => out[at..at + len].iter_mut().for_each(|b| *b = random.next() as u8),
            3 => out[at..at + len].fill([0, 0xff, 0x7f, 0x80][random.below(4)]),
            4 => out.truncate(at),
            5 => drop(out.drain(at..at + len)),
            6 => {
                let part = out[at..at + len].to_vec();
                let to = random.below(out.len());
                out.splice(to..to, part);
            }
            _ => {
                let number = random.extreme();
                let number = if random.below(2) == 0 { number.to_le_bytes() } else { number.to_be_bytes() };
                let width = [2, 4, 8][random.below(3)];
                out.iter_mut().skip(at).zip(&number[..width]).for_each(|(b, n)| *b = *n);
            }
        }
    }
    out
}

const WORDS: [&str; 18] = [
    "1e999",
    "-1",
    "18446744073709551616",
    "9223372036854775807",
    "null",
    "[]",
    "{}",
    "\"\"",
    "true",
    "1.5",
    "NaN",
    "0",
    "\u{0}",
    "\"a\"",
    "../../x",
    "é\u{202e}",
    "1e-400",
    "'",
];

/// A number, a word or a character of a text becomes another, or a line comes twice or goes.
pub fn text(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let text = String::from_utf8_lossy(seed).into_owned();
    if random.below(6) == 0 {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let at = random.below(lines.len());
        if at < lines.len() {
            let line = lines.remove(at);
            for _ in 0..random.below(3) {
                lines.insert(random.below(lines.len() + 1), line);
            }
        }
        return lines.concat().into_bytes();
    }
    let spans = match random.below(3) {
        0 => spans(&text, |c| c.is_alphabetic() || c == '_'),
        _ => spans(&text, |c| c.is_ascii_digit() || "+-.eE".contains(c)),
    };
    match random.pick(&spans) {
        Some(&(from, to)) if random.below(8) > 0 => {
            let new = match random.below(4) {
                0 | 1 => random.extreme().to_string(),
                2 => text[from..to].chars().rev().collect(),
                _ => WORDS[random.below(WORDS.len())].to_string(),
            };
            format!("{}{new}{}", &text[..from], &text[to..]).into_bytes()
        }
        _ => bytes(seed, random),
    }
}

fn spans(text: &str, belongs: impl Fn(char) -> bool) -> Vec<(usize, usize)> {
    let mut spans = vec![];
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), '\n')]) {
        match (belongs(c), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                spans.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    spans
}

/// A length, then JSON, then data, as safetensors files are: the JSON is changed, with a length that fits, or the bytes.
pub fn with_header(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let length = seed.first_chunk::<8>().map(|b| u64::from_le_bytes(*b) as usize);
    match length.and_then(|n| Some((seed.get(8..8usize.checked_add(n)?)?, seed.get(8 + n..)?))) {
        Some((header, data)) if random.below(4) > 0 => {
            let header = super::json(header, random);
            let length = if random.below(8) == 0 { random.extreme() as u64 } else { header.len() as u64 };
            [&length.to_le_bytes()[..], &header, data].concat()
        }
        _ => bytes(seed, random),
    }
}
