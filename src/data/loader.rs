//! Batches: seeded order, worker threads, a bounded queue.

use crate::bundle::Layout;
use crate::data::augment::{Mixed, Moment};
use crate::data::balance::balanced;
use crate::data::dataset::Dataset;
use crate::data::preprocess::{empty_batch, images_of};
use crate::data::random::{Purpose, Random};
use crate::error::{Error, Result};
use crate::ir::Tensor;
use crate::loss::PADDING;
use ndarray::{Array2, ArrayViewMut3};
use rayon::prelude::*;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The target of a row that only fills a batch up, if [`LoaderOptions::ignore_padding`] asks for it.
pub const IGNORED: i64 = -1;

/// What becomes of the samples that don't fill a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// They are left out of this epoch. For training with a fixed batch size.
    Drop,
    /// The batch is filled up with samples from the epoch's beginning; [`Batch::valid`] says how many rows count. For
    /// evaluation with a fixed batch size.
    Pad,
    /// A smaller batch. For graphs with a symbolic batch size.
    Short,
}

/// How samples become batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Samples per batch.
    pub batch: usize,
    /// What becomes of the samples that don't fill one.
    pub last: Last,
    /// Whether padded rows get the target [`IGNORED`] instead of their sample's label.
    pub ignore_padding: bool,
    /// A new order for each epoch; otherwise that of the data set.
    pub shuffle: bool,
    /// With `shuffle`: every class comes equally often in an epoch, so that samples of small classes come several times.
    pub balanced: bool,
    /// Decides order and augmentation.
    pub seed: u64,
    /// Threads that decode and augment; 0 for one per core. Without influence on the batches.
    pub threads: usize,
    /// Batches that are prepared ahead, at least 1.
    pub prefetch: usize,
}

impl LoaderOptions {
    /// Shuffled, without the incomplete batch.
    pub fn training(batch: usize, seed: u64) -> LoaderOptions {
        LoaderOptions { batch, last: Last::Drop, ignore_padding: false, shuffle: true, balanced: false, seed, threads: 0, prefetch: 3 }
    }

    /// In order, every sample once, the last batch filled up with ignored rows.
    pub fn evaluation(batch: usize) -> LoaderOptions {
        LoaderOptions { batch, last: Last::Pad, ignore_padding: true, shuffle: false, balanced: false, seed: 0, threads: 0, prefetch: 3 }
    }
}

/// One batch, of R rows: R is the batch size, or less for [`Last::Short`].
#[derive(Debug, Clone)]
pub struct Batch {
    /// R×C×H×W or R×H×W×C, as the network takes it; F32.
    pub data: Tensor,
    /// R labels, I64; or R rows of numbers, F32.
    pub target: Tensor,
    /// How images were mixed, where they were: their own labels are still in `target`.
    pub mixed: Option<Mixed>,
    /// The first so many rows count; the others fill the batch up.
    pub valid: usize,
    /// The sample of each row.
    pub indices: Vec<usize>,
    /// The epoch, from 0.
    pub epoch: u64,
    /// Place in the epoch, from 0.
    pub number: usize,
    /// What the user should hear, such as that a cache is full.
    pub notes: Vec<String>,
    /// How long the consumer waited for it: the time that loading costs beyond what the prefetch hides.
    pub wait: Duration,
}

#[cfg(test)]
impl Batch {
    /// Rows of no data set, which all count.
    pub(crate) fn of(data: Tensor, target: Tensor) -> Batch {
        let valid = target.shape()[0];
        Batch { data, target, mixed: None, valid, indices: vec![], epoch: 0, number: 0, notes: vec![], wait: Duration::ZERO }
    }
}

/// Gives a data set in batches.
pub struct Loader {
    shared: Arc<Shared>,
}

struct Shared {
    dataset: Arc<dyn Dataset>,
    options: LoaderOptions,
    /// Where classes are balanced: the samples of each.
    classes: Vec<Vec<usize>>,
    pool: rayon::ThreadPool,
}

impl Loader {
    /// Fails when there are no samples, when the batch size is 0, or when [`Last::Drop`] would leave nothing.
    pub fn new(dataset: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Loader> {
        let len = dataset.len();
        if options.batch == 0 {
            return Err(Error::usage("a batch size of 0 makes no sense. Give 1 or more"));
        }
        if len == 0 {
            return Err(Error::data("there are no samples to load. Give a folder with images, or a data set that isn't empty"));
        }
        if options.last == Last::Drop && len < options.batch {
            return Err(Error::data(format!(
                "{len} sample{} cannot fill one batch of {}, and incomplete batches are dropped: nothing is left to train on. Use a batch size of at most {len}, or add images",
                if len == 1 { "" } else { "s" },
                options.batch
            )));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|i| format!("spgraph-data-{i}"))
            .build()
            .map_err(|e| Error::data(format!("cannot start {} threads for loading data: {e}", options.threads)))?;
        let classes = if options.balanced { by_class(dataset.as_ref()) } else { vec![] };
        Ok(Loader { shared: Arc::new(Shared { dataset, options, classes, pool }) })
    }

    /// Batches in one pass over the samples.
    pub fn batches_per_epoch(&self) -> usize {
        self.shared.batches()
    }

    /// The order in which an epoch visits the samples.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        self.shared.order(epoch)
    }

