//! Lines over two axes.

use super::colours::{GRID, INK, SERIES};
use super::svg::{Canvas, SCALE, Svg, failed};
use super::text::number;
use crate::error::Result;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Height of the row with the lines' names.
const LEGEND: u32 = 24;

/// A place on a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Along the horizontal axis.
    pub x: f64,
    /// Along the vertical axis.
    pub y: f64,
    /// Half the length of a bar for the uncertainty; 0 for none.
    pub error: f64,
}

impl Point {
    /// Without a bar.
    pub fn new(x: f64, y: f64) -> Point {
        Point { x, y, error: 0.0 }
    }
}

/// A named line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// From left to right; those that are no numbers are left out.
    pub points: Vec<Point>,
    /// Whether each point is marked.
    pub marks: bool,
}

impl Series {
    /// A line without marks.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Series {
        Series { name: name.into(), points: points.into_iter().map(|(x, y)| Point::new(x, y)).collect(), marks: false }
    }

    /// With every point marked.
    pub fn marked(self) -> Series {
        Series { marks: true, ..self }
    }

    /// At most `most` points: neighbours are replaced by their mean.
    pub fn thinned(mut self, most: usize) -> Series {
        let each = self.points.len().div_ceil(most.max(1)).max(1);
        if each > 1 {
            let mean = |p: &[Point], f: fn(&Point) -> f64| p.iter().map(f).sum::<f64>() / p.len().max(1) as f64;
            self.points =
                self.points.chunks(each).map(|p| Point { x: mean(p, |p| p.x), y: mean(p, |p| p.y), error: mean(p, |p| p.error) }).collect();
        }
        self
    }
}

/// A plot of lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LineChart {
    /// What is seen.
    pub title: String,
    /// What the horizontal axis is.
    pub x: String,
    /// What the vertical axis is.
    pub y: String,
    /// The lines; those without points are left out.
    pub series: Vec<Series>,
    /// Bounds of the vertical axis; `None`: what the points need.
    pub y_range: Option<(f64, f64)>,
    /// Bounds of the horizontal axis; `None`: what the points need.
    pub x_range: Option<(f64, f64)>,
    /// A logarithmic horizontal axis, for points right of 0.
    pub log_x: bool,
    /// Width and height; `None` for the usual ones.
    pub size: Option<(u32, u32)>,
}

/// The smallest and the largest, a little apart where they are one.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    match high - low {
        gap if gap > 0.0 && gap.is_finite() => (low, high),
        _ if low.is_finite() => (low - 0.5 * low.abs().max(1e-6), low + 0.5 * low.abs().max(1e-6)),
        _ => (0.0, 1.0),
    }
}

/// So many places of points are named at a logarithmic axis; of more, its powers of ten are.
const MOST_PLACES: usize = 8;

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

impl LineChart {
    /// Draws it.
    pub fn svg(&self) -> Result<Svg> {
        let (width, height) = self.size.unwrap_or((720, 300));
        let keep = |p: &&Point| p.x.is_finite() && p.y.is_finite() && (!self.log_x || p.x > 0.0);
        let series: Vec<Series> = self
            .series
            .iter()
            .map(|s| Series { points: s.points.iter().filter(keep).copied().collect(), ..s.clone() })
            .filter(|s| !s.points.is_empty())
            .collect();
        let all = || series.iter().flat_map(|s| &s.points);
        let (left, right) = self.x_range.unwrap_or_else(|| bounds(all().map(|p| p.x)));
        let (low, high) = self.y_range.unwrap_or_else(|| {
            let (low, high) = bounds(all().flat_map(|p| [p.y - p.error.abs(), p.y + p.error.abs()]));
            let room = 0.05 * (high - low);
            (if low >= 0.0 { (low - room).max(0.0) } else { low - room }, high + room)
        });
        let places = distinct(all().map(|p| p.x));
        Svg::draw(&self.title, width, height, |canvas| match self.log_x {
            true => {
                let axis = (left.max(f64::MIN_POSITIVE)..right).log_scale();
                match places.len() <= MOST_PLACES {
                    true => self.draw(canvas, &series, axis.with_key_points(places), low..high),
                    false => self.draw(canvas, &series, axis, low..high),
                }
            }
            false => self.draw(canvas, &series, left..right, low..high),
        })
    }

