//! The paper's claims, each against the records of a pair.

use super::collection::{Collection, Measure, PairName, Place, similarity, source, step_time, target};
use super::sheet::Sheet;
use super::tables::interval;
use crate::evaluation::statistics::{Comparison, compare};
use crate::evaluation::study::Variant;

/// What a claim says of a difference.
#[derive(Clone, Copy)]
enum Says {
    /// It is above 0.
    More,
    /// It is not above 0.
    NotMore,
}

fn judged(c: &Comparison, says: Says) -> &'static str {
    match (says, c.interval[0] > 0.0, c.interval[1] < 0.0) {
        (Says::More, true, _) => "shows",
        (Says::More, _, true) => "the opposite shows",
        (Says::NotMore, true, _) => "does not hold",
        (Says::NotMore, ..) => "agrees",
        _ => "not told apart",
    }
}

struct Lines<'a> {
    all: &'a Collection,
    pair: &'a PairName,
    sheet: Sheet,
}

impl Lines<'_> {
    fn row(&mut self, claim: &str, images: String, found: Option<Comparison>, says: Says) {
        let Some(c) = found else { return };
        let numbers = [images, c.n.to_string(), format!("{:+.2}", c.difference), interval(&c), judged(&c, says).into()];
        self.sheet.rows.push(std::iter::once(claim.to_string()).chain(numbers).collect());
    }

    fn against(&mut self, claim: &str, images: usize, [one, other]: [&str; 2], measure: Measure, says: Says) {
        let place = |method| Place { pair: self.pair, images, method, variant: None };
        let found = self.all.compared(place(one), place(other), measure);
        self.row(claim, images.to_string(), found, says);
    }

    /// Whether l2-sp gains more with few images.
    fn scarce(&mut self, images: &[usize]) {
        let (Some(&few), Some(&many)) = (images.first(), images.last()) else { return };
        if few == many {
            return;
        }
        let gains = |images| {
            let place = |method| Place { pair: self.pair, images, method, variant: None };
            self.all.paired(place("l2-sp"), place("l2"), target)
        };
        let both: Vec<(f64, f64)> = gains(few).into_iter().zip(gains(many)).map(|(a, b)| (a.0 - a.1, b.0 - b.1)).collect();
        self.row("the gain of L2-SP over L2 is larger with few images", format!("{few} − {many}"), compare(&both), Says::More);
    }

    /// The best number of frozen stages against none: chosen on the same images, which favours freezing.
    fn freezing(&mut self, images: usize, method: &str, claim: &str, says: Says) {
        let place = |variant| Place { pair: self.pair, images, method, variant };
        let frozen = self.all.variants(self.pair, images);
        let found = frozen
            .iter()
            .filter(|v| matches!(v, Variant::FreezeStages(_)))
            .filter_map(|v| self.all.compared(place(Some(v)), place(None), target))
            .max_by(|a, b| a.difference.total_cmp(&b.difference));
        self.row(claim, images.to_string(), found, says);
    }
}

/// One row for each claim and number of images.
pub(super) fn claims(all: &Collection, pair: &PairName) -> Option<Sheet> {
    let columns = ["claim", "images", "seeds", "difference", "95 % interval", "here"];
    let note = "Differences seed by seed in percentage points, with Student's intervals; of activations that of the mean over layers of the median R², in hundredths. A claim of more shows where the interval lies above 0; one of no more agrees unless it does. Freezing is the best of the numbers of stages that were tried, by the same test images.";
    let title = format!("{} → {}: the paper's claims", pair.0, pair.1);
    let sheet = Sheet::new(format!("claims-{}-{}", pair.0, pair.1), title, note, columns.map(String::from).to_vec());
    let mut lines = Lines { all, pair, sheet };
    let images = all.images(pair);
    for &n in &images {
        lines.against("L2-SP is above L2 on the target", n, ["l2-sp", "l2"], target, Says::More);
    }
    lines.scarce(&images);
    for &n in &images {
        lines.against("L1-SP is above L2", n, ["l1-sp", "l2"], target, Says::More);
        lines.against("L1-SP is not above L2-SP", n, ["l1-sp", "l2-sp"], target, Says::NotMore);
        lines.against("GL-SP is above L2", n, ["gl-sp", "l2"], target, Says::More);
        lines.against("GL-SP is not above L2-SP", n, ["gl-sp", "l2-sp"], target, Says::NotMore);
        lines.against("L2-SP-Fisher is not above L2-SP on the target", n, ["l2-sp-fisher", "l2-sp"], target, Says::NotMore);
        lines.against("L2-SP keeps more of the source than L2", n, ["l2-sp", "l2"], source, Says::More);
        lines.against("activations stay nearer to the source's with L2-SP than with L2", n, ["l2-sp", "l2"], similarity, Says::More);
        lines.against("L2-SP-Fisher keeps more of the source than L2-SP", n, ["l2-sp-fisher", "l2-sp"], source, Says::More);
    }
    for &n in &images {
        lines.freezing(n, "l2", "freezing helps L2", Says::More);
        lines.freezing(n, "l2-sp", "freezing does not help L2-SP", Says::NotMore);
    }
    (!lines.sheet.rows.is_empty()).then_some(lines.sheet)
}

/// What the penalty costs in time, over everything that was trained with it and without.
pub(super) fn cost(all: &Collection) -> Option<(f64, usize)> {
    let pairs = all.pairs();
    let mut ratios: Vec<f64> = vec![];
    for pair in &pairs {
        for images in all.images(pair) {
            let place = |method| Place { pair, images, method, variant: None };
            ratios.extend(all.paired(place("l2-sp"), place("none"), step_time).into_iter().map(|(a, b)| a / b));
        }
    }
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).map(|&r| (r, ratios.len()))
}
