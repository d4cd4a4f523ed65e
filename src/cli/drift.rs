//! `spgraph drift`: how far two networks are apart.

use super::output::{self, percent};
use clap::ValueEnum;
use spgraph::error::Error;
use spgraph::report::{Align, Drift, Table, drift};
use std::path::PathBuf;

/// Compare the weights of two networks of one structure, layer by layer
#[derive(clap::Args)]
pub struct Args {
    /// Where the distance is measured from: a model, a run, or a bundle (its starting point)
    from: PathBuf,
    /// The other
    to: PathBuf,
    /// Sizes of the input after the batch, where the models leave them open: 3x224x224
    #[arg(long, value_name = "CxHxW", value_parser = super::numbers::parse_shape)]
    input_shape: Option<super::numbers::ShapeArg>,
    /// How it is printed
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let found = drift(&args.from, &args.to, args.input_shape.map(|s| s.0))?;
    match args.format {
        _ if args.json => output::print_json(&found),
        Format::Json => output::print_json(&found),
        Format::Csv => csv(&found),
        Format::Table => output::print(&text(&found)),
    }
}

fn csv(found: &Drift) -> anyhow::Result<()> {
    let mut writer = csv::Writer::from_writer(vec![]);
    for layer in &found.layers {
        writer.serialize(layer)?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::internal(format!("the table cannot be written: {e}")))?;
    output::print_bytes(&bytes)
}

fn text(found: &Drift) -> String {
    let mut table = Table::new([
        ("layer", Align::Left),
        ("kind", Align::Left),
        ("elements", Align::Right),
        ("distance", Align::Right),
        ("relative", Align::Right),
        ("equal", Align::Right),
    ]);
    for l in &found.layers {
        let equal = percent(l.equal as f64 / l.elements.max(1) as f64);
        table.row([l.name.clone(), l.kind.clone(), l.elements.to_string(), format!("{:.4}", l.distance), percent(l.relative), equal]);
    }
    let replaced =
        if found.replaced.is_empty() { String::new() } else { format!("other shape  {}, not counted\n", found.replaced.join(", ")) };
    format!("{table}\n{replaced}distance     {:.4} ({} of the first network's norm)\n", found.total, percent(found.relative))
}