    /// The batches of one epoch, from the one that is to come after `skip_batches`: to go on where a run stopped.
    ///
    /// Fails when the epoch has fewer batches than are to be skipped.
    pub fn start(&self, epoch: u64, skip_batches: usize) -> Result<Stream> {
        self.stream(epoch, skip_batches, Some(1))
    }

    /// As [`Loader::start`], for several epochs, or without end for `None`. The next epoch's batches are prepared
    /// while the last ones of this epoch are used: with few batches per epoch that saves a wait at each start.
    pub fn stream(&self, epoch: u64, skip_batches: usize, epochs: Option<u64>) -> Result<Stream> {
        let batches = self.batches_per_epoch();
        if skip_batches > batches {
            return Err(Error::data(format!(
                "cannot go on after batch {skip_batches} of an epoch that has {batches}. The data or the batch size differ from those of the run \
                 that is resumed; restore them, or start anew"
            )));
        }
        let total = epochs.map(|n| n.saturating_mul(batches as u64).saturating_sub(skip_batches as u64));
        let (sender, receiver) = sync_channel(self.shared.options.prefetch.max(1));
        let stop = Arc::new(AtomicBool::new(false));
        let worker = Producer { shared: self.shared.clone(), sender, stop: stop.clone() };
        let thread = std::thread::Builder::new()
            .name("spgraph-data".into())
            .spawn(move || worker.run(epoch, skip_batches, total))
            .map_err(|e| Error::data(format!("cannot start a thread for loading data: {e}")))?;
        Ok(Stream { receiver: Some(receiver), thread: Some(thread), stop, left: total })
    }
}

impl Shared {
    fn batches(&self) -> usize {
        let (len, batch) = (self.dataset.len(), self.options.batch);
        if self.options.last == Last::Drop { len.checked_div(batch).unwrap_or(0) } else { len.div_ceil(batch.max(1)) }
    }

    fn order(&self, epoch: u64) -> Vec<usize> {
        if self.options.shuffle && self.options.balanced {
            return balanced(&self.classes, self.options.seed, epoch);
        }
        let mut order: Vec<usize> = (0..self.dataset.len()).collect();
        if self.options.shuffle {
            Random::new(Purpose::Shuffle, self.options.seed, epoch, 0).shuffle(&mut order);
        }
        order
    }

    /// Rows and how many of them count.
    fn rows(&self, order: &[usize], number: usize) -> (Vec<usize>, usize) {
        let batch = self.options.batch;
        let mut rows: Vec<usize> = order.iter().skip(number.saturating_mul(batch)).take(batch).copied().collect();
        let valid = rows.len();
        if self.options.last == Last::Pad {
            rows.extend(order.iter().cycle().take(batch.saturating_sub(valid)));
        }
        (rows, valid)
    }

    fn batch(&self, order: &[usize], epoch: u64, number: usize, stop: &AtomicBool) -> Result<Batch> {
        let (indices, valid) = self.rows(order, number);
        let moment = Moment { seed: self.options.seed, epoch };
        let mut data = empty_batch(indices.len(), self.dataset.shape(), self.dataset.layout());
        let load = |(row, &index): (ArrayViewMut3<f32>, &usize)| {
            if stop.load(Ordering::Relaxed) {
                return Err((usize::MAX, Error::Interrupted("loading data was stopped".into())));
            }
            self.load_one(index, moment, row).map_err(|e| (index, e))
        };
        // All results are looked at, in order, so that of several bad files the same one is always named.
        let rows = images_of(&mut data, self.dataset.layout());
        let results: Vec<_> = self.pool.install(|| rows.into_par_iter().zip(&indices).map(load).collect());
        if let Some((_, error)) = results.into_iter().find_map(|r: std::result::Result<(), (usize, Error)>| r.err()) {
            return Err(error);
        }
        let channels_last = self.dataset.layout() == Layout::Nhwc;
        let key = (self.options.seed, epoch, number as u64);
        let mixed = self.dataset.mixing().map(|mixing| mixing.apply(&mut data, valid, channels_last, key));
        let target = self.target(&indices, valid);
        let notes = self.dataset.notes();
        Ok(Batch { data: data.into(), target, mixed, valid, indices, epoch, number, notes, wait: Duration::ZERO })
    }

