//! The loop over the images.

use super::checkpoint::{self, Identity, Sums};
use super::graph::{FisherGraph, Measured, build, layers};
use super::layout::BatchLayout;
use super::mode::Mode;
use crate::data::{Batch, Dataset, Last, Loader, LoaderOptions, Purpose, Random, as_input};
use crate::engine::{Engine, Session};
use crate::error::{Error, Result};
use crate::field::Field;
use crate::import::Network;
use crate::ir::{DType, Tensor};
use crate::onnx;
use crate::storage::temporaries::Scratch;
use ndarray::{Array1, Array2, ArrayD, Ix2, IxDyn, Zip};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Checkpoints come this far apart.
const CHECKPOINT_GAP: Duration = Duration::from_secs(60);

/// What is summed, and in which portions.
#[derive(Debug, Clone)]
pub struct EstimatePlan {
    /// Over which classes of an image the mean is taken.
    pub mode: Mode,
    /// K, the network's classes.
    pub classes: usize,
    /// m.
    pub samples: u64,
    /// Decides the order of the images and the draws.
    pub seed: u64,
    /// Images and classes per call.
    pub shape: BatchLayout,
    /// Threads that load images, 0 for one per core.
    pub workers: usize,
}

/// What is known before the first batch.
#[derive(Debug, Clone)]
pub struct Outline {
    /// The engine, for people.
    pub engine: String,
    /// Images in the data set.
    pub images: usize,
    /// Over which classes of an image the mean is taken.
    pub mode: Mode,
    /// K, the network's classes.
    pub classes: usize,
    /// m.
    pub samples: u64,
    /// Images and classes per call.
    pub shape: BatchLayout,
    /// (image, class) pairs in all.
    pub pairs: u64,
    /// Pairs that a checkpoint brought along.
    pub done: u64,
}

/// Is told what happens; every method does nothing unless it is written.
pub trait Progress {
    /// The first call is about to run.
    fn start(&mut self, _: &Outline) {}
    /// So many pairs are done, and in this process so many in so many seconds.
    fn call(&mut self, _done: u64, _pairs: u64, _seconds: f64) {}
    /// A checkpoint with so many pairs was written to this file.
    fn checkpoint(&mut self, _done: u64, _: &Path) {}
    /// Something that the user should know and that is no error.
    fn note(&mut self, _: &str) {}
    /// Nothing more comes.
    fn finish(&mut self) {}
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {}

/// Where an unfinished estimation is kept.
#[derive(Debug, Clone)]
pub(super) struct Keeping {
    pub path: PathBuf,
    pub identity: Identity,
    /// A checkpoint after so many calls; `None`: every minute.
    pub every: Option<u64>,
}

/// The result: means over the samples.
#[derive(Debug, Clone)]
pub struct Estimate {
    /// The network's parameters, in the order of use.
    pub parameters: Vec<Measured>,
    /// By parameter, in its shape.
    pub values: Vec<ArrayD<f64>>,
    /// By layer in the order of `layers`: its name, the sum of its values, and that sum's standard error.
    pub layers: Vec<(String, f64, f64)>,
    /// m.
    pub samples: u64,
    /// (image, class) pairs that this process did.
    pub pairs: u64,
    /// How long they took, waiting for images included.
    pub seconds: f64,
    /// Part of `seconds` spent waiting for images.
    pub wait: f64,
}

/// A loaded graph with its images.
pub struct Estimator {
    plan: EstimatePlan,
    graph: FisherGraph,
    session: Box<dyn Session>,
    engine: String,
    loader: Loader,
    dataset: Arc<dyn Dataset>,
    /// The layer of each parameter, and the layers' names.
    layer: Vec<usize>,
    names: Vec<String>,
    sums: Sums,
    pairs: u64,
    seconds: f64,
    wait: f64,
}

impl Estimator {
    /// Builds the graph for `plan` and loads it. Fails where the network is no classifier, or some operator has no rule.
    pub fn new(network: &Network, plan: EstimatePlan, dataset: Arc<dyn Dataset>, engine: &dyn Engine) -> Result<Estimator> {
        let graph = build(network, plan.mode, plan.shape)?;
        let options = LoaderOptions {
            last: Last::Pad,
            ignore_padding: false,
            threads: plan.workers,
            ..LoaderOptions::training(plan.shape.rows, plan.seed)
        };
        let loader = Loader::new(dataset.clone(), options)?;
        let folder = Scratch::new()?;
        let path = folder.path().join("fisher.onnx");
        onnx::write(&path, &graph.model()?)?;
        let session = engine.load(&path)?;
        let (layer, names) = layers(&graph.parameters);
        let sums = Sums {
            squares: graph.parameters.iter().map(|p| ArrayD::zeros(&p.shape[..])).collect(),
            traces: vec![[0.0; 2]; names.len()],
            open: Array2::zeros([layer.len(), plan.shape.rows]),
            ..Sums::default()
        };
        let engine = engine.describe();
        Ok(Estimator { plan, graph, session, engine, loader, dataset, layer, names, sums, pairs: 0, seconds: 0.0, wait: 0.0 })
    }

