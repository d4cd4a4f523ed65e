//! Pages are whole, need nothing from outside, and take no text for markup.

use spgraph::report::Align;
use spgraph::report::html::{Bar, BarChart, HtmlTable, LineChart, Matrix, Page, Series, data_uri};

/// What a browser would have to ask somebody for, or would run.
pub fn outside(page: &str) -> Vec<&str> {
    let signs = ["http://", "https://", "//", "<script", "<link", "@import", "url(", "<iframe", "javascript:", " onload", " onerror"];
    // The name of the SVG language is no address.
    let plain = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    signs.into_iter().filter(|sign| plain.contains(sign)).collect()
}

/// Every tag that is opened is closed, in order; and no identifier twice.
pub fn well_formed(page: &str) {
    let void = ["meta", "img", "br", "!DOCTYPE"];
    let mut open: Vec<&str> = vec![];
    let mut rest = page;
    let mut ids = std::collections::HashSet::new();
    while let Some(at) = rest.find('<') {
        let end = at + rest[at..].find('>').unwrap_or_else(|| panic!("a tag without end: {}", &rest[at..]));
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '/', '\n']).next().unwrap();
        if let Some((_, id)) = tag.split_once(" id=\"") {
            assert!(ids.insert(id.split('"').next().unwrap().to_string()), "two elements {tag}");
        }
        match tag.starts_with('/') {
            true => assert_eq!(open.pop(), Some(name), "before {}", &rest[..rest.len().min(80)]),
            false if tag.ends_with('/') || void.contains(&name) => {}
            false => {
                open.push(name);
                if name == "style" {
                    rest = &rest[rest.find("</style>").unwrap()..];
                }
            }
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
}

#[test]
fn a_page_of_hostile_names_is_whole_and_needs_nothing() {
    let bad = "</title><script>alert(1)</script>&\"' onerror=x \u{7}";
    let mut table = HtmlTable::new(bad, [(bad, Align::Left), ("n", Align::Right)]);
    table.row([bad, "1"]);
    let lines = LineChart {
        title: bad.into(),
        x: bad.into(),
        y: bad.into(),
        series: vec![Series::new(bad, [(0.0, 1.0), (1.0, 2.0)]); 2],
        ..LineChart::default()
    };
    let bars = BarChart {
        title: bad.into(),
        bars: vec![Bar { name: bad.into(), value: 1.0, error: 0.2, colour: 0 }],
        unit: Some((1.0, bad.into())),
    };
    let matrix = Matrix {
        title: bad.into(),
        rows: bad.into(),
        columns: bad.into(),
        names: vec![bad.into(); 2],
        counts: vec![vec![1, 0], vec![2, 3]],
    };
    let mut page = Page::new(bad);
    for (i, plot) in [lines.svg().unwrap(), bars.svg().unwrap(), matrix.svg().unwrap()].iter().enumerate() {
        page.section(format!("{bad}{i}"), Page::figure(plot, bad));
        well_formed(&plot.file());
    }
    page.section("table", table.markup() + &Page::verbatim(bad) + &Page::paragraph(bad) + &Page::folded(bad, "x"));
    page.lead(&format!("<img alt=\"\" src=\"{}\">", data_uri("image/png", b"123")));
    let text = page.render();
    well_formed(&text);
    let left: Vec<&str> = outside(&text).into_iter().filter(|sign| *sign != " onerror").collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!text.contains("<script") && text.contains("&lt;script&gt;"));
}
