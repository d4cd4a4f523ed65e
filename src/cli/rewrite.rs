//! `spgraph rewrite`: a model becomes a bundle of training graphs.

use super::choice::choice;
use super::flags::{flag, with_flags};
use super::numbers::{RegularizerArg, ShapeArg, StrengthArg, parse_regularizer, parse_shape, parse_strength};
use super::optimizer_args::OptimizerArgs;
use super::output;
use super::rewrite_text;
use super::settings::{given, homeless, homes, set};
use super::subject_args::{self, PreprocessingArgs};
use spgraph::Field;
use spgraph::artifact::make_bundle;
use spgraph::bundle::manifest::{BatchNormMode, Manifest};
use spgraph::bundle::{ByPattern, HeadOption, Images, Options, Penalize, PenaltyOption, PenaltyStep};
use spgraph::data::{ImageFolder, KnownClasses};
use spgraph::emit::Dialect;
use spgraph::error::Error;
use spgraph::import::BatchSize;
use spgraph::loss::{self, REGULARIZERS, Regularizer};
use spgraph::report::explanation;
use std::path::PathBuf;

/// Rewrite a pretrained ONNX model into a training bundle
#[derive(clap::Args)]
pub struct Args {
    /// The pretrained model
    model: PathBuf,
    /// Folder for the bundle [default: the model's name with `.spgraph`]
    #[arg(short = 'o', long = "out", value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Replace the bundle that is there
    #[arg(long)]
    force: bool,
    /// Make a bundle again, bit for bit: with the options in its manifest.json, from the same model and files
    #[arg(long, value_name = "FILE")]
    from_manifest: Option<PathBuf>,
    /// Penalty: none, l2, l2-sp, l2-sp-fisher, l1-sp, gl-sp or gl-sp-fisher [default: l2-sp; none with --regularizer]
    #[arg(long)]
    penalty: Option<String>,
    /// Strength of the penalty on parameters that have a starting point, or with PATTERN=STRENGTH on those that a glob pattern
    /// matches (repeatable; the last match counts) [default: 0.1 for l2-sp and l2-sp-fisher, 0.0001 for l2, 0.001 for the others]
    #[arg(long, allow_negative_numbers = true, value_name = "[PATTERN=]STRENGTH", value_parser = parse_strength)]
    alpha: Vec<StrengthArg>,
    /// Strength of the penalty on a new head's parameters [default: 0.01; for l2 as --alpha, or 0.001]
    #[arg(long, allow_negative_numbers = true)]
    beta: Option<f64>,
    /// Weigh alpha by depth: FACTOR times alpha at the first layer, falling (or rising) geometrically to alpha at the last
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    alpha_depth: Option<f64>,
    /// Which parameters are penalised: `weights` (of Conv, Gemm and MatMul), `all`, or glob patterns on names or aliases
    #[arg(long, num_args = 1.., value_name = "weights|all|PATTERN", default_value = "weights")]
    penalize: Vec<String>,
    /// Leave parameters out of the penalty: glob patterns on names or aliases
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    sp_exclude: Vec<String>,
    /// Fisher information that `spgraph fisher` estimated from this model, for l2-sp-fisher and gl-sp-fisher
    #[arg(long, value_name = "FILE")]
    fisher: Option<PathBuf>,
    /// A loss beside the penalty, on what the network computes: delta (feature maps stay near the source's), bss (small singular values of the
    /// features vanish) or lwf (what the old classifier says stays), repeatable [default strengths: delta 0.01, bss 0.001, lwf 4]
    #[arg(long, value_name = "KIND[=STRENGTH]", value_parser = parse_regularizer)]
    regularizer: Vec<RegularizerArg>,
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
    /// l1-sp and gl-sp by their proximal step, which returns weights or whole channels exactly to their start
    #[arg(long, conflicts_with = "decoupled")]
    prox: bool,
    /// l2, l2-sp and l2-sp-fisher beside the optimizer, not through its gradient and momentum
    #[arg(long)]
    decoupled: bool,
    /// Replace the classifier by a new one for so many classes
    #[arg(long, conflicts_with = "head")]
    classes: Option<usize>,
    /// `keep` trains the classifier that is there (the default without --classes)
    #[arg(long, value_parser = ["keep"])]
    head: Option<String>,
    /// Put the new head behind the features that the network ends with, pooled and flattened where needed, instead of in the place of a head
    #[arg(long, requires = "classes")]
    add_head: bool,
    /// Start rows of a new head as copies of the old one's: lines of `new class = old class`, as names or numbers
    #[arg(long, value_name = "FILE", requires = "classes")]
    head_map: Option<PathBuf>,
    /// Keep parameters as they are: quoted glob patterns on names or aliases, behind the model
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    freeze: Vec<String>,
    /// Keep the first N stages: 1 is what lies before the first residual unit, each further one a residual stage
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    freeze_stages: usize,
    /// Keep the first N units: 1 is what lies before the first residual unit, each further one a residual unit
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    freeze_units: usize,
    /// Train only what the glob patterns match (and a new head), keep the rest as it is
    #[arg(long, num_args = 1.., value_name = "PATTERN")]
    train: Vec<String>,
    /// BatchNorm with batch statistics or with its moving ones [default: train, where the network has live BatchNorm]
    #[arg(long, value_parser = choice::<BatchNormMode>(&["train", "frozen"]))]
    batch_norm: Option<BatchNormMode>,
    /// Images per step, or `dynamic`
    #[arg(long, default_value = "32")]
    batch: BatchSize,
    /// The output whose scores are trained, of a model with several [default: the one that is clearly the classifier's]
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// What is minimised: cross-entropy of a softmax, bce (binary cross-entropy of each class, on the logits before a sigmoid) or mse (squared
    /// error of the outputs) [default: bce where the network ends with a sigmoid, else cross-entropy]
    #[arg(long, value_name = "LOSS", value_parser = ["cross-entropy", "bce", "mse"])]
    loss: Option<String>,
    /// Share of a label that is spread evenly over all classes
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    label_smoothing: f64,
    /// Sizes of the input after the batch, which the model leaves open or in the place of its own: 3x224x224
    #[arg(long, value_parser = parse_shape)]
    input_shape: Option<ShapeArg>,
    /// Write weights to weights.bin instead of into the graphs (always above 1 GiB)
    #[arg(long)]
    external_data: bool,
    /// Also write grad.onnx and apply.onnx, for gradient accumulation
    #[arg(long)]
    split: bool,
    /// Gradients as model-local functions, or written out in standard operators
    #[arg(long, default_value = "functions", value_parser = choice::<Dialect>(&["functions", "inlined"]))]
    dialect: Dialect,
    /// Train parameters that the exporter stored together as one
    #[arg(long)]
    keep_ties: bool,
    /// Seed of a new head's weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Take the class names from an image folder: the names of its sub-folders, sorted
    #[arg(long, value_name = "FOLDER", conflicts_with = "class_names")]
    class_names_from: Option<PathBuf>,
    /// File with the class names by label: one on each line, or a list or object in JSON
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    #[command(flatten)]
    preprocessing: PreprocessingArgs,
    /// Also print a line for each parameter: trained or frozen, its penalty and strength, and why
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    optimizer: OptimizerArgs,
}

