//! Lists and dictionaries as text, as JSON or as Python prints them: that is how exporters write them into a model's metadata.

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    /// A string.
    Text(String),
    /// A number or a word such as `None`, as it is written.
    Bare(String),
    /// A list, a tuple or a set.
    List(Vec<Literal>),
    /// A dictionary, in its order.
    Dict(Vec<(Literal, Literal)>),
}

/// Reads all of `text`; `None` where it is no such value.
pub(super) fn parse(text: &str) -> Option<Literal> {
    let signs: Vec<char> = text.chars().collect();
    let mut reader = Reader { signs: &signs, at: 0 };
    let value = reader.value(0)?;
    reader.peek().is_none().then_some(value)
}

impl Literal {
    /// Text, number or word.
    pub fn scalar(&self) -> Option<&str> {
        match self {
            Literal::Text(text) | Literal::Bare(text) => Some(text),
            _ => None,
        }
    }

    /// A number that is 0 or more and whole, also as text.
    pub fn index(&self) -> Option<usize> {
        self.scalar()?.parse().ok()
    }

    /// The dictionary's value for the first of `keys` that it has.
    pub fn get(&self, keys: &[&str]) -> Option<&Literal> {
        let Literal::Dict(pairs) = self else { return None };
        keys.iter()
            .find_map(|key| pairs.iter().find(|(k, _)| k.scalar().is_some_and(|k| k.eq_ignore_ascii_case(key))))
            .map(|(_, value)| value)
    }
}

/// Values inside each other; deeper ones are no metadata.
const DEEPEST: usize = 16;

struct Reader<'a> {
    signs: &'a [char],
    at: usize,
}

impl Reader<'_> {
    /// The next sign that is no space.
    fn peek(&mut self) -> Option<char> {
        while self.signs.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at = self.at.saturating_add(1);
        }
        self.signs.get(self.at).copied()
    }

    fn take(&mut self, sign: char) -> bool {
        let there = self.peek() == Some(sign);
        self.at = self.at.saturating_add(there.into());
        there
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            '{' => self.braces(depth),
            '[' => self.list('[', ']', depth),
            '(' => self.list('(', ')', depth),
            '\'' | '"' => self.text().map(Literal::Text),
            // Python 2 wrote u'…'.
            'u' if matches!(self.signs.get(self.at.saturating_add(1)), Some('\'' | '"')) => {
                self.at = self.at.saturating_add(1);
                self.text().map(Literal::Text)
            }
            _ => {
                let start = self.at;
                let part = |c: &char| c.is_alphanumeric() || matches!(c, '.' | '+' | '-' | '_');
                while self.signs.get(self.at).is_some_and(part) {
                    self.at = self.at.saturating_add(1);
                }
                (self.at > start).then(|| Literal::Bare(self.signs.get(start..self.at).unwrap_or_default().iter().collect()))
            }
        }
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Option<Literal> {
        self.take(open);
        let mut items = vec![];
        while !self.take(close) {
            items.push(self.value(depth.saturating_add(1))?);
            if !self.take(',') {
                return self.take(close).then_some(Literal::List(items));
            }
        }
        Some(Literal::List(items))
    }

    /// A dictionary, or a set.
    fn braces(&mut self, depth: usize) -> Option<Literal> {
        self.take('{');
        let (mut pairs, mut items) = (vec![], vec![]);
        while !self.take('}') {
            let key = self.value(depth.saturating_add(1))?;
            match self.take(':') {
                true => pairs.push((key, self.value(depth.saturating_add(1))?)),
                false => items.push(key),
            }
            if !self.take(',') {
                if !self.take('}') {
                    return None;
                }
                break;
            }
        }
        match (pairs.is_empty(), items.is_empty()) {
            (_, true) => Some(Literal::Dict(pairs)),
            // A set has no order, so it says nothing about labels.
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let quote = *self.signs.get(self.at)?;
        self.at = self.at.saturating_add(1);
        let mut units: Vec<u16> = vec![];
        let push = |units: &mut Vec<u16>, c: char| units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
        loop {
            let sign = *self.signs.get(self.at)?;
            self.at = self.at.saturating_add(1);
            if sign == quote {
                return String::from_utf16(&units).ok();
            }
            if sign != '\\' {
                push(&mut units, sign);
                continue;
            }
            let escape = *self.signs.get(self.at)?;
            self.at = self.at.saturating_add(1);
            let length = match escape {
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => {
                    push(
                        &mut units,
                        match escape {
                            'n' => '\n',
                            't' => '\t',
                            'r' => '\r',
                            'b' => '\u{8}',
                            'f' => '\u{c}',
                            '\\' | '\'' | '"' | '/' => escape,
                            _ => return None,
                        },
                    );
                    continue;
                }
            };
            let end = self.at.saturating_add(length);
            let code: String = self.signs.get(self.at..end)?.iter().collect();
            self.at = end;
            let code = u32::from_str_radix(&code, 16).ok()?;
            match u16::try_from(code) {
                // JSON writes signs beyond 16 bits as two.
                Ok(unit) => units.push(unit),
                Err(_) => units.extend_from_slice(char::from_u32(code)?.encode_utf16(&mut [0; 2])),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_and_json_are_read() {
        let text = |t: &str| Literal::Text(t.into());
        let bare = |t: &str| Literal::Bare(t.into());
        let cases = [
            ("{0: 'cat', 1: \"dog's\"}", Some(Literal::Dict(vec![(bare("0"), text("cat")), (bare("1"), text("dog's"))]))),
            (r#"{"0": "\u00e9", "1": "\ud83d\ude00"}"#, Some(Literal::Dict(vec![(text("0"), text("é")), (text("1"), text("😀"))]))),
            (r"['it\'s', '\xe9', '\U0001f600', ]", Some(Literal::List(vec![text("it's"), text("é"), text("😀")]))),
            ("(1, 2.5, -3e2, None)", Some(Literal::List(vec![bare("1"), bare("2.5"), bare("-3e2"), bare("None")]))),
            (" [ ] ", Some(Literal::List(vec![]))),
            ("{}", Some(Literal::Dict(vec![]))),
            ("{'a', 'b'}", None),
            ("{0: 'cat'", None),
            ("[1, 2] 3", None),
            ("['a' 'b']", None),
            ("'open", None),
            ("", None),
        ];
        for (source, expected) in cases {
            assert_eq!(parse(source), expected, "{source}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }
}
