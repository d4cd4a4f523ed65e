//! `spgraph synth`: procedural images to try things with.

use super::output;
use spgraph::data::synth::{SynthOptions, Task, write};
use std::path::PathBuf;

/// Draw a synthetic image folder: source (10 classes), target-a (6 other shapes) or target-b (5 other textures)
#[derive(clap::Args)]
pub struct Args {
    /// source, target-a or target-b
    #[arg(long, value_parser = parse_task)]
    task: Task,
    /// Images for each class
    #[arg(long, value_name = "K", default_value_t = 100)]
    per_class: usize,
    /// Another seed gives other images; take one for training and one for testing
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Width and height in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 32)]
    size: u32,
    /// Folder for the images
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Replace synthetic images that are there
    #[arg(long)]
    force: bool,
}

fn parse_task(text: &str) -> Result<Task, String> {
    text.parse().map_err(|e: spgraph::Error| e.to_string())
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let options = SynthOptions { size: args.size, force: args.force, ..SynthOptions::new(args.task, args.per_class, args.seed) };
    let made = write(&options, &args.output)?;
    let text = format!(
        "wrote {} images of {} classes to {} ({})\n",
        made.images,
        made.classes.len(),
        made.dir.display(),
        output::size(made.bytes)
    );
    output::print_done(&text, &made.dir)
}
