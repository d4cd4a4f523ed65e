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
const ROW: f64 = 20.0;
const WIDTH: f64 = 720.0;

impl BarChart {
    /// Draws it.
    pub fn svg(&self) -> Result<Svg> {
        // Places are floats, which nothing that is drawn can overflow.
        let at = |x: f64, y: f64| ((x * f64::from(SCALE)) as i32, (y * f64::from(SCALE)) as i32);
        let longest = self.bars.iter().map(|b| b.name.chars().count()).max().unwrap_or(0) as f64;
        let left = (longest * 8.0 + 12.0).clamp(40.0, WIDTH / 2.0);
        let room = (left - 12.0) / 8.0;
        let most = self.bars.iter().map(|b| b.value + b.error).filter(|v| v.is_finite()).fold(0.0, f64::max);
        let per = if most > 0.0 { (WIDTH - left - 90.0) / most } else { 0.0 };
        let text = |h| ("sans-serif", 15 * SCALE).into_font().color(&INK.light).pos(Pos::new(h, VPos::Center));
        Svg::draw(&self.title, WIDTH as u32, (ROW * self.bars.len().max(1) as f64 + 8.0) as u32, |canvas| {
            for (i, bar) in self.bars.iter().enumerate() {
                let middle = 4.0 + ROW * i as f64 + ROW / 2.0;
                let length = if bar.value.is_finite() { (bar.value.max(0.0) * per).trunc() } else { 0.0 };
                let colour = bar.colour.checked_rem(SERIES.len()).and_then(|i| SERIES.get(i)).unwrap_or(&INK).light;
                let name = Text::new(shortened(&bar.name, room as usize), at(left - 8.0, middle), text(HPos::Right));
                canvas.draw(&name).map_err(failed)?;
                let corners = [at(left, middle - 7.0), at(left + length.max(1.0), middle + 7.0)];
                canvas.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)?;
                let half = if bar.error.is_finite() { (bar.error * per).trunc() } else { 0.0 };
                if half > 0.0 {
                    let ends = [at((left + length - half).max(left), middle), at(left + length + half, middle)];
                    canvas.draw(&PathElement::new(ends, INK.light.stroke_width(2 * SCALE))).map_err(failed)?;
                }
                let shown = match &self.unit {
                    Some((factor, unit)) => format!("{}{unit}", number(bar.value * factor)),
                    None => number(bar.value),
                };
                canvas.draw(&Text::new(shown, at(left + length + half + 6.0, middle), text(HPos::Left))).map_err(failed)?;
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
    format!("…{}", name.chars().skip(length.saturating_add(1).saturating_sub(most.max(2))).collect::<String>())
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
