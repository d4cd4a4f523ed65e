//! `spgraph new`: an architecture with fresh weights.

use super::output;
use spgraph::onnx;
use spgraph::storage::files::OutputFile;
use spgraph::zoo::{self, Arch};
use std::path::PathBuf;

/// Write a ResNet with fresh weights: resnet18, 34, 50, 101, 152, or resnet20, 32, 56 for small images
#[derive(clap::Args)]
pub struct Args {
    /// One of the names above
    #[arg(value_parser = parse_arch)]
    architecture: Arch,
    /// Outputs of the classifier
    #[arg(long, value_name = "N")]
    classes: usize,
    /// Channels, height and width of the images, such as 3x224x224 [default: those that the architecture was made for]
    #[arg(long, value_name = "CxHxW", value_parser = parse_input)]
    input: Option<Input>,
    /// Decides the weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The model to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
}

/// Channels, height, width.
#[derive(Clone, Copy)]
struct Input([usize; 3]);

fn parse_arch(text: &str) -> Result<Arch, String> {
    text.parse().map_err(|e: spgraph::Error| e.to_string())
}

fn parse_input(text: &str) -> Result<Input, String> {
    zoo::parse_input(text).map(Input).map_err(|e| e.to_string())
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let input = args.input.map_or(args.architecture.usual_input(), |i| i.0);
    let out = OutputFile::create(&args.output, args.force)?;
    let model = zoo::build(args.architecture, args.classes, input, args.seed)?;
    onnx::write_to(out, &model)?;
    let size = std::fs::metadata(&args.output).map_or(0, |m| m.len());
    let shape = input.map(|n| n.to_string()).join("x");
    let text =
        format!("wrote {} ({}, {shape}, {} classes, {})\n", args.output.display(), args.architecture, args.classes, output::size(size));
    output::print_done(&text, &args.output)
}
