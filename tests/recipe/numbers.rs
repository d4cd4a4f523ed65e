//! Numbers that are saved read back to the same bits.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use spgraph::bundle::Images;
use spgraph::storage::seal;
use spgraph::train::{Checkpoint, Training};

/// Saved in a sealed file and read again.
fn again<T: Serialize + DeserializeOwned>(value: T) -> T {
    #[derive(Serialize, Deserialize)]
    struct Holder<T> {
        value: T,
    }
    let text = seal::to_json(&Holder { value }).unwrap();
    let back: Holder<T> = serde_json::from_str(&seal::from_json(&text).unwrap().text).unwrap();
    back.value
}

/// The ends of the range, what is next to them, and any bits at all.
fn doubles(random: &mut ChaCha8Rng) -> Vec<f64> {
    let edges =
        [0.0, -0.0, 5e-324, f64::MIN_POSITIVE, f64::MIN_POSITIVE.next_down(), f64::MAX, f64::MIN, 0.1, 1.0 / 3.0, 9007199254740993.0];
    let any = std::iter::repeat_with(|| f64::from_bits(random.next_u64())).filter(|v| v.is_finite()).take(2000);
    edges.into_iter().chain(any).collect()
}

fn singles(random: &mut ChaCha8Rng) -> Vec<f32> {
    let edges = [0.0, -0.0, f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX, 0.1, 7.038531e-26];
    let any = std::iter::repeat_with(|| f32::from_bits(random.next_u32())).filter(|v| v.is_finite()).take(2000);
    edges.into_iter().chain(any).collect()
}

#[test]
fn doubles_in_options_and_checkpoints() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for value in doubles(&mut random) {
        let mut training = Training::new("/data");
        training.scalars.insert("lr".parse().unwrap(), value);
        let back = again(training);
        assert!(back.scalars.len() == 1 && back.scalars.values().all(|v| v.to_bits() == value.to_bits()), "{value:e}");

        let best = serde_json::json!({ "step": u64::MAX, "accuracy": value, "loss": value });
        let header = serde_json::json!({ "format": 1, "step": 1, "epoch": 1, "seed": u64::MAX, "validated": 0, "best": best });
        let checkpoint: Checkpoint = serde_json::from_value(header).unwrap();
        let back = again(checkpoint);
        assert_eq!(back.best.as_ref().unwrap().loss.to_bits(), value.to_bits(), "{value:e}");
        assert_eq!((back.seed, back.best.unwrap().step), (u64::MAX, u64::MAX));
    }
}

#[test]
fn singles_in_what_is_done_to_images() {
    let mut random = ChaCha8Rng::seed_from_u64(2);
    for value in singles(&mut random) {
        let images = Images { mean: Some(vec![value]), ..Images::default() };
        assert_eq!(again(images).mean.unwrap()[0].to_bits(), value.to_bits(), "{value:e}");
    }
}
