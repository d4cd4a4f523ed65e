//! In which form the training graphs are written.

use crate::cli::choice::{choice, runtimes};
use spgraph::bundle::{Options, StartForm};
use spgraph::emit::{Dialect, Runtime};

#[derive(clap::Args)]
#[command(next_help_heading = "Training graphs")]
pub struct GraphArgs {
    /// Write weights to weights.bin instead of into the graphs (always above 1 GiB)
    #[arg(long)]
    external_data: bool,
    /// Also write grad.onnx and apply.onnx, for gradient accumulation
    #[arg(long)]
    split: bool,
    /// Gradients as model-local functions, or written out in standard operators [default: functions]
    #[arg(long, value_parser = choice::<Dialect>(&["functions", "inlined"]))]
    dialect: Option<Dialect>,
    /// For this runtime: in the form that it reads or has fast kernels for, and refused where it lacks an operator
    #[arg(long = "for", value_name = "RUNTIME", value_parser = runtimes(), conflicts_with = "dialect")]
    runtime: Option<&'static Runtime>,
    /// The opset of ONNX's operators in the graphs, 13 to 23: refused where it has no words for a node [default: 17, or what --for reads]
    #[arg(long, value_name = "N")]
    opset: Option<i64>,
    /// The starting point as constants of the step, or as inputs, so that each step can be given another: FedProx, a moving anchor [default: constant]
    #[arg(long, value_parser = choice::<StartForm>(&["constant", "input"]))]
    start: Option<StartForm>,
}

impl GraphArgs {
    pub fn set(&self, options: &mut Options) {
        options.external_data |= self.external_data;
        options.split |= self.split;
        if let Some(runtime) = self.runtime {
            options.runtime = Some(runtime.name.into());
            options.dialect = runtime.dialect;
        }
        options.opset = self.opset.or(options.opset);
        options.start = self.start.unwrap_or(options.start);
        options.dialect = self.dialect.unwrap_or(options.dialect);
    }
}
