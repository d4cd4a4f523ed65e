//! Horizontal bars with a name each.

use super::colours::{INK, SERIES};
use super::svg::{SCALE, Svg, failed};
use super::text::number;
use crate::error::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// A bar.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// At its left.
    pub name: String,
    /// Its length; below 0 and what is no number: none.
    pub value: f64,
    /// Half the length of a line for the uncertainty; 0 for none.
    pub error: f64,
    /// Which of the colours of series.
    pub colour: usize,
}

/// A plot of horizontal bars, from top to bottom.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarChart {
    /// What is seen.
    pub title: String,
    /// The bars.
    pub bars: Vec<Bar>,
    /// What a value is multiplied by before it is written, and what is written behind it: 100 and " %".
    pub unit: Option<(f64, String)>,
}

/// Height of a bar with the room around it.
const ROW: i32 = 20;
const WIDTH: i32 = 720;

impl BarChart {
    /// Draws it.
    pub fn svg(&self) -> Result<Svg> {
        let s = SCALE as i32;
        let longest = self.bars.iter().map(|b| b.name.chars().count()).max().unwrap_or(0) as i32;
        let left = (longest * 8 + 12).clamp(40, WIDTH / 2);
        let room = (left - 12) / 8;
        let most = self.bars.iter().map(|b| b.value + b.error).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let per = if most > 0.0 { f64::from(WIDTH - left - 90) / most } else { 0.0 };
        let text = |h| ("sans-serif", 15 * SCALE).into_font().color(&INK.light).pos(Pos::new(h, VPos::Center));
        Svg::draw(&self.title, WIDTH as u32, (ROW * self.bars.len().max(1) as i32 + 8) as u32, |canvas| {
            for (i, bar) in self.bars.iter().enumerate() {
                let middle = 4 + ROW * i as i32 + ROW / 2;
                let length = if bar.value.is_finite() { (bar.value.max(0.0) * per) as i32 } else { 0 };
                let colour = SERIES[bar.colour % SERIES.len()].light;
                let name = Text::new(shortened(&bar.name, room as usize), ((left - 8) * s, middle * s), text(HPos::Right));
                canvas.draw(&name).map_err(failed)?;
                let corners = [(left * s, (middle - 7) * s), ((left + length.max(1)) * s, (middle + 7) * s)];
                canvas.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)?;
                let half = if bar.error.is_finite() { (bar.error * per) as i32 } else { 0 };
                if half > 0 {
                    let ends = [((left + length - half).max(left) * s, middle * s), ((left + length + half) * s, middle * s)];
                    canvas.draw(&PathElement::new(ends, INK.light.stroke_width(2 * SCALE))).map_err(failed)?;
                }
                let shown = match &self.unit {
                    Some((factor, unit)) => format!("{}{unit}", number(bar.value * factor)),
                    None => number(bar.value),
                };
                canvas.draw(&Text::new(shown, ((left + length + half + 6) * s, middle * s), text(HPos::Left))).map_err(failed)?;
            }
            Ok(())
        })
    }
}

/// The end of a long name says most.
pub(super) fn shortened(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most.max(2) {
        return name.to_string();
    }
    format!("…{}", name.chars().skip(length + 1 - most.max(2)).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_anything() {
        let bar = |name: &str, value| Bar { name: name.into(), value, error: f64::NAN, colour: 9 };
        let bars = vec![bar("a", f64::NAN), bar("<&>", -1.0), bar(&"long.".repeat(50), 1e300), bar("", 0.0)];
        let text = BarChart { title: "t".into(), bars, unit: None }.svg().unwrap().inline();
        assert!(text.contains("&lt;&amp;&gt;") && text.contains("…"), "{text}");
        assert!(BarChart::default().svg().is_ok());
        assert_eq!((shortened("layer4.conv1", 6).as_str(), shortened("größer", 6).as_str()), ("…conv1", "größer"));
    }
}
