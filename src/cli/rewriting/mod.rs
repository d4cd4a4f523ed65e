//! The options of a rewriting, the same in every subcommand that rewrites a model: each group is a file, with its flags and what they set in
//! [`Options`]. What is not given stays as it is there, so that flags go over a configuration file.

mod freezing;
mod graphs;
mod head;
mod network;
mod optimizer;
mod penalty;
mod regularizers;

use super::common_args::{BatchArg, CommonArgs};
use super::subject_args::PreprocessingArgs;
use spgraph::bundle::{Images, Options};

#[derive(clap::Args)]
pub struct RewritingArgs {
    #[command(flatten)]
    pub head: head::HeadArgs,
    #[command(flatten)]
    penalty: penalty::PenaltyArgs,
    #[command(flatten)]
    regularizers: regularizers::RegularizerArgs,
    #[command(flatten)]
    freezing: freezing::FreezingArgs,
    #[command(flatten)]
    optimizer: optimizer::OptimizerArgs,
    #[command(flatten)]
    network: network::NetworkArgs,
    #[command(flatten)]
    preprocessing: PreprocessingArgs,
    #[command(flatten)]
    graphs: graphs::GraphArgs,
}

impl RewritingArgs {
    /// Puts what is given into `options`, with those that rewriting has in common with training.
    pub fn set(&self, common: &CommonArgs, options: &mut Options) -> anyhow::Result<()> {
        self.head.set(options);
        self.penalty.set(common, options)?;
        self.regularizers.set(common, options)?;
        self.freezing.set(options);
        self.optimizer.set(common, options)?;
        self.network.set(options);
        self.graphs.set(options);
        let images = self.preprocessing.images().or(&options.preprocessing.take().unwrap_or_default());
        options.preprocessing = Some(images).filter(|images| *images != Images::default());
        if let Some(BatchArg::Value(batch)) = common.batch {
            options.batch = batch;
        }
        options.seed = common.seed.unwrap_or(options.seed);
        if let Some(names) = common.class_names()? {
            options.classes = names;
        }
        Ok(())
    }
}
