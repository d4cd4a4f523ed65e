//! Batches: order, padding, resume, errors, and that threads change nothing.

use ndarray::{Array3, Array4, ArrayViewMut3};
use spgraph::bundle::manifest::Preprocessing;
use spgraph::data::{ArrayDataset, Augment, Dataset, ImageDataset, ImageFolder, Last, Loader, LoaderOptions, Moment, Recipe, split, synth};
use spgraph::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Sample i has the values i, i + 0.5 and the label 10·i.
fn array(len: usize) -> Arc<dyn Dataset> {
    let values = Array4::from_shape_fn([len, 1, 1, 2], |(i, _, _, x)| i as f32 + 0.5 * x as f32);
    Arc::new(ArrayDataset::new(values, (0..len as i64).map(|i| 10 * i).collect()).unwrap())
}

fn options(batch: usize, last: Last) -> LoaderOptions {
    LoaderOptions { last, threads: 2, ..LoaderOptions::training(batch, 1) }
}

fn images(dir: &Path) -> ImageFolder {
    synth::write(&synth::SynthOptions::new(synth::Task::TargetB, 5, 1), &dir.join("images")).unwrap();
    ImageFolder::open(&dir.join("images"), None).unwrap()
}

fn recipe(resize: usize, side: i64) -> Recipe {
    Recipe::new(&Preprocessing { resize, ..Preprocessing::default() }, &[4, 3, side, side]).unwrap()
}

#[test]
fn every_policy_for_the_last_batch() {
    let shapes = |last| {
        let loader = Loader::new(array(7), options(3, last)).unwrap();
        let batches: Vec<_> = loader.start(0, 0).unwrap().map(Result::unwrap).collect();
        assert_eq!(batches.len(), loader.batches_per_epoch());
        batches.iter().map(|b| (b.data.shape()[0], b.valid)).collect::<Vec<_>>()
    };
    assert_eq!(shapes(Last::Drop), [(3, 3), (3, 3)]);
    assert_eq!(shapes(Last::Short), [(3, 3), (3, 3), (1, 1)]);
    assert_eq!(shapes(Last::Pad), [(3, 3), (3, 3), (3, 1)]);
}

#[test]
fn batches_hold_the_samples_that_their_indices_name() {
    let loader = Loader::new(array(10), options(4, Last::Pad)).unwrap();
    let mut seen = vec![];
    for batch in loader.start(3, 0).unwrap() {
        let batch = batch.unwrap();
        assert_eq!(batch.data.shape(), [4, 1, 1, 2]);
        let (data, target) = (batch.data.to_f32().unwrap(), batch.target.to_i64().unwrap());
        for (row, &i) in batch.indices.iter().enumerate() {
            assert_eq!(data[2 * row..2 * row + 2], [i as f32, i as f32 + 0.5]);
            assert_eq!(target[row], 10 * i as i64);
        }
        seen.extend_from_slice(&batch.indices[..batch.valid]);
    }
    assert_eq!(seen, loader.order(3));
    seen.sort_unstable();
    assert_eq!(seen, (0..10).collect::<Vec<_>>());
    assert_ne!(loader.order(3), loader.order(4));
}

#[test]
fn padding_can_be_marked_and_may_exceed_the_data() {
    let evaluation = LoaderOptions { threads: 1, ..LoaderOptions::evaluation(8) };
    let batches: Vec<_> = Loader::new(array(3), evaluation).unwrap().start(0, 0).unwrap().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].valid, 3);
    assert_eq!(batches[0].indices, [0, 1, 2, 0, 1, 2, 0, 1]);
    assert_eq!(batches[0].target.to_i64().unwrap(), [0, 10, 20, -1, -1, -1, -1, -1]);
}

#[test]
fn an_epoch_continues_where_it_stopped() {
    let loader = Loader::new(array(50), options(4, Last::Drop)).unwrap();
    let rows = |stream: spgraph::data::Stream| stream.map(|b| b.unwrap().indices).collect::<Vec<_>>();
    let whole = rows(loader.start(2, 0).unwrap());
    assert_eq!(rows(loader.start(2, 5).unwrap()), whole[5..]);
    assert!(rows(loader.start(2, 12).unwrap()).is_empty());
    let text = loader.start(2, 13).err().unwrap().to_string();
    assert!(text.contains("batch 13") && text.contains("has 12"), "{text}");
    // A stream goes on with the next epoch.
    let endless: Vec<_> = loader.stream(2, 10, None).unwrap().take(4).map(|b| b.unwrap()).map(|b| (b.epoch, b.number, b.indices)).collect();
    let next = rows(loader.start(3, 0).unwrap());
    let expected = [(2, 10, &whole[10]), (2, 11, &whole[11]), (3, 0, &next[0]), (3, 1, &next[1])];
    assert_eq!(endless, expected.map(|(e, n, i)| (e, n, i.clone())));
    assert_eq!(loader.stream(0, 2, Some(3)).unwrap().count(), 34);
}

