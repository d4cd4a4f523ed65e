//! What is exported is what was measured: an exported file is run beside the run's own network before it gets its name.
//!
//! The run's network (`eval.onnx` with the run's state) is computed once, by the runtime that evaluation takes; the exported file by every runtime
//! that is there, loaded as anyone would load it, at the same time. Both see the same images: standard normal noise, about what normalised images are.

use crate::artifact::noise;
use crate::bundle::Bundle;
use crate::engine::{self, EngineChoice, EngineEntry, EngineOptions, GraphPort, Kernels, PortDim};
use crate::error::{Error, Result};
use crate::import::value_types;
use crate::ir::{DType, Tensor};
use crate::onnx::declaration::{declaration, declared_type, size};
use crate::onnx::{self, ModelFile, half, pb};
use crate::storage::temporaries::Scratch;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::Path;
use std::thread::ScopedJoinHandle;

/// Norm-relative difference that the orders of summation of two runtimes may make in float32, from the first layer to the last: some thousand
/// times the error of one operation.
const TOLERANCE: f64 = 1e-4;

/// How an exported file agrees with the network that it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// The runtimes that computed the file, each with the largest norm-relative difference of an output.
    pub engines: Vec<(String, f64)>,
    /// Images in each call.
    pub images: usize,
    /// Runtimes that did not take part, each with the reason.
    pub absent: Vec<String>,
}

/// Runs the file and the bundle's network with `state`, in the manifest's order. Fails where they disagree, with the numbers, and where nothing
/// could be compared.
pub(super) fn check(bundle: &Bundle, state: &[Tensor], file: &Path) -> Result<Agreement> {
    let model = onnx::open(file)?;
    let tolerance = TOLERANCE.max(half::rounding(&model.proto));
    let alone = Scratch::new()?;
    let network = alone.path().join("network.onnx");
    let (mut model, file) = match alone_of(bundle, &model)? {
        Some(part) => {
            onnx::write(&network, &part)?;
            (onnx::open(&network)?, network.as_path())
        }
        None => (model, file),
    };
    let mut agreement = run_all(bundle, state, file, tolerance)?;
    if agreement.engines.is_empty() && half::is_in(&model.proto) {
        // No runtime here computes in that type: the numbers that are exported, in float32.
        let folder = Scratch::new()?;
        let wide = folder.path().join("float32.onnx");
        half::widen(&mut model.proto, &model.external)?;
        onnx::write(&wide, &model.proto)?;
        let absent = agreement.absent;
        agreement = run_all(bundle, state, &wide, tolerance)?;
        agreement.absent.splice(0..0, absent);
    }
    match agreement.engines.is_empty() {
        true => {
            Err(Error::engine(format!("no runtime can run the exported model, so nothing was written: {}", agreement.absent.join("; "))))
        }
        false => Ok(agreement),
    }
}

/// The model with the outputs of the bundle's network alone, where it has others: those stand behind what is compared, as in the source, and not every
/// runtime knows what computes them.
pub(super) fn alone_of(bundle: &Bundle, model: &ModelFile) -> Result<Option<pb::ModelProto>> {
    if bundle.manifest.left_out.is_empty() {
        return Ok(None);
    }
    let network = onnx::open(bundle.eval())?;
    let own = model.graph()?;
    let types = value_types(&model.proto);
    // Scores are an output of the network that the file need not have.
    let outputs = network
        .graph()?
        .output
        .iter()
        .map(|o| own.output.iter().find(|own| own.name() == o.name()).cloned().unwrap_or_else(|| of_any_batch(o, types.get(o.name()))));
    Ok(Some(onnx::part::with_outputs(&model.proto, outputs.collect())))
}

/// The declaration of an output, for any number of images and in the type that the file computes it in.
fn of_any_batch(output: &pb::ValueInfoProto, computed: Option<&DType>) -> pb::ValueInfoProto {
    let Some((dtype, sizes)) = declared_type(output) else { return output.clone() };
    let dtype = computed.copied().unwrap_or(dtype);
    declaration(output.name(), dtype, sizes.into_iter().enumerate().map(|(axis, n)| size(n.filter(|_| axis > 0))))
}

