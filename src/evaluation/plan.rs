//! A study's cells in the order in which they are worth having: pair by pair, group by group of methods; in a group the selection, then final
//! cells with few images first, all methods of one seed before the next.

use super::cell::{Cell, Phase, Request, Settings, candidates};
use super::method::Method;
use super::results::CellResult;
use super::study::{Comparison, Pair, Study, Variant};
use crate::error::{Error, Result};
use std::path::Path;

/// The cells of a study.
#[derive(Debug, Clone)]
pub struct CellPlan<'a> {
    /// In order; each comes after those that its settings are chosen by.
    pub cells: Vec<Request<'a>>,
}

impl<'a> CellPlan<'a> {
    /// Lists the cells.
    pub fn of(study: &'a Study) -> Result<CellPlan<'a>> {
        let groups = study.methods()?;
        let mut cells = vec![];
        for pair in &study.pairs {
            for (at, group) in groups.iter().enumerate() {
                cells.extend(selection(study, pair, group)?);
                for &images in &pair.images {
                    cells.extend(finals(study, pair, group, images, None)?);
                }
                let number = at.saturating_add(1);
                let last = number == groups.len();
                for comparison in &study.comparisons {
                    let after = comparison.after.map_or(last, |n| n == number || (n > groups.len() && last));
                    if after {
                        cells.extend(compared(study, pair, comparison, &groups)?);
                    }
                }
            }
        }
        Ok(CellPlan { cells })
    }

    /// The cell of that name. Fails with the nearest ones.
    pub fn find(&self, name: &str) -> Result<&Request<'a>> {
        self.cells.iter().find(|r| r.cell.name() == name).ok_or_else(|| {
            let mut names: Vec<String> = self.cells.iter().map(|r| r.cell.name()).collect();
            names.sort_by(|a, b| strsim::normalized_levenshtein(b, name).total_cmp(&strsim::normalized_levenshtein(a, name)));
            names.truncate(3);
            Error::usage(format!("the study has no cell `{name}`; the nearest are {}", names.join(", ")))
        })
    }

    /// The records that are in `results`, of this study only.
    pub fn records(&self, results: &Path) -> Result<Vec<CellResult>> {
        let paths = self.cells.iter().map(|r| super::results::path(results, r)).filter(|path| path.is_file());
        let found: Vec<CellResult> = paths.map(|path| super::results::read(&path)).collect::<Result<_>>()?;
        match found.is_empty() {
            true => Err(Error::data(format!("{} holds no record of this study: run it first", results.display()))),
            false => Ok(found),
        }
    }

    /// The cells whose result is not in `results` yet, or cannot be read.
    pub fn missing(&self, results: &Path) -> Vec<&Request<'a>> {
        self.cells.iter().filter(|r| !super::results::is_there(&super::results::path(results, r))).collect()
    }
}

fn cell(pair: &Pair, method: &Method, images: usize, phase: Phase, seed: u64) -> Cell {
    let (source, target, method) = (pair.source.clone(), pair.target.clone(), method.name.to_string());
    Cell { phase, source, target, images, method, variant: None, settings: None, seed }
}

fn selection<'a>(study: &'a Study, pair: &Pair, group: &[Method]) -> Result<Vec<Request<'a>>> {
    let mut cells = vec![];
    for method in group {
        for settings in candidates(study, method) {
            for &seed in &study.selection.seeds {
                let one =
                    |settings: Settings| Cell { settings: Some(settings), ..cell(pair, method, pair.select_with, Phase::Selection, seed) };
                cells.push(Request::new(study, pair, method, one(settings))?);
            }
        }
    }
    Ok(cells)
}

fn finals<'a>(study: &'a Study, pair: &Pair, methods: &[Method], images: usize, variant: Option<Variant>) -> Result<Vec<Request<'a>>> {
    let of = |&seed: &u64| {
        let variant = variant.clone();
        methods
            .iter()
            .map(move |m| Request::new(study, pair, m, Cell { variant: variant.clone(), ..cell(pair, m, images, Phase::Final, seed) }))
    };
    study.training.seeds.iter().flat_map(of).collect()
}

fn compared<'a>(study: &'a Study, pair: &Pair, comparison: &Comparison, groups: &[Vec<Method>]) -> Result<Vec<Request<'a>>> {
    if !comparison.pairs.is_empty() && !comparison.pairs.contains(&format!("{}/{}", pair.source, pair.target)) {
        return Ok(vec![]);
    }
    let methods: Vec<Method> = groups.iter().flatten().filter(|m| comparison.methods.iter().any(|n| n == m.name)).cloned().collect();
    let mut cells = vec![];
    for &images in &comparison.images {
        for variant in comparison.variants() {
            cells.extend(finals(study, pair, &methods, images, Some(variant))?);
        }
    }
    Ok(cells)
}