    /// The graph that runs.
    pub fn graph(&self) -> &FisherGraph {
        &self.graph
    }

    /// Goes on from a checkpoint.
    pub(super) fn restore(&mut self, keeping: &Keeping) -> Result<()> {
        self.sums = checkpoint::read(&keeping.path, &keeping.identity, &self.sums)?;
        Ok(())
    }

    /// Runs to the end. When `stop` becomes true, the error is [`Error::Interrupted`].
    pub fn run(&mut self, progress: &mut dyn Progress, stop: &AtomicBool) -> Result<Estimate> {
        self.run_kept(progress, stop, None)
    }

    pub(super) fn run_kept(&mut self, progress: &mut dyn Progress, stop: &AtomicBool, keeping: Option<&Keeping>) -> Result<Estimate> {
        let per_image = self.plan.mode.pairs(self.plan.classes) as u64;
        progress.start(&Outline {
            engine: self.engine.clone(),
            images: self.dataset.len(),
            mode: self.plan.mode,
            classes: self.plan.classes,
            samples: self.plan.samples,
            shape: self.plan.shape,
            pairs: self.plan.samples.saturating_mul(per_image),
            done: self.sums.pairs,
        });
        let per_epoch = self.loader.batches_per_epoch().max(1) as u64;
        let mut stream = {
            let (epoch, batch) = (self.sums.batches.checked_div(per_epoch), self.sums.batches.checked_rem(per_epoch));
            self.loader.stream(epoch.unwrap_or(0), batch.unwrap_or(0) as usize, None)?
        };
        let calls = per_image.div_ceil(self.plan.shape.copies as u64);
        let mut saved = (self.sums.pairs, Instant::now());
        let mut made = 0u64;
        while self.sums.images < self.plan.samples {
            let batch = stream.next().ok_or_else(|| Error::data("the images ended too early"))??;
            self.wait += batch.wait.as_secs_f64();
            self.seconds += batch.wait.as_secs_f64();
            while self.sums.calls < calls {
                if stop.load(Ordering::Relaxed) {
                    return Err(self.interrupted(progress, keeping));
                }
                if let Some(keeping) = keeping {
                    let due = match keeping.every {
                        Some(every) => made.is_multiple_of(every.max(1)),
                        None => saved.1.elapsed() >= CHECKPOINT_GAP,
                    };
                    if due && self.sums.pairs > saved.0 {
                        self.save(progress, keeping)?;
                        saved = (self.sums.pairs, Instant::now());
                    }
                }
                let (start, before) = (Instant::now(), self.sums.pairs);
                self.call(&batch)?;
                self.pairs = self.pairs.saturating_add(self.sums.pairs.saturating_sub(before));
                self.seconds += start.elapsed().as_secs_f64();
                made = made.saturating_add(1);
                progress.call(self.sums.pairs, self.pairs, self.seconds);
            }
            self.close(&batch)?;
        }
        Ok(self.finish())
    }

    /// How many of the batch's rows count: its own, and no more than m asks for.
    fn valid(&self, batch: &Batch) -> usize {
        (batch.valid as u64).min(self.plan.samples.saturating_sub(self.sums.images)) as usize
    }

    /// The next classes of a batch of images.
    fn call(&mut self, batch: &Batch) -> Result<()> {
        let (valid, rows, copies) = (self.valid(batch), self.plan.shape.rows, self.plan.shape.copies);
        let dtype = self.graph.dtype;
        let counts = Array1::from_shape_fn(rows, |row| row < valid);
        let counts = Tensor::from(counts).cast(dtype)?;
        let data = as_input(&batch.data, self.graph.input_dtype)?;
        let first = (self.sums.calls as usize).saturating_mul(copies);
        let selector = self.selector(batch, first);
        let feeds = [(self.graph.input.as_str(), &data), (self.graph.valid.as_str(), &counts), (self.graph.selector.as_str(), &selector)];
        let outputs = self.session.run(&feeds)?;
        let (found, sums) = outputs.split_last().ok_or_else(|| Error::engine("the graph gave no output"))?;
        let traces = found.reshaped(self.sums.open.shape().to_vec())?;
        let traces = traces.floats::<Ix2>()?;
        self.sums.open.zip_mut_with(&traces, |sum, trace| *sum += trace);
        for (sum, tensor) in self.sums.squares.iter_mut().zip(sums) {
            add(sum, tensor)?;
        }
        self.sums.calls = self.sums.calls.saturating_add(1);
        let classes = copies.min(self.plan.mode.pairs(self.plan.classes).saturating_sub(first));
        self.sums.pairs = self.sums.pairs.saturating_add(valid.saturating_mul(classes) as u64);
        Ok(())
    }