#[test]
fn threads_prefetch_and_cache_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = images(dir.path());
    let recipes = [
        "none",
        "flip-crop:3",
        "flip-crop+color:0.5",
        "resized-crop:0.3+color",
        "flip-crop:2,fill=reflect+hflip+vflip+rotate+affine+randaugment",
        "trivialaugment+color:0.3,hue=0.2+gray+blur+erase:1,fill=random",
        "flip-crop+mixup",
        "mixup:1+cutmix+erase",
    ];
    for augment in recipes {
        let augment: Augment = augment.parse().unwrap();
        let run = |threads, prefetch, cache| {
            let data = Arc::new(ImageDataset::new(folder.clone(), recipe(28, 24), augment.clone(), cache));
            let options = LoaderOptions { threads, prefetch, ..LoaderOptions::training(4, 9) };
            let batches = Loader::new(data, options).unwrap().stream(0, 0, Some(2)).unwrap();
            batches.map(Result::unwrap).map(|b| (b.data, b.target, b.indices, b.mixed)).collect::<Vec<_>>()
        };
        let one = run(1, 1, 0);
        assert_eq!(one.len(), 12);
        assert_eq!(one, run(4, 3, ImageDataset::CACHE), "{augment}");
        // Room for some of the images only.
        assert_eq!(one, run(3, 2, 10_000), "{augment}");
    }
}

#[test]
fn augmentation_depends_on_seed_epoch_and_sample() {
    let dir = tempfile::tempdir().unwrap();
    let folder = images(dir.path());
    let values = |augment: Augment, seed, epoch, index| {
        let data = ImageDataset::new(folder.clone(), recipe(40, 24), augment, 0);
        let mut out = Array3::zeros([3, 24, 24]);
        data.image(index, Moment { seed, epoch }, out.view_mut()).unwrap();
        out
    };
    let more = ["affine", "rotate", "randaugment:14,20", "erase:1", "blur:1,least=0.3,kernel=5", "standard", "strong"];
    for augment in ["flip-crop", "resized-crop", "none+color"].into_iter().chain(more) {
        let augment: Augment = augment.parse().unwrap();
        let values = |seed, epoch, index| values(augment.clone(), seed, epoch, index);
        let base = values(1, 1, 0);
        assert_eq!(base, values(1, 1, 0));
        assert!(base != values(2, 1, 0) && base != values(1, 2, 0) && base != values(1, 1, 1), "{augment}");
    }
    assert_eq!(values(Augment::NONE, 1, 1, 0), values(Augment::NONE, 2, 2, 0));
}

#[test]
fn a_batch_size_that_cannot_be_filled_is_refused() {
    let text = Loader::new(array(3), options(4, Last::Drop)).err().unwrap().to_string();
    assert!(text.contains("3 samples cannot fill one batch of 4") && text.contains("at most 3"), "{text}");
    assert!(Loader::new(array(3), options(0, Last::Drop)).is_err());
    assert!(Loader::new(array(0), options(1, Last::Short)).err().unwrap().to_string().contains("no samples"));
}

#[test]
fn a_bad_file_reaches_the_consumer_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let folder = images(dir.path());
    let bad = folder.path(7).unwrap();
    std::fs::write(&bad, b"broken").unwrap();
    let data = Arc::new(ImageDataset::new(folder, recipe(24, 24), Augment::NONE, 0));
    let results: Vec<_> = Loader::new(data, LoaderOptions::evaluation(5)).unwrap().start(0, 0).unwrap().collect();
    assert_eq!(results.len(), 2, "a good batch, then the error, then nothing");
    assert!(results[0].is_ok());
    let text = results[1].as_ref().unwrap_err().to_string();
    assert!(text.contains(bad.to_str().unwrap()), "{text}");
}

/// Counts what is asked of it; may be slow, panic or fail.
struct Odd {
    asked: AtomicUsize,
    pause: Duration,
    panics_at: Option<usize>,
}

impl Dataset for Odd {
    fn len(&self) -> usize {
        10_000
    }

    fn shape(&self) -> [usize; 3] {
        [1, 2, 2]
    }

    fn label(&self, _: usize) -> i64 {
        0
    }

    fn name(&self, index: usize) -> String {
        format!("odd-{index}")
    }

    fn image(&self, index: usize, _: Moment, _: ArrayViewMut3<f32>) -> Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(Some(index) != self.panics_at, "too odd");
        std::thread::sleep(self.pause);
        if index == 9_999 { Err(Error::data("odd-9999 is bad")) } else { Ok(()) }
    }
}

