//! `spgraph predict`: classes of images.

use super::choice::choice;
use super::engine_args::EngineArgs;
use super::result_files::{self, Place, Target};
use super::subject_args::{SubjectArgs, warn_if_assumed};
use super::{interrupt, output, progress};
use spgraph::Field;
use spgraph::data::{BadImages, find_images};
use spgraph::engine;
use spgraph::error::Error;
use spgraph::report::{features_npz, features_safetensors, predictions_csv, predictions_text};
use spgraph::storage::files::OutputFile;
use spgraph::storage::inputs::check_among;
use spgraph::train::{Classifier, Predictions, predict_files};
use std::io::BufRead;
use std::path::{Path, PathBuf};

/// Classify images
#[derive(clap::Args)]
pub struct Args {
    /// A run of `finetune`, a bundle of `rewrite`, or an ONNX model
    subject: PathBuf,
    /// Image files, folders with everything below them, patterns such as 'photos/**/*.jpg', or - for a list of paths from stdin
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// Classes to show for each image
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// What becomes of images that cannot be read: the first one is an error, or they are left out and counted [default: left out, and exit code 1]
    #[arg(long, value_parser = choice::<BadImages>(&["refuse", "skip"]))]
    on_bad_image: Option<BadImages>,
    /// Results as JSON, to stdout or into a file
    #[arg(long, value_name = "FILE|-", num_args = 0..=1, default_missing_value = "-", value_parser = result_files::json_target)]
    json: Option<Target>,
    /// A line for each image and class, to stdout or into a file
    #[arg(long, value_name = "FILE|-", value_parser = result_files::csv_target)]
    csv: Option<Target>,
    /// What enters the classifier, a row for each image, as arrays
    #[arg(long, value_name = "FILE.safetensors|FILE.npz")]
    features: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reading: SubjectArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

/// A kind of file for features.
type Writer = fn(&Predictions) -> spgraph::error::Result<Vec<u8>>;

fn features_place(args: &Args) -> Result<Option<(Place, Writer)>, Error> {
    let Some(path) = &args.features else { return Ok(None) };
    let writer: Writer = match path.extension().and_then(|e| e.to_str()) {
        Some("npz") => features_npz,
        Some("safetensors") => features_safetensors,
        _ => return Err(Error::option(Field::FEATURES, ": give a file whose name ends in .safetensors or .npz")),
    };
    Ok(Some((Place::File(Box::new(OutputFile::create(path, args.force)?)), writer)))
}

/// What is asked for, with the lines of stdin in the place of `-`.
fn asked(args: &Args) -> anyhow::Result<Vec<PathBuf>> {
    let mut given = vec![];
    for path in &args.images {
        if path.as_os_str() != "-" {
            given.push(path.clone());
            continue;
        }
        for line in std::io::stdin().lock().split(b'\n') {
            let line = line.map_err(Error::io("cannot read", "stdin"))?;
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if !line.is_empty() {
                given.push(path_of(line));
            }
        }
    }
    let found = find_images(&given)?;
    if found.is_empty() {
        return Err(Error::usage("no images were given: stdin had no lines").into());
    }
    Ok(found)
}

#[cfg(unix)]
fn path_of(line: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(line).into()
}

#[cfg(not(unix))]
fn path_of(line: &[u8]) -> PathBuf {
    String::from_utf8_lossy(line).into_owned().into()
}

pub fn run(args: Args) -> anyhow::Result<()> {
    let subject = args.reading.weights.open(&args.subject)?;
    args.reading.weights.say_state(&subject);
    let mut options = args.reading.options(None)?;
    options.features = args.features.is_some();
    let taken = result_files::one_stdout(&[args.json.as_ref(), args.csv.as_ref()])?;
    let images = asked(&args)?;
    let targets = [args.json.as_ref(), args.csv.as_ref()].into_iter().flatten().filter_map(Target::path);
    let targets: Vec<&Path> = targets.chain(args.features.as_deref()).collect();
    if !targets.is_empty() {
        let inputs = subject.inputs().with(args.reading.files());
        targets.into_iter().try_for_each(|path| inputs.check_file(path).and_then(|()| check_among(path, images.iter().cloned())))?;
    }
    let features = features_place(&args)?;
    let (json, csv) = (result_files::open(args.json.as_ref(), args.force)?, result_files::open(args.csv.as_ref(), args.force)?);
    let engine = engine::open(&args.engine.options())?;
    let mut classifier = Classifier::open(&subject, &options, engine.as_ref())?;
    warn_if_assumed(&classifier);
    let stop = interrupt::finish_the_step();
    let mut bar = progress::Counter::new("classifying");
    let refuse = args.on_bad_image == Some(BadImages::Refuse);
    let mut heard = |error: Option<Error>, done: usize| {
        match error {
            Some(error) if refuse => return Err(error),
            Some(_) if images.len() == 1 => {}
            Some(error) => bar.say(&format!("left out: {error}")),
            None => bar.at(done as u64, images.len() as u64),
        }
        Ok(())
    };
    let found = predict_files(&mut classifier, &images, args.top.into(), stop, &mut heard);
    bar.finish();
    let found = found?;
    classifier.output_decided().iter().for_each(|text| output::note(&format!("note: {text}")));
    features.map(|(place, write)| place.write(&write(&found)?)).transpose()?;
    csv.map(|place| place.write(&predictions_csv(&found)?)).transpose()?;
    // Who skips them wants predictions alone.
    let skips = args.on_bad_image.is_some();
    json.map(|place| if skips { place.write_json(&found.predictions) } else { place.write_json(&found.answers()) }).transpose()?;
    if !taken && !found.predictions.is_empty() {
        output::print(&predictions_text(&found))?;
    }
    match &*found.unread {
        [] => Ok(()),
        unread if args.on_bad_image.is_some() => {
            let n = unread.len();
            output::note(&format!("note: {n} of {} images could not be read and were left out", images.len()));
            Ok(())
        }
        [one] if images.len() == 1 => Err(Error::data(one.error.clone()).into()),
        unread => Err(Error::data(format!("{} of {} images could not be read; the others are done", unread.len(), images.len())).into()),
    }
}