    /// All classes of a batch of images are done: their sums become those of the layers.
    fn close(&mut self, batch: &Batch) -> Result<()> {
        let valid = self.valid(batch);
        for (row, traces) in self.sums.open.columns().into_iter().take(valid).enumerate() {
            let mut by_layer = vec![0.0; self.names.len()];
            for ((parameter, &layer), &trace) in self.graph.parameters.iter().zip(&self.layer).zip(traces) {
                if !trace.is_finite() {
                    return Err(Error::training(format!(
                        "the squared gradients of `{}` are not finite for {}. The network's weights or this image's values are out of range; check the \
                         preprocessing ({})",
                        parameter.alias,
                        batch.indices.get(row).map_or("an image".into(), |&i| self.dataset.name(i)),
                        Field::PREPROCESSING
                    )));
                }
                by_layer.get_mut(layer).into_iter().for_each(|sum: &mut f64| *sum += trace);
            }
            for (total, trace) in self.sums.traces.iter_mut().zip(by_layer) {
                total[0] += trace;
                total[1] += trace * trace;
            }
        }
        self.sums.open.fill(0.0);
        self.sums.calls = 0;
        self.sums.batches = self.sums.batches.saturating_add(1);
        self.sums.images = self.sums.images.saturating_add(valid as u64);
        Ok(())
    }

    /// What says which classes this call is about.
    fn selector(&self, batch: &Batch, first: usize) -> Tensor {
        let (rows, copies, classes) = (self.plan.shape.rows, self.plan.shape.copies, self.plan.classes);
        match self.plan.mode {
            Mode::Exact => {
                let class = |c: usize| if c < classes { c as i64 } else { -1 };
                let list: Vec<i64> = (first..first.saturating_add(copies)).map(class).collect();
                Tensor::from_i64(&[copies], &list)
            }
            Mode::Empirical => batch.target.clone(),
            Mode::Sampled => {
                let mut noise = Vec::with_capacity(rows.saturating_mul(classes));
                for &index in &batch.indices {
                    // A draw belongs to the image and the pass, whatever the size of the batch.
                    let mut random = Random::new(Purpose::Fisher, self.plan.seed, batch.epoch, index as u64);
                    noise.extend((0..classes).map(|_| random.gumbel()));
                }
                Tensor::from_floats(self.graph.dtype, &[rows, classes], &noise)
            }
        }
    }

    fn save(&self, progress: &mut dyn Progress, keeping: &Keeping) -> Result<()> {
        checkpoint::write(&keeping.path, &keeping.identity, &self.sums)?;
        progress.checkpoint(self.sums.pairs, &keeping.path);
        Ok(())
    }

    /// Writes a checkpoint and says how to go on.
    fn interrupted(&self, progress: &mut dyn Progress, keeping: Option<&Keeping>) -> Error {
        let total = self.plan.samples.saturating_mul(self.plan.mode.pairs(self.plan.classes) as u64);
        let done = format!("stopped after {} of {total} pairs", self.sums.pairs);
        match keeping {
            None => Error::Interrupted(format!("{done}; nothing was written")),
            Some(_) if self.sums.pairs == 0 => Error::Interrupted("stopped before the first call; there is nothing to resume".into()),
            Some(keeping) => match self.save(progress, keeping) {
                Err(error) => error,
                Ok(()) => {
                    let path = keeping.path.display();
                    let resume = Field::RESUME;
                    Error::Interrupted(format!("{done}; the checkpoint is {path}. To go on, give the same command with {resume}"))
                }
            },
        }
    }

    fn finish(&self) -> Estimate {
        let m = self.sums.images as f64;
        let values = self.sums.squares.iter().map(|v| v.mapv(|v| v / m)).collect();
        let spread = |[sum, squares]: [f64; 2]| {
            let mean = sum / m;
            let variance = if m > 1.0 { ((squares / m - mean * mean) * m / (m - 1.0)).max(0.0) } else { f64::NAN };
            (mean, (variance / m).sqrt())
        };
        let layers = self.names.iter().zip(&self.sums.traces).map(|(name, &t)| {
            let (mean, error) = spread(t);
            (name.clone(), mean, error)
        });
        Estimate {
            parameters: self.graph.parameters.clone(),
            values,
            layers: layers.collect(),
            samples: self.sums.images,
            pairs: self.pairs,
            seconds: self.seconds,
            wait: self.wait,
        }
    }
}

/// `sum += tensor`, in float64. Fails where the tensor has another shape.
fn add(sum: &mut ArrayD<f64>, tensor: &Tensor) -> Result<()> {
    if tensor.shape() != sum.shape() {
        return Err(Error::engine(format!("the graph gave sums of squares of shape {:?} where {:?} belong", tensor.shape(), sum.shape())));
    }
    match tensor.dtype() {
        // Large networks have as many as weights: no copy in float64.
        DType::F32 => Zip::from(sum).and(&tensor.array::<f32, IxDyn>()?).for_each(|s, v| *s += *v as f64),
        _ => sum.zip_mut_with(&tensor.floats::<IxDyn>()?, |sum, v| *sum += v),
    }
    Ok(())
}
