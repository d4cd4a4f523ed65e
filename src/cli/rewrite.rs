//! `spgraph rewrite`: a model becomes a bundle of training graphs, or another artifact.

use super::choice::{artifacts, choice};
use super::common_args::{BatchArg, CommonArgs, RateArg};
use super::flags::with_flags;
use super::rewriting::RewritingArgs;
use super::{output, rewrite_text};
use spgraph::artifact::{Artifact, make};
use spgraph::bundle::manifest::Manifest;
use spgraph::bundle::{GraphPrecision, HeadOption, Options};
use spgraph::data::{ImageFolder, KnownClasses};
use spgraph::engine::Computing;
use spgraph::error::Error;
use spgraph::import::BatchSize;
use spgraph::report::{explanation, fitting_batch};
use spgraph::storage::beside::beside;
use std::path::{Path, PathBuf};

/// Rewrite a pretrained ONNX model into a training bundle
#[derive(clap::Args)]
pub struct Args {
    /// The pretrained model
    model: PathBuf,
    /// What to make of it: docs/artifacts.md says whom each is for
    #[arg(long, value_name = "KIND", default_value = "bundle", value_parser = artifacts(), help_heading = "Training graphs")]
    artifact: &'static dyn Artifact,
    /// Folder for the bundle [default: the model's name with `.spgraph`]; artifacts that are one model also take a name with `.onnx`
    #[arg(short = 'o', long = "out", value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Replace the bundle that is there
    #[arg(long)]
    force: bool,
    /// Make a bundle again, bit for bit: with the options in its manifest.json, from the same model and files
    #[arg(long, value_name = "FILE")]
    from_manifest: Option<PathBuf>,
    /// Take the class names from an image folder: the names of its sub-folders, sorted
    #[arg(long, value_name = "FOLDER", conflicts_with = "class_names", help_heading = "Head")]
    class_names_from: Option<PathBuf>,
    /// Also print a line for each parameter: trained or frozen, its penalty and strength, and why
    #[arg(long)]
    explain: bool,
    /// mixed-...: products, and images between them, in float16 (with a scaled loss) or bfloat16; weights, sums, losses and updates stay
    /// float32. rounded-...: the same numbers on float32 tensors, for runtimes that lack the type [default: float32]
    #[arg(
        long,
        value_parser = choice::<GraphPrecision>(&["float32", "mixed-f16", "mixed-bf16", "rounded-f16", "rounded-bf16"]),
        help_heading = "Training graphs"
    )]
    precision: Option<GraphPrecision>,
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    rewriting: RewritingArgs,
}

/// What an artifact of the model is called where nobody says, in the current folder; `None` of a path that ends in no name.
pub fn named_after(model: &Path, artifact: &str) -> Option<PathBuf> {
    let ending = if artifact == "bundle" { ".spgraph".to_string() } else { format!(".{artifact}") };
    model.file_stem().map(|stem| beside(Path::new(stem), "", &ending))
}

/// Where the bundle goes.
fn destination(args: &Args) -> Result<PathBuf, Error> {
    args.out
        .clone()
        .or_else(|| named_after(&args.model, args.artifact.name()))
        .ok_or_else(|| Error::usage(format!("{} is no file name; give the path of an ONNX model", args.model.display())))
}

/// What the arguments ask for.
fn options(args: &Args) -> anyhow::Result<Options> {
    let mut options = Options::default();
    args.rewriting.set(&args.common, &mut options)?;
    options.precision = args.precision.unwrap_or(options.precision);
    if let Some(folder) = &args.class_names_from {
        let known = KnownClasses { learnt: options.head == HeadOption::Keep, ..KnownClasses::default() };
        options.classes = ImageFolder::open_for(folder, &known)?.classes().to_vec();
    }
    if matches!(args.common.lr, Some(RateArg::Auto)) {
        return Err(Error::usage("--lr auto is a training's, whose images the rate is found with: give it to `spgraph finetune`").into());
    }
    if matches!(args.common.batch, Some(BatchArg::Auto)) {
        options.batch = BatchSize::Fixed(fitting_batch(&args.model, &options, Computing::default())?);
    }
    Ok(options)
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let output = destination(&args)?;
    let mut options = options(&args)?;
    if let Some(path) = &args.from_manifest {
        if options != Options::default() {
            return Err(Error::usage("--from-manifest has the options of the rewriting already: leave the others away").into());
        }
        options = Manifest::read(path)?.options_again(&args.model)?.clone();
    }
    let made = make(args.artifact, &args.model, &output, &options, args.force)?;
    let product = &made.product;
    let explained = if args.explain { format!("{}\n", explanation(&product.plan, &product.manifest)) } else { String::new() };
    output::print_done(&with_flags(&format!("{explained}{}", rewrite_text::text(&made, args.artifact))), &made.path)
}
