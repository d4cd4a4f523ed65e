//! Which parameters the penalty acts on, and how strongly.
//!
//! Strengths are scalar inputs of the step: one on shared parameters, one on new ones, and one for each pattern with a strength of its own. A
//! weight by depth is a constant factor on the first.

use super::patterns::{few, matching, only};
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
                if !only(&*parameters, &found).any(|p| p.role != Role::Buffer && !p.frozen) {
                    let names = few(only(&all, &found).map(|p| p.alias.as_str()));
                    return Err(Error::option(Field::PENALIZE, format!(" '{pattern}' matches only what is not trained: {names}")));
                }
                only(&mut wanted, &found).for_each(|w| *w = Some(format!("{} '{pattern}'", Field::PENALIZE)));
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
        only(&mut excluded, &find(Field::SP_EXCLUDE, pattern)?).for_each(|e| *e = Some(pattern));
    }
    let layers = parameters.iter().filter(|p| counts_as_layer(p)).count();
    // Between the first layer and the last.
    let steps = layers.saturating_sub(1).max(1);
    let mut seen = 0usize;
    for ((p, wanted), excluded) in parameters.iter_mut().zip(&wanted).zip(&excluded) {
        seen = seen.saturating_add(counts_as_layer(p) as usize);
        // A bias or a scale belongs to the layer of the weight before it.
        let layer = seen.max(1);
        let kind = p.parameter.kind.a_name();
        p.why_penalized = match (p.role, p.frozen, wanted, excluded) {
            (Role::Buffer, ..) => "no parameter".into(),
            (_, true, ..) => "frozen".into(),
            (Role::Shared, ..) if penalty.shared.is_none() => format!("{} none", Field::PENALTY),
            (_, _, None, _) => format!("{kind}, which {} leaves out", Field::PENALIZE),
            (_, _, _, Some(pattern)) => format!("{} '{pattern}'", Field::SP_EXCLUDE),
            (_, _, Some(why), None) => {
                let depth = options.alpha_depth.filter(|_| p.role == Role::Shared);
                let factor = depth.map_or(1.0, |f| f.powf(layers.saturating_sub(layer) as f64 / steps as f64));
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
fn own_strength(parameters: &mut [Planned], pattern: &str, found: &[bool], wanted: &[Option<String>]) -> Result<()> {
    let aliases = |list: &[&Planned]| few(list.iter().map(|p| p.parameter.alias.as_str()));
    let matched = || parameters.iter().zip(wanted).zip(found).filter(|(_, found)| **found).map(|(planned, _)| planned);
    let frozen: Vec<&Planned> =
        matched().filter(|(p, wanted)| p.frozen && wanted.is_some() && p.role != Role::Buffer).map(|(p, _)| p).collect();
    if !frozen.is_empty() {
        let why = format!(
            " '{pattern}=…' gives a strength to what is frozen: {}. A frozen parameter cannot move; leave it out of the pattern, or don't freeze it",
            aliases(&frozen)
        );
        return Err(Error::option(Field::STRENGTHS, why));
    }
    let is_shared = |p: &Planned| p.strength.is_some() && p.role == Role::Shared;
    if !matched().any(|(p, _)| is_shared(p)) {
        let why = match matched().any(|(p, _)| p.role == Role::New) {
            true => format!("are new: their strength is {}", Field::BETA),
            false => format!("the penalty leaves out; {} says what it acts on", Field::PENALIZE),
        };
        let all: Vec<&Planned> = matched().map(|(p, _)| p).collect();
        return Err(Error::option(Field::STRENGTHS, format!(" '{pattern}=…' matches {}, which {why}", aliases(&all))));
    }
    for p in only(parameters, found).filter(|p| is_shared(p)) {
        p.strength = Some(Strength { setting: Setting::AlphaOf(pattern.into()), factor: 1.0 });
        p.why_penalized = format!("{} '{pattern}=…'", Field::STRENGTHS);
    }
    Ok(())
}