fn penalize(given: Vec<String>) -> Penalize {
    match &given[..] {
        [one] if one == "weights" => Penalize::Weights,
        [one] if one == "all" => Penalize::All,
        _ => Penalize::Patterns(given),
    }
}

/// The regularizers with their settings. Fails for the setting of one that was not asked for.
fn regularizers(args: &Args) -> Result<Vec<Regularizer>, Error> {
    let options = [
        given(Field::LAYERS, (!args.delta_layers.is_empty()).then_some(&args.delta_layers))?,
        given(Field::ATTENTION, args.attention.as_ref())?,
        given(Field::TEMPERATURE, args.temperature.as_ref())?,
        given(Field::SINGULAR_VALUES, args.bss_k.as_ref())?,
    ];
    let asked: Vec<Regularizer> = args.regularizer.iter().map(|asked| loss::find(&asked.kind)).collect::<Result<_, Error>>()?;
    if let Some(field) = homeless(&asked, &options) {
        let kinds = REGULARIZERS.iter().map(|usual| usual()).map(|r| (r.kind(), r));
        return Err(Error::usage(format!("{} has no meaning without {}", flag(field), homes(Field::REGULARIZERS, field, kinds))));
    }
    let with_settings = |(usual, asked): (&Regularizer, &RegularizerArg)| {
        let mut regularizer = set(usual, &options)?;
        // Whether it makes sense is found out with all other options: what is no number has no place in a file, through which settings go.
        if let Some(strength) = asked.strength {
            regularizer.set_strength(strength);
        }
        Ok(regularizer)
    };
    asked.iter().zip(&args.regularizer).map(with_settings).collect()
}

