//! The figures of a report.

use super::collection::{Collection, Measure, PairName, Place, source, target};
use crate::error::Result;
use crate::evaluation::study::Variant;
use crate::report::html::{Bar, BarChart, LineChart, Point, Series, Svg};

/// A plot with a name for its file and words below it.
pub(super) struct Figure {
    pub name: String,
    pub caption: String,
    pub plot: Svg,
}

/// Methods that one plot can hold apart, in order.
const PANELS: &[(&str, &[&str])] = &[
    ("penalties", &["none", "l2", "l2-sp", "l2-sp-fisher", "l1-sp", "gl-sp", "gl-sp-fisher"]),
    ("family", &["l2-sp", "delta", "lwf", "bss", "wise-ft", "lp-ft", "spd"]),
];

fn slug(pair: &PairName) -> String {
    format!("{}-{}", pair.0, pair.1)
}

/// A measure against the number of images; bars where there is only one number.
fn by_images(all: &Collection, pair: &PairName, measure: Measure, name: &str, y: &str) -> Result<Vec<Figure>> {
    let images = all.images(pair);
    let known = all.methods();
    let mut found = vec![];
    for (panel, methods) in PANELS {
        let methods: Vec<&str> = methods.iter().copied().filter(|m| known.contains(m)).collect();
        if methods.len() < 2 {
            continue;
        }
        let title = format!("{} → {}: {y}", pair.0, pair.1);
        let point = |method: &str, images: usize| {
            let found = all.mean(Place { pair, images, method, variant: None }, measure)?;
            Some(Point { x: images as f64, y: found.mean, error: found.deviation })
        };
        let plot = if let [only] = images[..] {
            let bars = methods.iter().enumerate().filter_map(|(i, method)| {
                let p = point(method, only)?;
                Some(Bar { name: method.to_string(), value: p.y, error: p.error, colour: i })
            });
            BarChart { title, bars: bars.collect(), unit: Some((1.0, " %".into())) }.svg()?
        } else {
            let line = |method: &&str| Series {
                name: method.to_string(),
                points: images.iter().filter_map(|&n| point(method, n)).collect(),
                marks: true,
            };
            let series = methods.iter().map(line).collect();
            let (x, y) = ("training images of each class".into(), format!("{y}, %"));
            LineChart { title, x, y, series, log_x: true, size: Some((720, 420)), ..LineChart::default() }.svg()?
        };
        let caption = format!("{} → {}: {y}; means over seeds, with standard deviations.", pair.0, pair.1);
        found.push(Figure { name: format!("{name}-{panel}-{}", slug(pair)), caption, plot });
    }
    Ok(found)
}

/// Accuracy against frozen stages.
fn freezing(all: &Collection, pair: &PairName, images: usize) -> Result<Option<Figure>> {
    let mut stages: Vec<usize> = all
        .variants(pair, images)
        .iter()
        .filter_map(|v| match v {
            Variant::FreezeStages(n) => Some(*n),
            _ => None,
        })
        .collect();
    stages.insert(0, 0);
    let line = |method: &str| {
        let point = |&n: &usize| {
            let variant = (n > 0).then_some(Variant::FreezeStages(n));
            // A single seed beside the mean of five would look like an effect.
            let found = all.mean(Place { pair, images, method, variant: variant.as_ref() }, target).filter(|s| s.n > 1)?;
            Some(Point { x: n as f64, y: found.mean, error: found.deviation })
        };
        Series { name: method.into(), points: stages.iter().filter_map(point).collect(), marks: true }
    };
    let series: Vec<Series> = ["l2", "l2-sp"].into_iter().map(line).filter(|s| s.points.len() > 1).collect();
    if series.is_empty() {
        return Ok(None);
    }
    let title = format!("{} → {}: accuracy against frozen stages, {images} images a class", pair.0, pair.1);
    let (x, y) = ("frozen stages".into(), "accuracy on the target, %".into());
    let plot = LineChart { title: title.clone(), x, y, series, ..LineChart::default() }.svg()?;
    Ok(Some(Figure {
        name: format!("freezing-{images}-{}", slug(pair)),
        caption: format!("{title}; the new head is always trained."),
        plot,
    }))
}

/// R² by layer.
fn similarity(all: &Collection, pair: &PairName, images: usize) -> Result<Option<Figure>> {
    let line = |method: &str| {
        let cells = all.at(Place { pair, images, method, variant: None });
        let layers = cells.iter().map(|c| c.similarity.len()).max().unwrap_or(0);
        let mean = |at: usize| {
            let values: Vec<f64> = cells.iter().filter_map(|c| c.similarity.get(at)).map(|l| l.quartiles[1]).collect();
            let found = crate::evaluation::statistics::summary(&values)?;
            Some(Point { x: at.saturating_add(1) as f64, y: found.mean, error: 0.0 })
        };
        Series { name: method.into(), points: (0..layers).filter_map(mean).collect(), marks: false }
    };
    let methods = PANELS.first().map_or(&[][..], |p| p.1);
    let series: Vec<Series> = methods.iter().map(|m| line(m)).filter(|s| !s.points.is_empty()).collect();
    if series.is_empty() {
        return Ok(None);
    }
    let title = format!("{} → {}: similarity of activations by layer, {images} images a class", pair.0, pair.1);
    let (x, y) = ("activation, from the input on".into(), "R², median of channels".into());
    let plot = LineChart { title: title.clone(), x, y, series, y_range: Some((0.0, 1.0)), size: Some((720, 380)), ..LineChart::default() }
        .svg()?;
    let what = "for each channel the R² of the linear regression of the tuned network's activation on the source network's, over 100 test images of the target and all places; the median of channels, mean over seeds";
    Ok(Some(Figure { name: format!("similarity-{images}-{}", slug(pair)), caption: format!("{title}: {what}."), plot }))
}

/// Every figure of a pair.
pub(super) fn figures(all: &Collection, pair: &PairName) -> Result<Vec<Figure>> {
    let mut found = by_images(all, pair, target, "accuracy", "accuracy on the target")?;
    found.extend(by_images(all, pair, source, "source", "source task left")?);
    for images in all.images(pair) {
        found.extend(freezing(all, pair, images)?);
    }
    if let Some(&images) = all.images(pair).first() {
        found.extend(similarity(all, pair, images)?);
    }
    Ok(found)
}
