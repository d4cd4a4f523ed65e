//! The page around everything.

use super::colours::dark_rules;
use super::svg::Svg;
use super::text::escape;

/// A page under construction. What is added is markup, made by the other pieces; headings are plain text.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    title: String,
    lead: String,
    sections: Vec<(String, String)>,
}

impl Page {
    /// An empty page.
    pub fn new(title: impl Into<String>) -> Page {
        Page { title: title.into(), lead: String::new(), sections: vec![] }
    }

    /// Adds markup between title and first section.
    pub fn lead(&mut self, markup: &str) -> &mut Self {
        self.lead.push_str(markup);
        self
    }

    /// Adds a section; one without content is left out.
    pub fn section(&mut self, heading: impl Into<String>, markup: impl Into<String>) -> &mut Self {
        let markup = markup.into();
        if !markup.trim().is_empty() {
            self.sections.push((heading.into(), markup));
        }
        self
    }

    /// A plot with words below it, which are plain text.
    pub fn figure(plot: &Svg, caption: &str) -> String {
        format!("<figure>{}<figcaption>{}</figcaption></figure>\n", plot.inline(), escape(caption))
    }

    /// A paragraph of plain text.
    pub fn paragraph(text: &str) -> String {
        format!("<p>{}</p>\n", escape(text))
    }

    /// Text that keeps its lines.
    pub fn verbatim(text: &str) -> String {
        format!("<pre tabindex=\"0\">{}</pre>\n", escape(text))
    }

    /// Markup that is hidden until it is asked for; it is printed in any case.
    pub fn folded(summary: &str, markup: &str) -> String {
        format!("<details><summary>{}</summary>{markup}</details>\n", escape(summary))
    }

    /// The whole file.
    pub fn render(&self) -> String {
        let title = escape(&self.title);
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>{}{}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{}",
            include_str!("style.css"),
            dark_rules(),
            self.lead
        );
        if self.sections.len() > 2 {
            out.push_str("<nav aria-label=\"Sections\"><ul>");
            for (i, (heading, _)) in self.sections.iter().enumerate() {
                out.push_str(&format!("<li><a href=\"#s{i}\">{}</a></li>", escape(heading)));
            }
            out.push_str("</ul></nav>\n");
        }
        for (i, (heading, markup)) in self.sections.iter().enumerate() {
            out.push_str(&format!("<section aria-labelledby=\"s{i}\">\n<h2 id=\"s{i}\">{}</h2>\n{markup}</section>\n", escape(heading)));
        }
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }
}