/// Runs the file by every runtime that can; fails where one disagrees.
fn run_all(bundle: &Bundle, state: &[Tensor], file: &Path, tolerance: f64) -> Result<Agreement> {
    let exported = onnx::open(file)?;
    let (dtype, counts) = (input(exported.graph()?)?.0, batch(onnx::open(bundle.eval())?.graph()?, exported.graph()?)?);
    drop(exported);
    let images = images(bundle, counts.network, dtype)?;
    let own = first(&images, counts.exported)?.cast(dtype)?;
    // Loading takes most of the time: all at once.
    let (expected, found) = std::thread::scope(|scope| {
        let run = |entry: &'static EngineEntry| {
            let own = &own;
            (entry.name, std::thread::Builder::new().spawn_scoped(scope, move || run_file(entry.choice, file, own)))
        };
        let runs: Vec<_> = engine::ENGINES.iter().map(run).collect();
        let expected = run_network(bundle, state, &images);
        let crashed = || Err(Error::engine("it crashed"));
        let end = |run: std::io::Result<ScopedJoinHandle<_>>| match run {
            Ok(run) => run.join().unwrap_or_else(|_| crashed()),
            Err(e) => Err(Error::engine(format!("no thread could be started for it ({e})"))),
        };
        (expected, runs.into_iter().map(|(name, run)| (name, end(run))).collect::<Vec<_>>())
    });
    let expected = expected?;
    let mut agreement = Agreement { engines: vec![], images: counts.exported.min(counts.network), absent: vec![] };
    for (name, found) in found {
        let (ports, found, engine) = match found {
            Ok(found) => found,
            Err(error) => {
                agreement.absent.push(format!("{name}: {}", error.to_string().lines().next().unwrap_or_default()));
                continue;
            }
        };
        let difference = compare(&ports, &found, &expected, agreement.images, tolerance).map_err(|why| {
            Error::training(format!(
                "the exported model does not give what the network gives that was trained: {why} ({engine}). Nothing was written; this is a \
                 fault, of the template in the bundle or of spgraph"
            ))
        })?;
        agreement.engines.push((engine, difference));
    }
    Ok(agreement)
}

/// What the file declares about its outputs, what it gives, and who computed it.
fn run_file(choice: EngineChoice, file: &Path, images: &Tensor) -> Result<(Vec<GraphPort>, Vec<Tensor>, String)> {
    let engine = engine::open(&EngineOptions { choice, kernels: standard(choice), ..EngineOptions::default() })?;
    let mut session = engine.load(file)?;
    let name = session.signature().inputs.first().ok_or_else(|| Error::model("the exported model has no input"))?.name.clone();
    let found = session.run(&[(name.as_str(), images)])?;
    Ok((session.signature().outputs.clone(), found, engine.describe()))
}

/// Others have no native kernels.
fn standard(choice: EngineChoice) -> Kernels {
    if choice == EngineChoice::Ort { Kernels::Standard } else { Kernels::Auto }
}

/// Element type and declared batch of the input for images.
fn input(graph: &pb::GraphProto) -> Result<(DType, Option<usize>)> {
    let info = graph.input.iter().find(|i| !graph.initializer.iter().any(|t| t.name() == i.name()));
    let (dtype, dims) = info.and_then(declared_type).ok_or_else(|| Error::model("the exported model has no input of a known type"))?;
    Ok((dtype, dims.first().copied().flatten()))
}

/// Images in a call of the run's network and of the exported file.
struct Counts {
    network: usize,
    exported: usize,
}

/// Two images where any number will do, so that a number that is written down is seen.
fn batch(network: &pb::GraphProto, exported: &pb::GraphProto) -> Result<Counts> {
    Ok(match (input(network)?.1, input(exported)?.1) {
        (None, None) => Counts { network: 2, exported: 2 },
        (Some(n), None) | (None, Some(n)) => Counts { network: n, exported: n },
        (Some(network), Some(exported)) => Counts { network, exported },
    })
}

/// Images of noise.
fn images(bundle: &Bundle, count: usize, dtype: DType) -> Result<Tensor> {
    let port = &bundle.manifest.data.input;
    let sizes = port.shape.iter().skip(1).map(|&d| usize::try_from(d));
    let sizes =
        sizes.collect::<std::result::Result<Vec<_>, _>>().map_err(|_| Error::model("the images of the bundle have no fixed size"))?;
    let shape = [vec![count], sizes].concat();
    let images = noise(port.dtype, &shape, &bundle.manifest.preprocessing, &mut ChaCha8Rng::seed_from_u64(0)).cast(DType::F64)?;
    // What a coarser type cannot hold neither of the two sees.
    Ok(if dtype.is_float() && port.dtype.is_float() { images.cast(dtype)?.cast(DType::F64)? } else { images })
}

