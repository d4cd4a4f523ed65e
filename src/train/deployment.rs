//! Exports with more than the network: see [`Deployment`].

use super::deployment_check;
use super::export_check::{self, Agreement};
use super::run_state::RunState;
use super::scalars::Scalars;
use super::tuned::{Subject, place};
use crate::bundle::{self, Deployment, Provenance};
use crate::error::{Error, Result};
use crate::onnx::{self, ExternalData, ModelFile};
use std::collections::BTreeMap;
use std::path::Path;

/// How an export was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The network beside the run's own.
    pub agreement: Agreement,
    /// Outputs of the source that the file does not have, since what was asked for changes what they would be made of.
    pub left_out: Vec<String>,
    /// With preprocessing: the largest difference of a pixel to spgraph's own preprocessing, in levels of 256.
    pub pixels: Option<f64>,
}

/// Writes the inference model with that state of `subject` to `path`, with what `asked` wants, and with its provenance. Fails, and writes nothing, where
/// the network or what was added does not compute what it should.
pub fn export_deployed(subject: &Subject, which: RunState, asked: &Deployment, path: &Path, force: bool) -> Result<Exported> {
    let bundle = subject.needed_bundle()?;
    let out = place(&subject.inputs(), path, force)?;
    let state = subject.state(which)?;
    let mut model = bundle::tuned(bundle, &state)?;
    bundle::sign(&mut model, &provenance(subject, which)?)?;
    if !asked.changes_graph() {
        bundle::deploy(&mut model, bundle, asked)?;
        let agreement = onnx::write_checked(out, &model, |file| export_check::check(bundle, &state, file))?;
        return Ok(Exported { agreement, left_out: vec![], pixels: None });
    }
    let folder = tempfile::tempdir()
        .map_err(crate::storage::files::plain)
        .map_err(Error::io("cannot create a temporary folder (TMPDIR says where) in", std::env::temp_dir()))?;
    let plain = folder.path().join("plain.onnx");
    let whole = ModelFile { proto: model, path: plain.clone(), external: ExternalData::new(folder.path()) };
    // What is added reads the network's own outputs, and runs where the others may not.
    let mut model = export_check::alone_of(bundle, &whole)?.unwrap_or(whole.proto);
    onnx::write(&plain, &model)?;
    bundle::deploy(&mut model, bundle, asked)?;
    let agreement = export_check::check(bundle, &state, &plain)?;
    let pixels = deployment_check::check(bundle, asked, &model, &plain)?;
    onnx::write_checked(out, &model, |_| Ok(()))?;
    Ok(Exported { agreement, left_out: bundle.manifest.left_out.clone(), pixels })
}

fn provenance(subject: &Subject, which: RunState) -> Result<Provenance> {
    let bundle = subject.bundle().ok_or_else(|| Error::internal("an export has no bundle"))?;
    let manifest = &bundle.manifest;
    let run = match subject {
        Subject::Run(run) => Some(run),
        _ => None,
    };
    let scalars = match run {
        Some(run) => run.record.training.scalars(manifest)?,
        None => Scalars::defaults(manifest),
    };
    let values = manifest.scalars.iter().filter_map(|s| Some((s.meaning.to_string(), scalars.get(&s.meaning)?)));
    let results = run.and_then(|run| run.record.results.as_ref());
    let steps = match subject.which(which) {
        RunState::Start => Some(0),
        RunState::Usual | RunState::Final | RunState::Ema => results.map(|r| r.steps),
        RunState::Best => results.and_then(|r| r.best.as_ref()).map(|b| b.step),
        RunState::Checkpoint => None,
    };
    Ok(Provenance {
        spgraph: env!("CARGO_PKG_VERSION").into(),
        source: manifest.source.file.clone(),
        source_sha256: manifest.source.sha256.clone(),
        penalty: manifest.penalty.kind.clone(),
        strengths: values.collect::<BTreeMap<_, _>>(),
        steps: if let Subject::Bundle(_) = subject { Some(0) } else { steps },
        data_sha256: run.map(|run| run.record.images.sha256.clone()),
    })
}
