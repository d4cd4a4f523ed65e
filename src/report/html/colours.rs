//! The colours of plots. A plot is drawn in the light ones and is right by itself; a style sheet that knows them by their values puts the dark ones in
//! their place.

use plotters::style::RGBColor;

/// A colour, and the one in its place on a dark page.
#[derive(Debug, Clone, Copy)]
pub struct Colour {
    pub light: RGBColor,
    dark: RGBColor,
}

const fn colour(light: (u8, u8, u8), dark: (u8, u8, u8)) -> Colour {
    Colour { light: RGBColor(light.0, light.1, light.2), dark: RGBColor(dark.0, dark.1, dark.2) }
}

/// Text and axes.
pub const INK: Colour = colour((0x24, 0x29, 0x2f), (0xe1, 0xe4, 0xe8));
/// Text on a strong colour.
pub const ON_STRONG: Colour = colour((0xfd, 0xfe, 0xff), (0x0a, 0x12, 0x1c));
/// Lines that help to read.
pub const GRID: Colour = colour((0xd8, 0xde, 0xe4), (0x3a, 0x42, 0x4c));
/// Behind a legend.
pub const PAPER: Colour = colour((0xff, 0xff, 0xfe), (0x16, 0x1b, 0x22));
/// Cells of a matrix.
pub const CELL: Colour = colour((0x1b, 0x5f, 0xa5), (0x7c, 0xbd, 0xff));

/// Of series, in turn: apart from each other in lightness too, for those who see no colours (after Okabe and Ito).
pub const SERIES: [Colour; 7] = [
    colour((0x00, 0x5f, 0xa8), (0x5a, 0xb0, 0xf5)),
    colour((0xc2, 0x4e, 0x00), (0xff, 0x9d, 0x4d)),
    colour((0x00, 0x7d, 0x5a), (0x35, 0xc9, 0x9a)),
    colour((0x9c, 0x3d, 0x7d), (0xe5, 0x8f, 0xc4)),
    colour((0x5b, 0x49, 0xa3), (0xb0, 0x9f, 0xff)),
    colour((0x7a, 0x62, 0x00), (0xe8, 0xcb, 0x3c)),
    colour((0x4d, 0x55, 0x5e), (0x9a, 0xa4, 0xb0)),
];

fn hex(c: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2)
}

/// The rules that turn plots dark on a dark page.
pub fn dark_rules() -> String {
    let all = [INK, ON_STRONG, GRID, PAPER, CELL].into_iter().chain(SERIES);
    let rules = all.map(|c| {
        let (light, dark) = (hex(c.light), hex(c.dark));
        format!("svg [fill=\"{light}\"]{{fill:{dark}}}svg [stroke=\"{light}\"]{{stroke:{dark}}}")
    });
    format!("@media screen and (prefers-color-scheme: dark){{{}}}", rules.collect::<String>())
}
