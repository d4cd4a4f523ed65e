//! `spgraph fisher`: the Fisher information of a source network, for the penalties that weigh by it.

use super::choice::choice;
use super::engine_args::EngineArgs;
use super::output::{self, percent};
use super::progress;
use super::subject_args::{PreprocessingArgs, class_names};
use super::workers::Workers;
use spgraph::fisher::{FisherOptions, FisherResult, Mode, Outline, Progress, fisher};
use spgraph::report::{Align, Table};
use spgraph::shell::word;
use spgraph::storage::inputs::Inputs;
use spgraph::train::Existing;
use std::path::{Path, PathBuf};

/// Estimate the Fisher information of a source network, for `rewrite --fisher`
#[derive(clap::Args)]
#[command(
    after_help = "Ctrl-C finishes the call, writes FILE.checkpoint and exits with code 130; the same command with --resume goes on from \
    there and ends with the same bits as an uninterrupted run."
)]
pub struct Args {
    /// The source network, an ONNX model
    model: PathBuf,
    /// Folder of source images, one sub-folder per class; only --mode empirical looks at the classes
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// The file to write (safetensors)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Classes of each image: all of them by their probability, one drawn from the network's own distribution, or the label
    /// [default: exact, above 64 classes sampled]
    #[arg(long, value_parser = choice::<Mode>(&["exact", "sampled", "empirical"]))]
    mode: Option<Mode>,
    /// Images to use, chosen at random [default: all]; in sampled mode also more than there are
    #[arg(long, value_name = "M")]
    samples: Option<u64>,
    /// Decides which images are used, and the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pairs of image and class per call [default: by memory, at most 32]
    #[arg(long, value_name = "N")]
    pairs: Option<usize>,
    /// Replace the file, and any checkpoint, that is there
    #[arg(long, conflicts_with = "resume")]
    force: bool,
    /// Go on from FILE.checkpoint
    #[arg(long)]
    resume: bool,
    /// Also write the graph of one call, an ONNX model of standard operators
    #[arg(long, value_name = "FILE")]
    graph: Option<PathBuf>,
    /// Write a checkpoint after so many calls [default: every minute]
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: Option<u64>,
    /// File with the class names by label: one on each line, or a list or object in JSON
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    /// Sizes of the input after the batch, which the model leaves open or in the place of its own: 3x224x224
    #[arg(long, value_parser = super::numbers::parse_shape, help_heading = "Preprocessing")]
    input_shape: Option<super::numbers::ShapeArg>,
    /// Results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    preprocessing: PreprocessingArgs,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let names = Inputs::new(&args.class_names);
    [Some(&args.output), args.graph.as_ref()].into_iter().flatten().try_for_each(|path| names.check_file(path))?;
    let options = FisherOptions {
        mode: args.mode,
        samples: args.samples,
        seed: args.seed,
        pairs: args.pairs,
        existing: match (args.resume, args.force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Replace,
            _ => Existing::Refuse,
        },
        graph: args.graph,
        checkpoint_every: args.checkpoint_every,
        engine: args.engine.options(),
        workers: args.workers.count(),
        classes: class_names(args.class_names.as_deref())?,
        input_shape: args.input_shape.map(|s| s.0),
        images: args.preprocessing.images(),
        ..FisherOptions::new(args.model, args.data, args.output)
    };
    let stop = super::interrupt::finish_the_step();
    let result = fisher(&options, &mut Display { meter: progress::Meter::new() }, stop)?;
    if args.json {
        return output::print_json(&result);
    }
    output::print_done(&text(&result), &result.path)
}

struct Display {
    meter: progress::Meter,
}

impl Progress for Display {
    fn start(&mut self, o: &Outline) {
        self.meter.say(&format!("engine  {}", o.engine));
        self.meter.say(&format!(
            "data    {} images; {} of {} samples, {} pairs of image and class, {} per call",
            o.images,
            o.mode,
            o.samples,
            o.pairs,
            o.shape.rows.saturating_mul(o.shape.copies)
        ));
        if o.done > 0 {
            self.meter.say(&format!("resume  after pair {}", o.done));
        }
        self.meter.start(o.done, o.pairs);
    }

    fn call(&mut self, done: u64, pairs: u64, seconds: f64) {
        self.meter.at(done, "pair", &format!("{:.1} pairs/s", pairs as f64 / seconds.max(1e-9)));
    }

    fn checkpoint(&mut self, done: u64, path: &Path) {
        self.meter.say(&format!("checkpoint after pair {done}: {}", path.display()));
    }

    fn note(&mut self, text: &str) {
        self.meter.say(&format!("note: {text}"));
    }

    fn finish(&mut self) {
        self.meter.finish();
    }
}

fn text(result: &FisherResult) -> String {
    let s = &result.summary;
    let mut table = Table::new([
        ("layer", Align::Left),
        ("elements", Align::Right),
        ("zeros", Align::Right),
        ("mass", Align::Right),
        ("± error", Align::Right),
        ("share", Align::Right),
    ]);
    for l in &s.layers {
        let error = l.standard_error.map_or("-".into(), |e| format!("{e:.1e}"));
        table.row([l.layer.clone(), l.elements.to_string(), l.zeros.to_string(), format!("{:.4e}", l.mass), error, percent(l.share)]);
    }
    table.row(["all".to_string(), s.elements.to_string(), s.zeros.to_string(), format!("{:.4e}", s.mass), String::new(), String::new()]);
    format!(
        "{table}\nfisher  {}, {} samples of {} images, {} classes\nspeed   {:.1} pairs/s in {:.1} s ({} per call), {} of it waiting for images; {}\n\
         wrote   {}\nnext    spgraph rewrite MODEL --penalty l2-sp-fisher --fisher {}\n",
        result.info.mode,
        result.info.samples,
        result.images,
        result.info.classes,
        result.pairs_per_second,
        result.seconds,
        result.pairs_per_call,
        percent(result.wait),
        result.engine,
        result.path.display(),
        word(&result.path)
    )
}
