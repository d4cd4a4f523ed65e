//! `spgraph attention`: how much each filter matters for the target task, for DELTA.

use super::engine_args::EngineArgs;
use super::subject_args::StateArg;
use super::workers::Workers;
use super::{interrupt, output, progress};
use spgraph::channel_attention::{AttentionOptions, AttentionResult, attention};
use spgraph::report::{Align, Table};
use spgraph::shell::word;
use std::path::PathBuf;

/// Measure by how much the loss rises without each filter, for `rewrite --regularizer delta --attention`
#[derive(clap::Args)]
#[command(after_help = "The run needs a trained classifier on the pretrained features:\n  \
    spgraph rewrite model.onnx --classes 6 --train 'fc.*' --penalty none -o head.spgraph\n  \
    spgraph finetune head.spgraph --data images --epochs 5 -o head\n  \
    spgraph attention head --data images -o attention.safetensors\n  \
    spgraph rewrite model.onnx --classes 6 --regularizer delta --attention attention.safetensors")]
pub struct Args {
    /// A run of `finetune` that started from the pretrained model
    run: PathBuf,
    /// Folder of the target's images, one sub-folder per class
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// The file to write (safetensors)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Layers whose filters are measured: glob patterns on their weights [default: the last convolution of each residual stage]
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    delta_layers: Vec<String>,
    /// Images to use, chosen at random, rounded up to whole batches
    #[arg(long, value_name = "N", default_value_t = 128)]
    images: usize,
    /// Images per call
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,
    /// Decides which images are used
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Which state of the run
    #[arg(long, value_enum, default_value = "final")]
    state: StateArg,
    /// Replace a file that is there
    #[arg(long)]
    force: bool,
    /// Results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    engine: EngineArgs,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let options = AttentionOptions {
        run: args.run,
        which: args.state.into(),
        data: args.data,
        output: args.output,
        force: args.force,
        layers: args.delta_layers,
        images: args.images,
        batch: args.batch,
        seed: args.seed,
        engine: args.engine.options(),
        workers: args.workers.count(),
    };
    let stop = interrupt::finish_the_step();
    let mut bar = progress::Counter::new("measuring");
    let result = attention(&options, stop, &mut |done, total| bar.at(done, total));
    bar.finish();
    let result = result?;
    if args.json {
        return output::print_json(&result);
    }
    output::print_done(&text(&result), &result.path)
}

fn text(result: &AttentionResult) -> String {
    let mut table = Table::new([
        ("layer", Align::Left),
        ("channels", Align::Right),
        ("mean rise", Align::Right),
        ("largest", Align::Right),
        ("of channel", Align::Right),
        ("weights", Align::Right),
    ]);
    for l in &result.layers {
        table.row([
            l.layer.clone(),
            l.channels.to_string(),
            format!("{:.2e}", l.mean_rise),
            format!("{:.2e}", l.largest_rise),
            l.channel.to_string(),
            format!("{:.3} to {:.3}", l.smallest, l.largest),
        ]);
    }
    format!(
        "{table}\nloss    {:.4} on {} images\nspeed   {:.1} s; {}\nwrote   {}\nnext    spgraph rewrite MODEL --classes N --regularizer delta --attention {}\n",
        result.loss,
        result.images,
        result.seconds,
        result.engine,
        result.path.display(),
        word(&result.path)
    )
}