/// Where the bundle goes.
fn destination(args: &Args) -> Result<PathBuf, Error> {
    let beside = || {
        args.model.file_stem().map(|stem| {
            let mut name = stem.to_os_string();
            name.push(".spgraph");
            PathBuf::from(name)
        })
    };
    args.out
        .clone()
        .or_else(beside)
        .ok_or_else(|| Error::usage(format!("{} is no file name; give the path of an ONNX model", args.model.display())))
}

/// What the arguments ask for.
fn options(args: &Args) -> anyhow::Result<Options> {
    let plain: Vec<f64> = args.alpha.iter().filter(|a| a.pattern.is_none()).map(|a| a.value).collect();
    if plain.len() > 1 {
        return Err(Error::usage("--alpha is given twice without a pattern").into());
    }
    let own = args.alpha.iter().filter_map(|a| Some(ByPattern { pattern: a.pattern.clone()?, value: a.value }));
    Ok(Options {
        penalty: args.penalty.as_deref().map(PenaltyOption::from).unwrap_or_default(),
        alpha: plain.first().copied(),
        beta: args.beta,
        penalize: penalize(args.penalize.clone()),
        sp_exclude: args.sp_exclude.clone(),
        strengths: own.collect(),
        alpha_depth: args.alpha_depth,
        penalty_step: match (args.prox, args.decoupled) {
            (true, _) => PenaltyStep::Proximal,
            (_, true) => PenaltyStep::Decoupled,
            _ => PenaltyStep::Gradient,
        },
        fisher: args.fisher.clone(),
        regularizers: regularizers(args)?,
        head: args.classes.map_or(HeadOption::Keep, HeadOption::Classes),
        add_head: args.add_head,
        head_map: args.head_map.clone(),
        freeze: args.freeze.clone(),
        freeze_stages: args.freeze_stages,
        freeze_units: args.freeze_units,
        train: args.train.clone(),
        batch_norm: args.batch_norm,
        batch: args.batch,
        lr: args.optimizer.lr,
        optimizer: args.optimizer.optimizer()?,
        lr_mult: args.optimizer.lr_mult.clone(),
        prediction: args.output.clone(),
        loss: args.loss.clone(),
        label_smoothing: args.label_smoothing,
        input_shape: args.input_shape.as_ref().map(|s| s.0.clone()),
        external_data: args.external_data,
        split: args.split,
        dialect: args.dialect,
        keep_ties: args.keep_ties,
        seed: args.seed,
        classes: class_names(args)?,
        preprocessing: Some(args.preprocessing.images()).filter(|images| *images != Images::default()),
    })
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
    let made = make_bundle(&args.model, &output, &options, args.force)?;
    let product = &made.product;
    let explained = if args.explain { format!("{}\n", explanation(&product.plan, &product.manifest)) } else { String::new() };
    output::print(&with_flags(&format!("{explained}{}", rewrite_text::text(&made))))
}

fn class_names(args: &Args) -> anyhow::Result<Vec<String>> {
    match &args.class_names_from {
        Some(folder) => {
            let known = KnownClasses { learnt: args.classes.is_none(), ..KnownClasses::default() };
            Ok(ImageFolder::open_for(folder, &known)?.classes().to_vec())
        }
        None => subject_args::class_names(args.class_names.as_deref()),
    }
}
