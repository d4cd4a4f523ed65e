//! Numbers with a pattern or a kind before them, and sizes, as several subcommands take them.

use spgraph::bundle::ByPattern;

/// `0.1`, or `layer4.*=0.01`.
#[derive(Debug, Clone, PartialEq)]
pub struct StrengthArg {
    pub pattern: Option<String>,
    pub value: f64,
}

/// `0.1`, or `layer4.*=0.01`.
pub fn parse_strength(text: &str) -> Result<StrengthArg, String> {
    let (pattern, value) = text.rsplit_once('=').map_or((None, text), |(p, v)| (Some(p.to_string()), v));
    match (value.parse(), pattern.as_deref()) {
        (_, Some("")) | (Err(_), _) => Err("give a number such as 0.1, or a pattern with a number such as 'layer4.*=0.01'".into()),
        (Ok(value), _) => Ok(StrengthArg { pattern, value }),
    }
}

/// `delta`, or `delta=0.1`.
#[derive(Debug, Clone, PartialEq)]
pub struct RegularizerArg {
    pub kind: String,
    pub strength: Option<f64>,
}

/// `delta`, or `delta=0.1`.
pub fn parse_regularizer(text: &str) -> Result<RegularizerArg, String> {
    let (kind, strength) = text.split_once('=').map_or((text, None), |(kind, value)| (kind, Some(value)));
    let strength =
        strength.map(str::parse).transpose().map_err(|_| "give a kind such as delta, or a kind with a strength such as delta=0.1")?;
    Ok(RegularizerArg { kind: kind.into(), strength })
}

/// `fc.*=10`.
pub fn parse_factor(text: &str) -> Result<ByPattern, String> {
    let parts = text.rsplit_once('=').filter(|(pattern, _)| !pattern.is_empty());
    let (pattern, factor) = parts.ok_or("give a pattern and a factor, such as 'fc.*=10'")?;
    let value = factor.trim().parse().map_err(|_| format!("`{factor}` is no number; give a pattern and a factor, such as 'fc.*=10'"))?;
    Ok(ByPattern { pattern: pattern.to_string(), value })
}

/// Sizes of an input after the batch dimension.
#[derive(Clone)]
pub struct ShapeArg(pub Vec<usize>);

/// `3x224x224`.
pub fn parse_shape(text: &str) -> Result<ShapeArg, String> {
    let sizes: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    match sizes {
        Ok(v) if v.iter().all(|&n| n > 0) => Ok(ShapeArg(v)),
        _ => Err("give positive sizes with x between them, such as 3x224x224".into()),
    }
}

/// `2GB`, `500MB`, `1.5G`, `0`: bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match lower.get(digits.len()..).unwrap_or_default() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "t" | "tb" => 1e12,
        _ => return Err("give a size such as 2GB or 500MB".into()),
    };
    match digits.trim().parse::<f64>() {
        Ok(number) if number >= 0.0 && number.is_finite() => Ok((number * factor) as u64),
        _ => Err("give a size such as 2GB or 500MB".into()),
    }
}
