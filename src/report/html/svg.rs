//! A plot as SVG, for a page or for a file of its own.

use super::colours::dark_rules;
use super::text::escape;
use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoDrawingArea, SVGBackend};

/// Where plots are drawn.
pub(super) type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Plots are drawn this much larger than they are shown: positions are whole numbers.
pub(super) const SCALE: u32 = 4;

/// A plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Svg {
    body: String,
    title: String,
    width: u32,
    height: u32,
}

/// For `map_err`: a plot is drawn into memory, where nothing fails.
pub(super) fn failed<E: std::fmt::Display>(error: E) -> Error {
    Error::internal(format!("a plot could not be drawn: {error}"))
}

impl Svg {
    /// Draws on a canvas of that size; `title` says what is seen, for those who don't see it.
    pub(super) fn draw(title: &str, width: u32, height: u32, draw: impl FnOnce(&Canvas) -> Result<()>) -> Result<Svg> {
        let mut body = String::new();
        {
            let canvas =
                SVGBackend::with_string(&mut body, (width.saturating_mul(SCALE), height.saturating_mul(SCALE))).into_drawing_area();
            draw(&canvas)?;
            canvas.present().map_err(failed)?;
        }
        // Its own first tag is written again, below.
        let body = body.split_once('>').map_or(String::new(), |(_, rest)| rest.trim().to_string());
        Ok(Svg { body, title: title.into(), width, height })
    }

    fn with(&self, inside: &str) -> String {
        let (width, height) = (self.width, self.height);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {} {}\">\n\
             <title>{}</title>\n{inside}{}\n",
            width.saturating_mul(SCALE),
            height.saturating_mul(SCALE),
            escape(&self.title),
            self.body
        )
    }

    /// For a page, whose style sheet has the colours for a dark one.
    pub fn inline(&self) -> String {
        self.with("")
    }

    /// A file of its own: it has its background with it.
    pub fn file(&self) -> String {
        let paper = "<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFE\"/>\n";
        self.with(&format!("<style>{}</style>\n{paper}", dark_rules()))
    }

    /// What is seen.
    pub fn title(&self) -> &str {
        &self.title
    }
}
