//! What `spgraph rewrite` says about a bundle that it wrote.

use super::flags::flag;
use super::output;
use spgraph::Field;
use spgraph::artifact::{Artifact, Made};
use spgraph::bundle::manifest::{BatchNormMode, Role, Scalar};
use spgraph::bundle::{DropoutMode, HeadOption, PenaltyStep, Setting};
use spgraph::emit::Form;
use spgraph::import::FixedConstant;
use spgraph::loss::Activation;
use spgraph::onnx::half;
use spgraph::report::on_one_line;
use spgraph::rewrite::{FoundDropout, Product};
use spgraph::shell::word;
use std::collections::BTreeMap;
use std::path::Path;

/// Reasons why constants are taken for no parameters, each with the first names and the count.
fn not_trained(fixed: &[FixedConstant]) -> BTreeMap<&'static str, String> {
    let mut by_reason: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    for f in fixed {
        by_reason.entry(f.why.text()).or_default().push(&f.parameter.alias);
    }
    by_reason.into_iter().map(|(why, names)| (why, shown(names))).collect()
}

/// Pairs of equal parameters that are named.
const ALIKE: usize = 2;

fn shown(names: Vec<&str>) -> String {
    match &*names {
        [first, second, _, _, ..] => format!("{first}, {second}, … ({})", names.len()),
        few => few.join(", "),
    }
}

/// What becomes of Dropout, where there is any.
fn dropout(found: &[FoundDropout], mode: DropoutMode) -> Option<String> {
    let mut shares: Vec<String> = vec![];
    for one in found {
        let share = one.ratio.map_or("a share that is computed".to_string(), |ratio| ratio.to_string());
        if !shares.contains(&share) {
            shares.push(share);
        }
    }
    let shares = shown(shares.iter().map(String::as_str).collect());
    let (nodes, drop, do_nothing) = match found.len() {
        1 => ("1 node".to_string(), "drops", "does nothing"),
        n => (format!("{n} nodes"), "drop", "do nothing"),
    };
    match mode {
        DropoutMode::Off if found.is_empty() => None,
        DropoutMode::Off => Some(format!("off: {nodes} that {drop} {shares} in training by the model's file; --dropout keep lets them")),
        DropoutMode::Keep => Some(format!("{nodes} {drop} {shares}, {MASKS}")),
        DropoutMode::Classifier(share) => {
            let own = if found.is_empty() { String::new() } else { format!("; {nodes} of the file {do_nothing}") };
            Some(format!("{share} of what enters the classifier, {MASKS}{own}"))
        }
    }
}

/// Whose masks.
const MASKS: &str = "by masks that follow from the seed and the number of the step";

/// What was decided, and what was written.
pub fn text(made: &Made, artifact: &dyn Artifact) -> String {
    let mut out = decisions(made);
    out.push_str(&written(&made.path, &made.files));
    for note in artifact.notes(&made.product.manifest) {
        out.push_str(&format!("note        {note}\n"));
    }
    if artifact.name() == "bundle" {
        out.push_str(&format!("next        spgraph finetune {} --data FOLDER --epochs 10 -o RUN\n", word(&made.path)));
    }
    out
}

/// The files of an artifact.
pub fn written(path: &Path, files: &[(String, u64)]) -> String {
    let mut out = format!("wrote       {}\n", path.display());
    let width = files.iter().map(|(name, _)| name.len()).fold(14, usize::max);
    for (name, bytes) in files {
        out.push_str(&format!("            {name:width$} {:>9}\n", output::size(*bytes)));
    }
    out
}