fn odd(pause: Duration, panics_at: Option<usize>) -> Arc<Odd> {
    Arc::new(Odd { asked: AtomicUsize::new(0), pause, panics_at })
}

#[test]
fn dropping_a_stream_stops_the_work() {
    let data = odd(Duration::from_millis(2), None);
    let evaluation = LoaderOptions { threads: 2, prefetch: 2, ..LoaderOptions::evaluation(10) };
    let loader = Loader::new(data.clone(), evaluation).unwrap();
    let mut stream = loader.start(0, 0).unwrap();
    assert_eq!(stream.next().unwrap().unwrap().valid, 10);
    drop(stream);
    let asked = data.asked.load(Ordering::SeqCst);
    // The one that was used, two in the queue, one that waits for room, one in the making.
    assert!(asked <= 50, "{asked}");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(asked, data.asked.load(Ordering::SeqCst), "nothing goes on behind the consumer's back");
    // The loader still works.
    assert!(loader.start(1, 0).unwrap().next().unwrap().is_ok());
}

#[test]
fn the_queue_is_bounded_and_waits_are_measured() {
    let data = odd(Duration::from_millis(3), None);
    let evaluation = LoaderOptions { threads: 1, prefetch: 1, ..LoaderOptions::evaluation(4) };
    let mut stream = Loader::new(data.clone(), evaluation).unwrap().start(0, 0).unwrap();
    let first = stream.next().unwrap().unwrap();
    assert!(first.wait >= Duration::from_millis(8), "{:?}", first.wait);
    std::thread::sleep(Duration::from_millis(200));
    assert!(data.asked.load(Ordering::SeqCst) <= 4 * 3, "one used, one queued, one that waits for room");
    assert!(stream.next().unwrap().unwrap().wait < Duration::from_millis(8));
}

#[test]
fn a_panic_while_loading_is_an_error() {
    let evaluation = LoaderOptions { threads: 2, ..LoaderOptions::evaluation(10) };
    let results: Vec<_> = Loader::new(odd(Duration::ZERO, Some(25)), evaluation).unwrap().start(0, 0).unwrap().collect();
    assert_eq!(results.len(), 3);
    let text = results[2].as_ref().unwrap_err().to_string();
    assert!(text.contains("odd-25") && text.contains("too odd"), "{text}");
}

#[test]
fn arrays_must_match_their_shape() {
    let text = ArrayDataset::new(Array4::zeros([3, 1, 2, 2]), vec![0, 1]).unwrap_err().to_string();
    assert!(text.contains("2 labels") && text.contains("[3, 1, 2, 2]"), "{text}");
    let data = ArrayDataset::new(Array4::zeros([2, 1, 2, 2]), vec![0, 1]).unwrap();
    let text = data.image(0, Moment::default(), Array3::zeros([1, 3, 3]).view_mut()).unwrap_err().to_string();
    assert!(text.contains("[1, 2, 2]") && text.contains("[1, 3, 3]"), "{text}");
    assert!(data.image(2, Moment::default(), Array3::zeros([1, 2, 2]).view_mut()).unwrap_err().to_string().contains("no sample 2"));
}

#[test]
fn a_split_is_stratified_disjoint_and_seeded() {
    let dir = tempfile::tempdir().unwrap();
    let folder = images(dir.path());
    let found = split(&folder, 0.3, 1).unwrap();
    let (training, validation) = (&found.training, &found.validation);
    assert_eq!((training.class_counts(), validation.class_counts()), (vec![3; 5], vec![2; 5]));
    assert!(training.samples().all(|s| !validation.samples().any(|v| v == s)));
    assert_eq!(training.classes(), folder.classes());
    assert_eq!(found, split(&folder, 0.3, 1).unwrap());
    assert_ne!(*validation, split(&folder, 0.3, 2).unwrap().validation);
    // Never all, never none.
    assert_eq!(split(&folder, 0.999, 1).unwrap().training.class_counts(), [1; 5]);
    assert_eq!(split(&folder, 0.001, 1).unwrap().validation.class_counts(), [1; 5]);
    for fraction in [0.0, 1.0, -0.5, f64::NAN] {
        assert!(matches!(split(&folder, fraction, 1), Err(Error::Usage(_))), "{fraction}");
    }
    let single = folder.subset(&[0, 5, 6]).unwrap();
    let found = split(&single, 0.5, 1).unwrap();
    assert_eq!((found.training.class_counts()[..2].to_vec(), found.validation.class_counts()[..2].to_vec()), (vec![1, 1], vec![0, 1]));
    assert!(found.notes[0].contains("one image only") && found.notes[0].contains("`bricks`"), "{:?}", found.notes);
    let none = folder.subset(&[0, 5]).unwrap();
    assert!(split(&none, 0.5, 1).unwrap_err().to_string().contains("no class has two"));
}
