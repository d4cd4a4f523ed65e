//! `spgraph grad`: gradients of a network, as a network.

use super::choice::choice;
use super::numbers::{ShapeArg, parse_shape};
use super::output;
use spgraph::emit::Dialect;
use spgraph::onnx;
use spgraph::rewrite::{GradientOptions, Of, Wrt, gradients};
use spgraph::storage::files::OutputFile;
use spgraph::storage::inputs::Inputs;
use std::path::PathBuf;

/// Write a network that gives the gradients of a network's output
///
/// Vector-Jacobian products, for saliency, adversarial examples, losses and optimizers of your own: docs/artifacts.md.
#[derive(clap::Args)]
pub struct Args {
    /// The network
    model: PathBuf,
    /// What there are gradients for: `input`, `input:NAME` of a model with several, `params`, or `params:PATTERN` (a glob on names); may be given several times
    #[arg(long, value_name = "WHAT", required = true)]
    wrt: Vec<Wrt>,
    /// The output that is differentiated, which gets an input with a number for each of its elements; with `,scalar` behind it the sum of its elements
    #[arg(long, value_name = "OUTPUT[,scalar]")]
    of: Of,
    /// The network to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Images per call, where the model leaves it open [default: any number where the model allows it, else 1]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Sizes of the input after the batch, which the model leaves open: 3x224x224
    #[arg(long, value_name = "CxHxW", value_parser = parse_shape)]
    input_shape: Option<ShapeArg>,
    /// Gradients in standard operators, or as model-local functions [default: inlined]
    #[arg(long, value_parser = choice::<Dialect>(&["functions", "inlined"]))]
    dialect: Option<Dialect>,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    Inputs::new([&args.model]).check_file(&args.output)?;
    let out = OutputFile::create(&args.output, args.force)?;
    let options = GradientOptions {
        wrt: args.wrt,
        of: args.of,
        batch: args.batch,
        input_shape: args.input_shape.map(|s| s.0),
        dialect: args.dialect.unwrap_or(Dialect::Inlined),
    };
    let found = gradients(&args.model, &options)?;
    Inputs::new(&found.read).check_file(&args.output)?;
    onnx::write_to(out, &found.model)?;
    let seed = match &found.cotangent {
        Some(name) => format!("cotangent   {name}, a number for each element of the output\n"),
        None => "cotangent   none: the sum of the output's elements is differentiated\n".to_string(),
    };
    let mut text = format!("input       {}\noutput      {}\n{seed}", found.input, found.output);
    for (i, port) in found.gradients.iter().take(6).enumerate() {
        let known = if port.alias == port.of { String::new() } else { format!(" ({})", port.alias) };
        text.push_str(&format!("{}{}{known}\n", if i == 0 { "gradients   " } else { "            " }, port.output));
    }
    if found.gradients.len() > 6 {
        text.push_str(&format!("            … {} in all\n", found.gradients.len()));
    }
    if !found.independent.is_empty() {
        text.push_str(&format!("without     {}: the output does not depend on them\n", found.independent.join(", ")));
    }
    if !output::is_quiet() {
        output::print(&text)?;
    }
    output::print_written(&args.output)
}