/// What was decided.
pub fn decisions(made: &Made) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&on_one_line(&text));
        out.push('\n');
    };
    let Product { manifest: m, plan, options, .. } = &made.product;
    let count = |role: Role| m.state.iter().filter(|s| s.role == role).count();
    let shape = m.data.input.shape.iter().map(|d| if *d < 0 { "N".into() } else { d.to_string() }).collect::<Vec<_>>().join("x");
    line(format!(
        "model       {} (opset {}, {})",
        m.source.file,
        m.source.opset,
        if m.source.producer.is_empty() { "unknown producer" } else { &m.source.producer }
    ));
    if let Ok(Form { runtime: Some(runtime), dialect, opset }) = options.form() {
        line(format!("runtime     {}", runtime.chosen(dialect, opset)));
    }
    line(format!("input       {} {} {shape}", m.data.input.name, m.data.input.dtype));
    if !plan.freed_batch.is_empty() {
        let count = plan.freed_batch.len();
        let shapes = if count == 1 { "a shape".to_string() } else { format!("{count} shapes") };
        line(format!(
            "batch       free, although {shapes} had a number for it (checked: two images together give what each gives by itself)"
        ));
    }
    for dtype in half::weight_types(&made.product.source.proto) {
        line(format!("weights     {dtype}: trained as float32, written back as {dtype}"));
    }
    let assumed = &made.product.assumed;
    let usual = [Field::RESIZE, Field::MEAN, Field::STD].iter().filter(|f| assumed.contains(f)).count() == 3;
    let said = match assumed[..] {
        [] => String::new(),
        _ if usual => " (assumed: the model does not say)".into(),
        _ => format!(" (assumed: {})", assumed.iter().map(|f| flag(*f)).collect::<Vec<_>>().join(", ")),
    };
    let own = if made.product.own_preparation { "; its first nodes normalise them" } else { "" };
    line(format!("images      {}{said}{own}", m.preprocessing.shown(assumed)));
    let head = plan.head.as_ref().map_or("no classifier layer found".to_string(), |h| format!("{} `{}`", h.op_type, h.node));
    let kept = if options.head == HeadOption::Keep { "kept" } else { "new" };
    // One score tells two classes apart; of numbers each is an output.
    let scores = match (plan.loss.kind(), &options.head) {
        ("mse", HeadOption::Classes(1)) => "1 number".to_string(),
        ("mse", _) => format!("{} numbers", plan.classes),
        _ => format!("{} classes", plan.classes),
    };
    let behind = plan.pooled.as_ref().map(|pooled| format!(", behind {pooled}")).unwrap_or_default();
    line(format!("head        {kept}, {scores}, {head}{behind}"));
    if !m.classes.is_empty() {
        let mut names = m.classes.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
        if m.classes.len() > 6 {
            names.push_str(", …");
        }
        line(format!("classes     {names}"));
    }
    let (output, activation) = (&plan.prediction.name, plan.prediction.tail.activation);
    if !plan.others.is_empty() {
        let why = if options.prediction.is_some() { "chosen" } else { "the one with a classifier" };
        line(format!("output      {output} ({why}); the network also gives {}", plan.others.join(", ")));
    }
    for left in &plan.left_out {
        let then = match left.kept {
            true => "exports compute it as the source does",
            false => "exports are without it, since it belongs to the old classifier",
        };
        line(format!("left out    {left}; {then}"));
    }
    let why = match (&options.loss, activation) {
        (Some(_), _) => "chosen".to_string(),
        (None, Activation::None) => "assumed, for the network ends with its logits".to_string(),
        (None, activation) => format!("for the network ends with {}", activation.name()),
    };
    line(format!("loss        {} ({why})", plan.loss.summary()));
    line(format!(
        "parameters  {} shared, {} new, {} frozen",
        count(Role::Shared),
        count(Role::New),
        plan.parameters.iter().filter(|p| p.frozen && p.role != Role::Buffer).count()
    ));
    let (trained, all) = made.product.trained();
    let stopped: usize = made.product.stopped.values().map(Vec::len).sum();
    let trainable = plan.parameters.iter().filter(|p| !p.frozen && p.role != Role::Buffer).count();
    let unused = [count(Role::Shared), count(Role::New), stopped].into_iter().fold(trainable, usize::saturating_sub);
    let unused = if unused == 0 { String::new() } else { format!(" ({unused} tensors do not influence the loss)") };
    line(format!("trained     {trained} of {all} elements{unused}"));
    for (nodes, names) in &made.product.stopped {
        let names = shown(names.iter().map(String::as_str).collect());
        line(format!("            not {names}: behind {nodes}, whose gradient is zero everywhere"));
    }
    for (why, names) in not_trained(&plan.fixed) {
        line(format!("            not {names}: {why}"));
    }
    if !plan.fixed.is_empty() {
        let trains = if plan.fixed.iter().any(|f| f.why.can_be_trained()) { "; --train with their names trains them" } else { "" };
        line(format!("            --explain lists them{trains}"));
    }
    if !plan.split.is_empty() {
        let names = shown(plan.split.iter().map(|s| s.name.as_str()).collect());
        line(format!(
            "untied      {} parameters that the exporter had stored together (--keep-ties keeps them one): {names}",
            plan.split.len()
        ));
    }
    for (first, second) in plan.alike.iter().take(ALIKE) {
        line(format!("alike       {first} and {second} hold the same numbers, and are trained apart"));
    }
    if plan.alike.len() > ALIKE {
        line(format!("            … ({} such pairs)", plan.alike.len()));
    }
    line(format!(
        "batch norm  {}",
        match m.batch_norm {
            BatchNormMode::None => "none, or folded into the convolutions",
            BatchNormMode::Train => "train (batch statistics)",
            BatchNormMode::Frozen => "frozen (moving statistics)",
        }
    ));
    if let Some(what) = dropout(&plan.dropout, options.dropout) {
        line(format!("dropout     {what}"));
    }
    let of_penalty = |s: &&Scalar| !matches!(s.meaning, Setting::LearningRate | Setting::Regularizer(_));
    let strengths: Vec<String> = m.scalars.iter().filter(of_penalty).map(|s| format!("{} {}", s.meaning, s.default)).collect();
    let step = match m.penalty.step {
        PenaltyStep::Gradient => "",
        PenaltyStep::Proximal => ", proximal",
        PenaltyStep::Decoupled => ", decoupled",
    };
    let on = m.state.iter().filter(|s| s.penalized).count();
    line(format!(
        "penalty     {} {}{}",
        m.penalty.kind,
        strengths.join(", "),
        if strengths.is_empty() { String::new() } else { format!(", on {on} tensors{step}") }
    ));
    for (r, asked) in m.regularizers.iter().zip(&options.regularizers) {
        let strength = m.scalar(&Setting::Regularizer(r.kind.clone())).map_or(0.0, |s| s.default);
        line(format!("            {} {strength}, {}", r.kind, asked.summary(&r.layers)));
    }
    let multiplied = m.state.iter().filter(|s| s.lr_mult != 1.0).count();
    line(format!(
        "optimizer   {}, lr {}{}",
        m.optimizer,
        m.scalar(&Setting::LearningRate).map_or(String::new(), |s| s.default.to_string()),
        if multiplied == 0 { String::new() } else { format!(", multiplied for {multiplied} tensors") }
    ));
    out
}
