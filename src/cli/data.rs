//! `spgraph data`: what a data set holds, before anything is trained on it.

use super::output::size;
use super::subject_args::{SubjectArgs, warn_if_assumed};
use super::workers::Workers;
use super::{interrupt, output, progress};
use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::{Augment, ImageSet, KnownClasses, Recipe, Survey, contact_sheet, grid, survey};
use spgraph::engine::{self, EngineOptions};
use spgraph::error::Error;
use spgraph::report::{Align, Table, on_one_line};
use spgraph::storage::files::OutputFile;
use spgraph::storage::inputs::{Inputs, check_among};
use spgraph::train::{Classifier, Subject};
use std::path::{Path, PathBuf};

/// Look at images before training: counts, sizes, unreadable and duplicate files, what would be assumed
///
/// Ends with exit code 1 where training would be refused.
#[derive(clap::Args)]
pub struct Args {
    /// What would be given to --data: a folder with one sub-folder per class, or with train, val and test; a CSV of path,label; a .npz or safetensors file
    data: PathBuf,
    /// The run, bundle or model that the images are for: its classes must fit, and its preprocessing is shown
    #[arg(long = "for", value_name = "SUBJECT")]
    subject: Option<PathBuf>,
    /// A picture of what the network sees: some images, each as in evaluation and then with --augment
    #[arg(long, value_name = "FILE.png")]
    show: Option<PathBuf>,
    /// Random changes that are shown, as `finetune --augment` takes them
    #[arg(long, value_name = "RECIPE", value_parser = |text: &str| text.parse::<Augment>().map_err(|e| e.to_string()))]
    augment: Option<Augment>,
    /// Decides the random changes that are shown
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace the picture that is there
    #[arg(long)]
    force: bool,
    /// Results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: SubjectArgs,
    #[command(flatten)]
    workers: Workers,
}

/// ImageNet's, where nobody says otherwise.
fn usual() -> Result<Recipe, Error> {
    Recipe::new(&Preprocessing::default(), &[1, 3, 224, 224])
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = args.subject.as_ref().map(|path| args.reading.weights.open(path)).transpose()?;
    if let Some(path) = &args.show {
        let read = subject.as_ref().map_or_else(Inputs::default, Subject::inputs);
        // Of a folder only the images are read, which are looked at below.
        let data = (!args.data.is_dir()).then_some(&args.data);
        read.with(args.reading.files()).with(data).check_file(path)?;
    }
    let out = args.show.as_ref().map(|path| OutputFile::create(path, args.force)).transpose()?;
    let classifier = match &subject {
        None => None,
        Some(subject) => {
            let engine = engine::open(&EngineOptions::default())?;
            let classifier = Classifier::open(subject, &args.reading.options(None)?, engine.as_ref())?;
            warn_if_assumed(&classifier);
            Some(classifier)
        }
    };
    let known = classifier.as_ref().map_or_else(KnownClasses::default, Classifier::known_classes);
    let mut bar = progress::Counter::new("reading");
    let found = survey(&args.data, &known, args.workers.count(), interrupt::finish_the_step(), &mut |done, total| {
        bar.at(done as u64, total as u64)
    });
    bar.finish();
    let found = found?;
    if args.json {
        output::print_json(&found)?;
    } else {
        output::print(&text(&found))?;
    }
    found.check()?;
    if let (Some(out), Some(path)) = (out, &args.show) {
        let recipe = classifier.as_ref().map_or_else(usual, Classifier::recipe)?;
        let images = ImageSet::open_for(&args.data, &known)?;
        check_among(path, (0..images.len()).filter_map(|index| images.path(index)))?;
        write_sheet(&images, &recipe, &args, out, path)?;
    }
    Ok(())
}

fn write_sheet(images: &ImageSet, recipe: &Recipe, args: &Args, mut out: OutputFile, path: &Path) -> anyhow::Result<()> {
    let augment = args.augment.clone().unwrap_or(Augment::NONE);
    let columns = if augment.is_none() { 1 } else { 8 };
    let picture = grid::png(&contact_sheet(images, recipe, &augment, args.seed, (8, columns))?, columns)?;
    std::io::Write::write_all(&mut out, &picture).map_err(Error::io("cannot write", path))?;
    out.commit()?;
    if args.json { Ok(()) } else { output::print_written(path) }
}

fn text(found: &Survey) -> String {
    let mut columns = vec![("class", Align::Left)];
    columns.extend(found.parts.iter().map(|part| (part.part.as_str(), Align::Right)));
    let mut table = Table::new(columns);
    for (label, name) in found.classes.iter().enumerate() {
        let counts = found.parts.iter().map(|part| part.counts.get(label).copied().unwrap_or(0).to_string());
        table.row(std::iter::once(name.clone()).chain(counts).collect::<Vec<_>>());
    }
    let mut text = if found.classes.is_empty() { String::new() } else { format!("{table}\n") };
    for part in &found.parts {
        let formats: Vec<String> = part.formats.iter().map(|(format, n)| format!("{n} {format}")).collect();
        let sizes = part.width.zip(part.height).map_or(String::new(), |(w, h)| {
            format!("\n            {}×{} to {}×{} pixels, in the middle {}×{}", w.least, h.least, w.most, h.most, w.median, h.median)
        });
        let kind = match part.numbers {
            Some(1) => ", a number each".into(),
            Some(n) => format!(", {n} numbers each"),
            None if part.several => ", several classes each".into(),
            None => String::new(),
        };
        text.push_str(&format!(
            "{:<11} {} images{kind}: {}{}\n            {}{sizes}\n",
            part.part,
            part.images,
            formats.join(", "),
            // Arrays are no files.
            if part.bytes > 0 { format!(" ({})", size(part.bytes)) } else { String::new() },
            part.path.display()
        ));
    }
    let copies = found.copies.len();
    if copies > 0 {
        let groups = if copies == 1 { "group" } else { "groups" };
        text.push_str(&format!("{:<11} {copies} {groups} of images with the same content\n", "copies"));
    }
    for (head, lines) in [("note", &found.notes), ("warning", &found.warnings), ("refused", &found.refusals)] {
        lines.iter().for_each(|line| text.push_str(&format!("{head:<11} {}\n", on_one_line(&super::flags::with_flags(line)))));
    }
    if found.warnings.is_empty() && found.refusals.is_empty() {
        text.push_str(&format!("{:<11} nothing speaks against training on it\n", "verdict"));
    }
    text
}
