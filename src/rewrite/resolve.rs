//! From options to a recipe: everything that can be said without the network is checked here, once.

use crate::bundle::{HeadOption, Options, PenaltyOption, PenaltyStep, Setting};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::BatchSize;
use crate::penalty::{self, Penalty};

/// No network comes near this many images or classes, and no product of sizes overflows below it.
const MOST: usize = 1_000_000;

/// The default of β where there is no penalty on shared parameters: that of DELTA's authors.
const BETA: f64 = 0.01;

/// Options that make sense, with what follows from them.
pub(super) struct Recipe<'a> {
    pub options: &'a Options,
    /// The bundle's default learning rate.
    pub lr: f64,
    /// None where nothing is penalised.
    pub penalty: Option<Penalization>,
}

/// What the penalty is.
pub(super) struct Penalization {
    /// On shared parameters; without one only new parameters are penalised.
    pub shared: Option<&'static dyn Penalty>,
    pub step: PenaltyStep,
    /// The scalar inputs with its strengths, and their defaults.
    pub strengths: Vec<(Setting, f64)>,
}

impl Recipe<'_> {
    /// The name of the penalty on shared parameters, for the manifest.
    pub fn penalty_kind(&self) -> &'static str {
        self.penalty.as_ref().and_then(|p| p.shared).map_or("none", |p| p.kind())
    }
}

/// Fails on options that make no sense, before anything is read.
pub(super) fn resolve(options: &Options) -> Result<Recipe<'_>> {
    options.optimizer.check()?;
    if !(0.0..1.0).contains(&options.label_smoothing) {
        return Err(Error::option(Field::LABEL_SMOOTHING, format!(" {} is not at least 0 and below 1", options.label_smoothing)));
    }
    let lr = options.lr.unwrap_or_else(|| options.optimizer.rule.default_lr());
    if !(lr.is_finite() && lr > 0.0) {
        return Err(Error::option(Field::LR, format!(" {lr} is no positive number")));
    }
    if let Some(by) = options.lr_mult.iter().find(|by| !is_strength(by.value)) {
        return Err(Error::option(Field::LR_MULT, format!(" '{}={}': the factor must be 0 or a positive number", by.pattern, by.value)));
    }
    options.dropout.check()?;
    options.form()?;
    sizes(options)?;
    strengths(options)?;
    regularizers(options)?;
    if options.head_map.is_some() && options.add_head {
        return Err(Error::option(Field::HEAD_MAP, format!(" has no meaning with {}: there is no old head", Field::ADD_HEAD)));
    }
    if options.add_head && options.head == HeadOption::Keep {
        return Err(Error::option(Field::ADD_HEAD, format!(" needs the number of classes: give {} N", Field::CLASSES)));
    }
    if options.head_map.is_some() && options.head == HeadOption::Keep {
        return Err(Error::option(Field::HEAD_MAP, format!(" has no meaning without a new head ({} N)", Field::CLASSES)));
    }
    Ok(Recipe { options, lr, penalty: penalization(options)? })
}