/// The first `count` images; the last one again where there are fewer.
fn first(images: &Tensor, count: usize) -> Result<Tensor> {
    let values = images.to_f64()?;
    let Some((&rows, sizes)) = images.shape().split_first() else { return Ok(images.clone()) };
    let shape = [&[count], sizes].concat();
    let rows: Vec<&[f64]> = values.chunks_exact(values.len().checked_div(rows).unwrap_or(0).max(1)).collect();
    let last = rows.last().into_iter().cycle();
    let taken: Vec<f64> = rows.iter().chain(last).take(count).flat_map(|row| row.iter().copied()).collect();
    Ok(Tensor::from_floats(DType::F64, &shape, &taken))
}

/// What the run's network gives for the images, from the runtime that evaluation takes, or from another one where that cannot.
fn run_network(bundle: &Bundle, state: &[Tensor], images: &Tensor) -> Result<Vec<Tensor>> {
    let choices = std::iter::once(EngineChoice::Auto).chain(engine::ENGINES.iter().map(|e| e.choice));
    let mut failed = None;
    for choice in choices {
        match run_network_on(choice, bundle, state, images) {
            Ok(found) => return Ok(found),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| Error::engine("there is no runtime")))
}

fn run_network_on(choice: EngineChoice, bundle: &Bundle, state: &[Tensor], images: &Tensor) -> Result<Vec<Tensor>> {
    let mut network = engine::open(&EngineOptions { choice, ..EngineOptions::default() })?.load(&bundle.eval())?;
    let port = &bundle.manifest.data.input;
    let images = images.cast(port.dtype)?;
    let wanted: Vec<String> = network.signature().input_names().into_iter().map(String::from).collect();
    let mut feeds: Vec<(&str, &Tensor)> = vec![(port.name.as_str(), &images)];
    let pairs = bundle.manifest.state.iter().zip(state).filter(|(s, _)| wanted.contains(&s.input));
    feeds.extend(pairs.map(|(s, t)| (s.input.as_str(), t)));
    network.run(&feeds)
}

/// The largest norm-relative difference of an output over the first `images`, or what is wrong.
fn compare(ports: &[GraphPort], found: &[Tensor], expected: &[Tensor], images: usize, tolerance: f64) -> Result<f64, String> {
    if found.len() != expected.len() {
        return Err(format!("it has {} outputs, and the network {}", found.len(), expected.len()));
    }
    let mut largest: f64 = 0.0;
    for ((port, found), expected) in ports.iter().zip(found).zip(expected) {
        let name = &port.name;
        let declared = port.dims.iter().flatten().zip(found.shape());
        if port.dims.as_ref().is_some_and(|d| d.len() != found.shape().len())
            || declared.into_iter().any(|(d, n)| matches!(d, PortDim::Known(k) if k != n))
        {
            return Err(format!("its output `{name}` is declared as {port}, and has the shape {:?}", found.shape()));
        }
        if found.shape().get(1..) != expected.shape().get(1..) {
            return Err(format!("its output `{name}` has the shape {:?}, and the network's {:?}", found.shape(), expected.shape()));
        }
        let values = |t: &Tensor| -> Result<Vec<f64>, String> {
            let all = t.to_f64().map_err(|e| e.to_string())?;
            let rows = t.shape().first().copied().unwrap_or(1).max(1);
            let each = all.len().checked_div(rows).unwrap_or(0);
            Ok(all.into_iter().take(each.saturating_mul(images.min(rows))).collect())
        };
        let (found, expected) = (values(found)?, values(expected)?);
        if let Some(bad) = expected.iter().find(|v| !v.is_finite()) {
            return Err(format!("the network gives {bad} in `{name}`, so its weights have diverged"));
        }
        let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let difference = square(&mut found.iter().zip(&expected).map(|(a, b)| a - b));
        let norm = square(&mut expected.iter().copied());
        // A comparison that holds for no NaN.
        if found.len() == expected.len() && difference <= tolerance * norm {
            largest = largest.max(difference / norm.max(f64::MIN_POSITIVE));
            continue;
        }
        let numbers = |list: &[f64]| list.iter().take(4).map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "`{name}` differs by {:.1e} of its norm, where {tolerance:.0e} is rounding; it begins with {}, and the network's with {}",
            difference / norm.max(f64::MIN_POSITIVE),
            numbers(&found),
            numbers(&expected)
        ));
    }
    Ok(largest)
}
