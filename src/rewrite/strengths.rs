//! Which parameters the penalty acts on, and how strongly.
//!
//! Strengths are scalar inputs of the step: one on shared parameters, one on new ones, and one for each pattern with a strength of its own. A
//! weight by depth is a constant factor on the first.

use super::patterns::{few, matching};
use super::plan::{Planned, Strength};
use super::resolve::Recipe;
use crate::bundle::manifest::Role;
use crate::bundle::{ByPattern, Penalize, Setting};
use crate::error::{Error, Result};
use crate::field::Field;

/// Decides for every parameter whether the penalty acts on it, how strongly, and why. Roles and freezing are decided before.
pub(super) fn decide(parameters: &mut [Planned], recipe: &Recipe) -> Result<()> {
    let Some(penalty) = &recipe.penalty else { return Ok(()) };
    let options = recipe.options;
    let all: Vec<_> = parameters.iter().map(|p| p.parameter.clone()).collect();
    let find = |option: Field, pattern: &str| matching(option, pattern, all.iter());
    // What the penalty would act on if nothing were frozen, and why.
    let mut wanted: Vec<Option<String>> = vec![None; all.len()];
    match &options.penalize {
        Penalize::Patterns(list) => {
            for pattern in list {
                let found = find(Field::PENALIZE, pattern)?;
                if !found.iter().any(|&i| parameters[i].role != Role::Buffer && !parameters[i].frozen) {
                    let names = few(found.iter().map(|&i| all[i].alias.as_str()));
                    return Err(Error::option(Field::PENALIZE, format!(" '{pattern}' matches only what is not trained: {names}")));
                }
                for i in found {
                    wanted[i] = Some(format!("{} '{pattern}'", Field::PENALIZE));
                }
            }
        }
        Penalize::All => wanted.iter_mut().for_each(|w| *w = Some(format!("{} all", Field::PENALIZE))),
        Penalize::Weights => {
            for (w, p) in wanted.iter_mut().zip(&all) {
                *w = p.kind.is_weight().then(|| "a weight".to_string());
            }
        }
    }
    let mut excluded: Vec<Option<&str>> = vec![None; all.len()];
    for pattern in &options.sp_exclude {
        for i in find(Field::SP_EXCLUDE, pattern)? {
            excluded[i] = Some(pattern);
        }
    }
    let layers = parameters.iter().filter(|p| counts_as_layer(p)).count();
    let mut seen = 0;
    for (i, p) in parameters.iter_mut().enumerate() {
        seen += counts_as_layer(p) as usize;
        // A bias or a scale belongs to the layer of the weight before it.
        let layer = seen.max(1);
        let kind = p.parameter.kind.a_name();
        p.why_penalized = match (p.role, p.frozen, &wanted[i], excluded[i]) {
            (Role::Buffer, ..) => "no parameter".into(),
            (_, true, ..) => "frozen".into(),
            (Role::Shared, ..) if penalty.shared.is_none() => format!("{} none", Field::PENALTY),
            (_, _, None, _) => format!("{kind}, which {} leaves out", Field::PENALIZE),
            (_, _, _, Some(pattern)) => format!("{} '{pattern}'", Field::SP_EXCLUDE),
            (_, _, Some(why), None) => {
                let depth = options.alpha_depth.filter(|_| p.role == Role::Shared);
                let factor = depth.map_or(1.0, |f| f.powf((layers - layer) as f64 / (layers - 1).max(1) as f64));
                let setting = if p.role == Role::New { Setting::Beta } else { Setting::Alpha };
                p.strength = Some(Strength { setting, factor });
                match (p.role, depth) {
                    (Role::New, _) => format!("{why}, new"),
                    (_, Some(_)) => format!("{why}, layer {layer} of {layers}"),
                    _ => why.clone(),
                }
            }
        };
    }
    for ByPattern { pattern, .. } in &options.strengths {
        own_strength(parameters, pattern, &find(Field::STRENGTHS, pattern)?, &wanted)?;
    }
    for ByPattern { pattern, .. } in &options.strengths {
        let setting = Setting::AlphaOf(pattern.clone());
        if !parameters.iter().any(|p| p.strength.as_ref().is_some_and(|s| s.setting == setting)) {
            let why =
                format!(" '{pattern}=…' has no effect: later patterns match everything that it matches. Give the general pattern first");
            return Err(Error::option(Field::STRENGTHS, why));
        }
    }
    Ok(())
}

/// Whether it is a weight by which layers are counted.
fn counts_as_layer(p: &Planned) -> bool {
    p.parameter.kind.is_weight() && p.role == Role::Shared
}

/// Gives the parameters `found` by the pattern its strength.
fn own_strength(parameters: &mut [Planned], pattern: &str, found: &[usize], wanted: &[Option<String>]) -> Result<()> {
    let aliases = |list: Vec<usize>| few(list.iter().map(|&i| parameters[i].parameter.alias.as_str()));
    let frozen: Vec<usize> = found.iter().copied().filter(|&i| parameters[i].frozen && wanted[i].is_some()).collect();
    let frozen: Vec<usize> = frozen.into_iter().filter(|&i| parameters[i].role != Role::Buffer).collect();
    if !frozen.is_empty() {
        let why = format!(
            " '{pattern}=…' gives a strength to what is frozen: {}. A frozen parameter cannot move; leave it out of the pattern, or don't freeze it",
            aliases(frozen)
        );
        return Err(Error::option(Field::STRENGTHS, why));
    }
    let penalized = |i: &usize| parameters[*i].strength.is_some() && parameters[*i].role == Role::Shared;
    let shared: Vec<usize> = found.iter().copied().filter(penalized).collect();
    if shared.is_empty() {
        let why = match found.iter().any(|&i| parameters[i].role == Role::New) {
            true => format!("are new: their strength is {}", Field::BETA),
            false => format!("the penalty leaves out; {} says what it acts on", Field::PENALIZE),
        };
        return Err(Error::option(Field::STRENGTHS, format!(" '{pattern}=…' matches {}, which {why}", aliases(found.to_vec()))));
    }
    for i in shared {
        parameters[i].strength = Some(Strength { setting: Setting::AlphaOf(pattern.into()), factor: 1.0 });
        parameters[i].why_penalized = format!("{} '{pattern}=…'", Field::STRENGTHS);
    }
    Ok(())
}
