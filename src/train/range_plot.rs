//! What a run keeps of a learning rate range test.

use super::range_test::RangeTest;
use crate::error::{Error, Result};
use crate::storage::files::write_whole;
use crate::storage::run_folder::RunFolder;
use plotters::prelude::*;

/// Writes the steps into a run, as CSV and as a plot.
pub(super) fn write(test: &RangeTest, folder: &RunFolder) -> Result<()> {
    let mut text = String::from("lr,loss,smoothed\n");
    for p in &test.points {
        text.push_str(&format!("{:e},{},{}\n", p.lr, p.loss, p.smoothed));
    }
    write_whole(&folder.rates(), true, text.as_bytes())?;
    write_whole(&folder.rates_plot(), true, svg(test)?.as_bytes())
}

/// Losses over the rates, as SVG.
fn svg(test: &RangeTest) -> Result<String> {
    let mut text = String::new();
    draw(test, &mut text).map_err(|e| Error::internal(format!("the plot of the range test: {e}")))?;
    Ok(text)
}

fn draw(test: &RangeTest, text: &mut String) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let rates = || test.points.iter().map(|p| p.lr);
    let smoothed = || test.points.iter().map(|p| p.smoothed);
    let (first, last) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    let (low, high) = (smoothed().fold(f64::INFINITY, f64::min), smoothed().fold(f64::NEG_INFINITY, f64::max));
    let margin = 0.05 * (high - low).max(1e-6);
    let (low, high) = (low - margin, high + margin);
    let root = SVGBackend::with_string(text, (760, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("learning rate range test: {:.2e}", test.suggestion), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((first..last).log_scale(), low..high)?;
    chart
        .configure_mesh()
        .x_desc("learning rate")
        .y_desc("loss")
        .x_label_formatter(&|v| format!("{v:.0e}"))
        .light_line_style(WHITE)
        .draw()?;
    let within = |v: f64| v.clamp(low, high);
    chart.draw_series(LineSeries::new(test.points.iter().map(|p| (p.lr, within(p.loss))), RGBColor(190, 190, 190)))?;
    chart.draw_series(LineSeries::new(test.points.iter().map(|p| (p.lr, p.smoothed)), BLUE.stroke_width(2)))?;
    for (rate, colour) in [(test.lowest, RGBColor(120, 120, 120)), (test.suggestion, RED)] {
        chart.draw_series(LineSeries::new([(rate, low), (rate, high)], colour))?;
    }
    root.present()?;
    drop(chart);
    drop(root);
    Ok(())
}