fn is_strength(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

fn sizes(options: &Options) -> Result<()> {
    match options.batch {
        BatchSize::Fixed(0) => {
            return Err(Error::option(Field::BATCH, " 0 makes no sense: give the number of images per step, or `dynamic`"));
        }
        BatchSize::Fixed(n) if n > MOST => {
            return Err(Error::option(Field::BATCH, format!(" {n} is not possible: give at most {MOST} images per step")));
        }
        _ => {}
    }
    match options.head {
        HeadOption::Classes(n) if n > MOST => {
            Err(Error::option(Field::CLASSES, format!(" {n} is not possible: give at most {MOST} classes")))
        }
        // One number is no class, and can be learnt.
        HeadOption::Classes(1) if options.loss.as_deref() == Some("mse") => Ok(()),
        HeadOption::Classes(n) if n < 2 => Err(Error::option(Field::CLASSES, format!(" {n}: a classifier needs at least 2 classes"))),
        HeadOption::Classes(n) if !options.classes.is_empty() && options.classes.len() != n => {
            let names = options.classes.len();
            Err(Error::option(Field::CLASSES, format!(" {n} does not fit the {names} class names that were given")))
        }
        _ => Ok(()),
    }
}

/// Fails where a strength makes no sense: negative, no number, or twice for one pattern.
fn strengths(options: &Options) -> Result<()> {
    for (field, value) in [(Field::ALPHA, options.alpha), (Field::BETA, options.beta)] {
        if let Some(value) = value.filter(|v| !is_strength(*v)) {
            return Err(Error::option(field, format!(" {value} is no strength: it must be 0 or a positive number")));
        }
    }
    for (i, by) in options.strengths.iter().enumerate() {
        if !is_strength(by.value) {
            let why = format!(" '{}={}' is no strength: it must be 0 or a positive number", by.pattern, by.value);
            return Err(Error::option(Field::STRENGTHS, why));
        }
        if options.strengths.iter().take(i).any(|other| other.pattern == by.pattern) {
            return Err(Error::option(Field::STRENGTHS, format!(" gives '{}' two strengths", by.pattern)));
        }
    }
    if let Some(factor) = options.alpha_depth.filter(|f| !(f.is_finite() && *f > 0.0)) {
        return Err(Error::option(Field::ALPHA_DEPTH, format!(" {factor} is no positive number")));
    }
    Ok(())
}

fn regularizers(options: &Options) -> Result<()> {
    for (i, regularizer) in options.regularizers.iter().enumerate() {
        let (kind, value) = (regularizer.kind(), regularizer.strength());
        if !is_strength(value) {
            let why = format!(" {kind}={value} is no strength: it must be 0 or a positive number");
            return Err(Error::option(Field::REGULARIZERS, why));
        }
        if options.regularizers.iter().take(i).any(|other| other.kind() == kind) {
            return Err(Error::option(Field::REGULARIZERS, format!(" {kind} is given twice")));
        }
        regularizer.check()?;
    }
    Ok(())
}

fn penalization(options: &Options) -> Result<Option<Penalization>> {
    let penalty = match &options.penalty {
        PenaltyOption::Usual if options.regularizers.is_empty() => penalty::find("l2-sp")?,
        PenaltyOption::Kind(kind) => penalty::find(kind)?,
        PenaltyOption::Usual | PenaltyOption::None => return only_new(options),
    };
    let kind = penalty.kind();
    match (options.penalty_step, penalty.without_prox()) {
        (PenaltyStep::Proximal, Some(why)) => {
            return Err(Error::option(Field::PENALTY, format!(" {kind} has no {}: {why}", Field::PROXIMAL)));
        }
        (PenaltyStep::Decoupled, _) if !penalty.is_quadratic() => {
            let why = format!(
                " is for quadratic penalties, and {kind} is none: its gradient does not fade near the start. Take {}, which returns weights exactly",
                Field::PROXIMAL
            );
            return Err(Error::option(Field::DECOUPLED, why));
        }
        _ => {}
    }
    match (penalty.uses_fisher(), &options.fisher) {
        (true, None) => {
            return Err(Error::option(Field::PENALTY, format!(" {kind} needs {} FILE, which `spgraph fisher` makes", Field::FISHER)));
        }
        (false, Some(_)) => {
            return Err(Error::option(Field::FISHER, format!(" has no meaning with {} {kind}, which does not read it", Field::PENALTY)));
        }
        _ => {}
    }
    let (alpha, beta) = penalty.defaults();
    // Plain weight decay has one strength unless a second one is given.
    let beta = if penalty.uses_start() { beta } else { options.alpha.unwrap_or(beta) };
    let mut strengths = vec![(Setting::Alpha, options.alpha.unwrap_or(alpha)), (Setting::Beta, options.beta.unwrap_or(beta))];
    strengths.extend(options.strengths.iter().map(|by| (Setting::AlphaOf(by.pattern.clone()), by.value)));
    Ok(Some(Penalization { shared: Some(penalty), step: options.penalty_step, strengths }))
}

/// Without a penalty on shared parameters new ones have their strength all the same, where anything is penalised at all.
fn only_new(options: &Options) -> Result<Option<Penalization>> {
    let given = [
        (Field::ALPHA, options.alpha.is_some()),
        (Field::STRENGTHS, !options.strengths.is_empty()),
        (Field::BETA, options.beta.is_some() && options.head == HeadOption::Keep),
        (Field::ALPHA_DEPTH, options.alpha_depth.is_some()),
        (Field::SP_EXCLUDE, !options.sp_exclude.is_empty()),
        (Field::FISHER, options.fisher.is_some()),
        (Field::PROXIMAL, options.penalty_step == PenaltyStep::Proximal),
        (Field::DECOUPLED, options.penalty_step == PenaltyStep::Decoupled),
    ];
    if let Some((field, _)) = given.into_iter().find(|(_, given)| *given) {
        return Err(Error::option(field, format!(" has no meaning with {} none", Field::PENALTY)));
    }
    let penalized = options.head != HeadOption::Keep && (options.beta.is_some() || !options.regularizers.is_empty());
    let strengths = vec![(Setting::Beta, options.beta.unwrap_or(BETA))];
    Ok(penalized.then_some(Penalization { shared: None, step: PenaltyStep::Gradient, strengths }))
}
