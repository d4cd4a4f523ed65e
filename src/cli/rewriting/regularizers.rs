//! Losses on what the network computes: settings of those that `--regularizer` names.

use crate::cli::common_args::CommonArgs;
use crate::cli::flags::flag;
use crate::cli::numbers::RegularizerArg;
use crate::cli::settings::{given, homeless, homes, set};
use spgraph::Field;
use spgraph::bundle::Options;
use spgraph::error::Error;
use spgraph::loss::{self, REGULARIZERS, Regularizer};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(next_help_heading = "Penalty")]
pub struct RegularizerArgs {
    /// Layers whose output delta compares: glob patterns on their weights [default: the last convolution of each residual stage]
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    delta_layers: Vec<String>,
    /// Weights of the channels that `spgraph attention` measured, for delta [default: all alike]
    #[arg(long, value_name = "FILE")]
    attention: Option<PathBuf>,
    /// How many of the smallest singular values bss shrinks [default: 1]
    #[arg(long, value_name = "K")]
    bss_k: Option<usize>,
    /// Temperature of lwf [default: 3]
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f64>,
}

impl RegularizerArgs {
    /// Fails for the setting of a regularizer that is not there.
    pub fn set(&self, common: &CommonArgs, options: &mut Options) -> Result<(), Error> {
        let settings = [
            given(Field::LAYERS, (!self.delta_layers.is_empty()).then_some(&self.delta_layers))?,
            given(Field::ATTENTION, self.attention.as_ref())?,
            given(Field::TEMPERATURE, self.temperature.as_ref())?,
            given(Field::SINGULAR_VALUES, self.bss_k.as_ref())?,
        ];
        let before = std::mem::take(&mut options.regularizers);
        let asked: Vec<Regularizer> = match &common.regularizer[..] {
            [] => before,
            named => named.iter().map(|asked| chosen(asked, &before)).collect::<Result<_, Error>>()?,
        };
        if let Some(field) = homeless(&asked, &settings) {
            let kinds = REGULARIZERS.iter().map(|usual| usual()).map(|r| (r.kind(), r));
            return Err(Error::usage(format!("{} has no meaning without {}", flag(field), homes(Field::REGULARIZERS, field, kinds))));
        }
        // What is no number has no place in a file, through which settings go: strengths are put back behind them.
        let with_settings = |one: &Regularizer| {
            let mut with = set(&usual_strength(one)?, &settings)?;
            with.set_strength(one.strength());
            Ok(with)
        };
        options.regularizers = asked.iter().map(with_settings).collect::<Result<_, Error>>()?;
        Ok(())
    }
}

/// The regularizer of that kind, with the settings that it has in a configuration.
fn chosen(asked: &RegularizerArg, before: &[Regularizer]) -> Result<Regularizer, Error> {
    let usual = loss::find(&asked.kind)?;
    let mut regularizer = before.iter().find(|r| r.kind() == usual.kind()).cloned().unwrap_or(usual);
    if let Some(strength) = asked.strength {
        regularizer.set_strength(strength);
    }
    Ok(regularizer)
}

fn usual_strength(one: &Regularizer) -> Result<Regularizer, Error> {
    let mut copy = one.clone();
    copy.set_strength(loss::find(one.kind())?.strength());
    Ok(copy)
}
