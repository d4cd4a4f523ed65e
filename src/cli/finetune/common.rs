//! What the options that rewriting and training have in common mean for a bundle, where everything but numbers is decided already.

use crate::cli::common_args::{BatchArg, CommonArgs, RateArg};
use crate::cli::numbers::{RegularizerArg, StrengthArg};
use spgraph::bundle::Setting;
use spgraph::error::Error;
use spgraph::import::BatchSize;
use spgraph::train::Training;

/// Puts what is given into `training`.
pub fn set(args: &CommonArgs, training: &mut Training) -> Result<(), Error> {
    for StrengthArg { pattern, value } in &args.alpha {
        training.scalars.insert(pattern.clone().map_or(Setting::Alpha, Setting::AlphaOf), *value);
    }
    for RegularizerArg { kind, strength } in &args.regularizer {
        let value = strength.ok_or_else(|| {
            Error::usage(format!("--regularizer {kind}: give its strength, such as {kind}=0.1; `spgraph rewrite` chooses regularizers"))
        })?;
        training.scalars.insert(Setting::Regularizer(spgraph::loss::find(kind)?.kind().into()), value);
    }
    if let Some(beta) = args.beta {
        training.scalars.insert(Setting::Beta, beta);
    }
    match args.lr {
        Some(RateArg::Value(lr)) => {
            training.scalars.insert(Setting::LearningRate, lr);
            training.find_lr = false;
        }
        Some(RateArg::Auto) => training.find_lr = true,
        None => {}
    }
    match args.batch {
        Some(BatchArg::Value(BatchSize::Fixed(n))) => training.batch = Some(n),
        Some(BatchArg::Auto) => {
            return Err(Error::usage(
                "--batch auto is for a model, whose step is made for it: of a bundle give the number of images per step",
            ));
        }
        Some(BatchArg::Value(BatchSize::Dynamic)) => {
            return Err(Error::usage(
                "--batch dynamic is for a model: of a bundle that leaves it open, give the number of images per step",
            ));
        }
        None => {}
    }
    if let Some(names) = args.class_names()? {
        training.classes = names;
    }
    training.seed = args.seed.unwrap_or(training.seed);
    Ok(())
}

/// For a model its bundle gets the numbers; what is left is the run's. Flags go over a configuration that gives the run other numbers than the bundle.
pub fn set_for_model(args: &CommonArgs, training: &mut Training) -> Result<(), Error> {
    let scalars = &mut training.scalars;
    if let Some(rate) = args.lr {
        scalars.remove(&Setting::LearningRate);
        training.find_lr = matches!(rate, RateArg::Auto);
    }
    if !args.alpha.is_empty() {
        scalars.retain(|setting, _| !matches!(setting, Setting::Alpha | Setting::AlphaOf(_)));
    }
    if args.beta.is_some() {
        scalars.remove(&Setting::Beta);
    }
    if !args.regularizer.is_empty() {
        scalars.retain(|setting, _| !matches!(setting, Setting::Regularizer(_)));
    }
    if args.batch.is_some() {
        training.batch = None;
    }
    if args.class_names.is_some() {
        training.classes.clear();
    }
    training.seed = args.seed.unwrap_or(training.seed);
    Ok(())
}