    fn draw<X>(&self, canvas: &Canvas, series: &[Series], x: X, y: std::ops::Range<f64>) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let s = SCALE;
        let legend = if series.iter().filter(|s| !s.name.is_empty()).count() > 1 { LEGEND } else { 0 };
        let font = ("sans-serif", 16 * s).into_font().color(&INK.light);
        let mut chart = ChartBuilder::on(canvas)
            .margin_top(s.saturating_mul(legend.saturating_add(8)))
            .margin_right(20 * s)
            .margin_left(4 * s)
            .x_label_area_size(44 * s)
            .y_label_area_size(70 * s)
            .build_cartesian_2d(x, y)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.light.stroke_width(s))
            .axis_style(INK.light.stroke_width(s))
            .set_all_tick_mark_size(4 * s)
            .label_style(font.clone())
            .axis_desc_style(font.clone())
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|v| tick(*v))
            .y_label_formatter(&|v| tick(*v))
            .x_desc(&self.x)
            .y_desc(&self.y)
            .draw()
            .map_err(failed)?;
        for (line, colour) in series.iter().zip(SERIES.iter().cycle()) {
            let style = colour.light.stroke_width(2 * s);
            let places = line.points.iter().map(|p| (p.x, p.y));
            chart.draw_series(LineSeries::new(places.clone(), style)).map_err(failed)?;
            if line.marks {
                chart.draw_series(places.map(|place| Circle::new(place, 4 * s, colour.light.filled()))).map_err(failed)?;
            }
            let bars = line.points.iter().filter(|p| p.error > 0.0);
            chart.draw_series(bars.map(|p| PathElement::new([(p.x, p.y - p.error), (p.x, p.y + p.error)], style))).map_err(failed)?;
        }
        if legend > 0 { legend_row(canvas, series) } else { Ok(()) }
    }
}

/// The lines' names above the plot, where they cover nothing.
fn legend_row(canvas: &Canvas, series: &[Series]) -> Result<()> {
    let at = |x: f64| ((x * f64::from(SCALE)) as i32, (LEGEND * SCALE / 2) as i32);
    let style = ("sans-serif", 16 * SCALE).into_font().color(&INK.light).pos(Pos::new(HPos::Left, VPos::Center));
    let mut x = 74.0;
    for (line, colour) in series.iter().zip(SERIES.iter().cycle()).filter(|(line, _)| !line.name.is_empty()) {
        let stroke = PathElement::new([at(x), at(x + 20.0)], colour.light.stroke_width(3 * SCALE));
        canvas.draw(&stroke).map_err(failed)?;
        canvas.draw(&Text::new(line.name.clone(), at(x + 26.0), style.clone())).map_err(failed)?;
        x += 26.0 + line.name.chars().count() as f64 * 8.0 + 18.0;
    }
    Ok(())
}

/// A number at an axis: without the zeros that a fixed number of digits would give.
fn tick(value: f64) -> String {
    let text = number(if value.abs() < 1e-12 { 0.0 } else { value });
    match text.split_once('e') {
        Some((digits, power)) => format!("{}e{power}", trimmed(digits)),
        None => trimmed(&text),
    }
}

fn trimmed(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_drawn_of_anything() {
        let hard = [vec![], vec![(0.0, 1.0)], vec![(1.0, f64::NAN), (2.0, f64::INFINITY)], vec![(3.0, 2.0), (3.0, 2.0)]];
        for points in hard {
            for log_x in [false, true] {
                let chart =
                    LineChart { title: "a <b>".into(), series: vec![Series::new("s", points.clone())], log_x, ..LineChart::default() };
                let text = chart.svg().unwrap().file();
                assert!(text.starts_with("<svg") && text.ends_with("</svg>\n") && text.contains("<title>a &lt;b&gt;</title>"), "{text}");
            }
        }
    }

    #[test]
    fn few_places_of_a_logarithmic_axis_are_named() {
        let labels = |points: &[f64]| {
            let series = vec![Series::new("", points.iter().map(|&x| (x, 0.5)))];
            let chart = LineChart { series, log_x: true, y_range: Some((-1.0, -0.5)), ..LineChart::default() };
            let text = chart.svg().unwrap().file();
            points.iter().filter(|&&x| text.contains(&format!("\n{}\n", tick(x)))).count()
        };
        assert_eq!(labels(&[10.0, 30.0, 100.0]), 3);
        assert_eq!(labels(&[11.0, 13.0, 15.0, 17.0, 19.0, 21.0, 23.0, 27.0, 29.0]), 0);
    }

    #[test]
    fn thinned_series_keep_their_mean() {
        let line = Series::new("s", (0..1000).map(|i| (i as f64, 2.0 * i as f64))).thinned(100);
        assert_eq!((line.points.len(), line.points[0]), (100, Point::new(4.5, 9.0)));
    }

    #[test]
    fn ticks_have_no_zeros_behind() {
        assert_eq!([0.5, 100.0, 1e-5, 0.0, 2.25].map(tick), ["0.5", "100", "1e-5", "0", "2.25"]);
    }
}