    /// Labels `[R]`, or numbers `[R, K]` where samples have those.
    fn target(&self, indices: &[usize], valid: usize) -> Tensor {
        let padding = |row: usize| row >= valid && self.options.ignore_padding;
        if let Some(columns) = self.dataset.target_columns() {
            let mut values = Array2::zeros([indices.len(), columns]);
            for (row, (mut target, &index)) in values.outer_iter_mut().zip(indices).enumerate() {
                match target.as_slice_mut() {
                    _ if padding(row) => target.fill(PADDING as f32),
                    Some(target) => self.dataset.target_row(index, target),
                    None => {}
                }
            }
            return values.into();
        }
        let label = |(row, &index)| if padding(row) { IGNORED } else { self.dataset.label(index) };
        Tensor::from_vec(&[indices.len()], indices.iter().enumerate().map(label).collect::<Vec<i64>>())
    }

    /// A decoder that panics on a damaged file must not look like the end of the data.
    fn load_one(&self, index: usize, moment: Moment, out: ArrayViewMut3<f32>) -> Result<()> {
        catch_unwind(AssertUnwindSafe(|| self.dataset.image(index, moment, out))).unwrap_or_else(|panic| {
            Err(Error::data(format!(
                "loading {} crashed: {}. The file may be damaged; remove or convert it",
                self.dataset.name(index),
                message(&*panic)
            )))
        })
    }
}

/// The samples of each class.
fn by_class(dataset: &dyn Dataset) -> Vec<Vec<usize>> {
    let mut classes: Vec<Vec<usize>> = vec![];
    for index in 0..dataset.len() {
        let Ok(label) = usize::try_from(dataset.label(index)) else { continue };
        if classes.len() <= label {
            classes.resize(label.saturating_add(1), vec![]);
        }
        classes.get_mut(label).into_iter().for_each(|members| members.push(index));
    }
    classes
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given")
}

/// Runs on its own thread and fills the queue, in order.
struct Producer {
    shared: Arc<Shared>,
    sender: SyncSender<Result<Batch>>,
    stop: Arc<AtomicBool>,
}

impl Producer {
    fn run(self, mut epoch: u64, mut number: usize, total: Option<u64>) {
        let batches = self.shared.batches();
        let mut order = self.shared.order(epoch);
        let mut sent = 0u64;
        while total.is_none_or(|total| sent < total) && !self.stop.load(Ordering::Relaxed) {
            if number >= batches {
                (epoch, number) = (epoch.saturating_add(1), 0);
                order = self.shared.order(epoch);
            }
            let batch = self.shared.batch(&order, epoch, number, &self.stop);
            let failed = batch.is_err();
            // Nobody listens any more when the consumer has dropped the stream.
            if self.sender.send(batch).is_err() || failed {
                return;
            }
            (number, sent) = (number.saturating_add(1), sent.saturating_add(1));
        }
    }
}

/// Batches in order, as an iterator. After an error nothing more comes. Dropping it stops the work at once.
pub struct Stream {
    receiver: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    /// Batches still to come; `None` for no end.
    left: Option<u64>,
}

impl Stream {
    /// Ends the thread; gives its panic's message if it had one.
    fn finish(&mut self) -> Option<String> {
        self.stop.store(true, Ordering::Relaxed);
        // Without the receiver a producer that waits for room in the queue wakes up and ends.
        self.receiver = None;
        self.thread.take()?.join().err().map(|panic| message(&*panic).to_string())
    }
}

impl Iterator for Stream {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        if self.left == Some(0) {
            self.finish();
            return None;
        }
        let start = Instant::now();
        let received = self.receiver.as_ref()?.recv();
        self.given(received, start)
    }
}

impl Stream {
    /// The next batch, where it is there already.
    pub fn waiting(&mut self) -> Option<Result<Batch>> {
        if self.left == Some(0) {
            return None;
        }
        let start = Instant::now();
        match self.receiver.as_ref()?.try_recv() {
            Err(TryRecvError::Empty) => None,
            received => self.given(received.map_err(|_| RecvError), start),
        }
    }

    fn given(&mut self, received: std::result::Result<Result<Batch>, RecvError>, start: Instant) -> Option<Result<Batch>> {
        match received {
            Ok(Ok(mut batch)) => {
                batch.wait = start.elapsed();
                self.left = self.left.map(|n| n.saturating_sub(1));
                Some(Ok(batch))
            }
            Ok(Err(error)) => {
                self.finish();
                Some(Err(error))
            }
            // The thread ended without a word, which only a panic can cause.
            Err(_) => {
                let reason = self.finish().unwrap_or_else(|| "no reason given".into());
                Some(Err(Error::data(format!("loading data crashed: {reason}. This is a mistake in spgraph or in the data set's code"))))
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.finish();
    }
}
