//! A matrix of counts, coloured by each row's shares.

use super::bars::shortened;
use super::colours::{CELL, GRID, INK, ON_STRONG};
use super::svg::{SCALE, Svg, failed};
use crate::error::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Counts by row and column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Matrix {
    /// What is seen.
    pub title: String,
    /// What the rows are.
    pub rows: String,
    /// What the columns are.
    pub columns: String,
    /// Names of rows and columns.
    pub names: Vec<String>,
    /// By row; as many as names in each direction.
    pub counts: Vec<Vec<u64>>,
}

impl Matrix {
    /// Draws it. A cell is the darker the larger its share of its row.
    pub fn svg(&self) -> Result<Svg> {
        // Places are floats, which nothing that is drawn can overflow.
        let s = f64::from(SCALE);
        let count = self.names.len() as f64;
        let longest = self.names.iter().map(|n| n.chars().count()).max().unwrap_or(0).min(18) as f64;
        let cell = (640.0 / count.max(1.0)).floor().clamp(14.0, 44.0);
        let (left, top) = (longest * 8.0 + 34.0, longest * 8.0 + 34.0);
        let font = |size: f64| ("sans-serif", size * s).into_font();
        let label = (cell - 1.0).clamp(11.0, 15.0);
        let at = |x: f64, y: f64| ((x.floor() * s) as i32, (y.floor() * s) as i32);
        let (width, height) = ((left + cell * count + 10.0).max(320.0), top + cell * count + 10.0);
        Svg::draw(&self.title, width as u32, height as u32, |canvas| {
            let named = |text: &str, x, y, font: FontDesc<'static>, h, v| {
                canvas.draw(&Text::new(text.to_string(), at(x, y), font.color(&INK.light).pos(Pos::new(h, v)))).map_err(failed)
            };
            named(&self.columns, left + cell * count / 2.0, 4.0, font(15.0), HPos::Center, VPos::Top)?;
            let turned = font(15.0).transform(FontTransform::Rotate270);
            named(&self.rows, 4.0, top + cell * count / 2.0, turned, HPos::Center, VPos::Top)?;
            for (i, name) in self.names.iter().enumerate() {
                let middle = cell * i as f64 + cell / 2.0;
                let name = shortened(name, 18);
                named(&name, left - 6.0, top + middle, font(label), HPos::Right, VPos::Center)?;
                let upright = font(label).transform(FontTransform::Rotate270);
                named(&name, left + middle, top - 6.0, upright, HPos::Left, VPos::Center)?;
            }
            for (r, row) in self.counts.iter().enumerate() {
                let sum = row.iter().map(|&n| n as f64).sum::<f64>().max(1.0);
                for (c, &n) in row.iter().enumerate() {
                    let (x, y) = (left + cell * c as f64, top + cell * r as f64);
                    let corners = [at(x, y), at(x + cell, y + cell)];
                    let share = n as f64 / sum;
                    if n > 0 {
                        let strength = 0.08 + 0.92 * share;
                        canvas.draw(&Rectangle::new(corners, CELL.light.mix(strength).filled())).map_err(failed)?;
                    }
                    canvas.draw(&Rectangle::new(corners, GRID.light.stroke_width(SCALE / 2))).map_err(failed)?;
                    if n > 0 && cell >= 20.0 {
                        let ink = if share > 0.5 { ON_STRONG } else { INK };
                        let style = font(label.min(14.0)).color(&ink.light).pos(Pos::new(HPos::Center, VPos::Center));
                        canvas.draw(&Text::new(n.to_string(), at(x + cell / 2.0, y + cell / 2.0), style)).map_err(failed)?;
                    }
                }
            }
            Ok(())
        })
    }
}
