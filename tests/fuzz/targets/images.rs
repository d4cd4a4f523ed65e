//! Images, lists of them, and arrays.

use super::{fixtures, read_file, small_fixtures, words, written};
use crate::mutate::{self, Random};
use spgraph::data::{ImageSet, KnownClasses, load_image};
use std::path::Path;

pub fn images() -> Vec<Vec<u8>> {
    let endings = [".png", ".jpg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".ppm", ".pgm", ".pbm", ".tif", ".tiff"];
    small_fixtures("images", &endings, 20_000)
}

pub fn decode(bytes: &[u8], work: &Path) -> Result<(), String> {
    load_image(&written(bytes, work.join("x.png"))).map(drop).map_err(words)
}

pub fn lists() -> Vec<Vec<u8>> {
    let texts = [
        "path,label\na.png,cat\nb.png,dog\nc/d.png,cat\n",
        "a.png,0\nb.png,1\nc/d.png,1\n",
        "a.png\tcat\nb.png\tdog\n",
        "file;x;y\na.png;0.5;-1\nb.png;1e-3;2\n",
        "image,cat,dog\na.png,1,0\nb.png,1,1\nc/d.png,0,1\n",
        "\u{feff}\"a.png\",\"a \"\"cat\"\"\"\n\"b.png\",\"dog, big\"\n",
    ];
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

/// As each kind of target.
fn opened(path: &Path) -> Result<(), String> {
    let names = ["cat".to_string(), "dog".to_string()];
    let known = [KnownClasses::default(), KnownClasses { names: &names, count: Some(2), ..KnownClasses::default() }];
    let found: Vec<_> = known.iter().map(|known| ImageSet::open_for(path, known)).collect();
    for set in found.iter().flatten() {
        let _ = set.samples().count();
    }
    found.into_iter().find_map(|set| set.err()).map_or(Ok(()), |error| Err(words(error)))
}

pub fn read_list(bytes: &[u8], work: &Path) -> Result<(), String> {
    let image = fixtures().join("data/palette.png");
    std::fs::create_dir(work.join("c")).unwrap();
    for name in ["a.png", "b.png", "c/d.png"] {
        std::os::unix::fs::symlink(&image, work.join(name)).unwrap();
    }
    // Not every list is one for classes of those names.
    match opened(&written(bytes, work.join("list.csv"))) {
        Err(why) if lists().iter().any(|sound| sound == bytes) => {
            let set = ImageSet::open_for(&work.join("list.csv"), &KnownClasses::default());
            set.map(drop).map_err(|e| format!("{e} ({why})"))
        }
        found => found,
    }
}

pub fn arrays() -> Vec<Vec<u8>> {
    let pixels: Vec<u8> = (0..4 * 6 * 5 * 3).map(|i| (i * 7) as u8).collect();
    let labels: Vec<u8> = [0i64, 1, 1, 0].iter().flat_map(|l| l.to_le_bytes()).collect();
    let stored = |kind: &str, labels: &[u8]| {
        mutate::zip(&[("images.npy", mutate::npy("|u1", "(4, 6, 5, 3)", &pixels)), ("labels.npy", mutate::npy(kind, "(4,)", labels))])
    };
    let tensors = [
        ("images", safetensors::tensor::TensorView::new(safetensors::Dtype::U8, vec![4, 6, 5, 3], &pixels).unwrap()),
        ("labels", safetensors::tensor::TensorView::new(safetensors::Dtype::I64, vec![4], &labels).unwrap()),
    ];
    vec![
        stored("<i8", &labels),
        stored("|u1", &[0, 1, 1, 0]),
        safetensors::serialize(tensors, None).unwrap(),
        read_file(fixtures().join("arrays/nhwc.npz")),
        read_file(fixtures().join("arrays/compressed.npz")),
        read_file(fixtures().join("arrays/big_endian.npz")),
    ]
}

pub fn mutate_arrays(seed: &[u8], random: &mut Random) -> Vec<u8> {
    if seed.starts_with(b"PK") { random.archive(seed) } else { mutate::with_header(seed, random) }
}

pub fn read_arrays(bytes: &[u8], work: &Path) -> Result<(), String> {
    let path = written(bytes, work.join("x.npz"));
    ImageSet::open_for(&path, &KnownClasses::default()).map(drop).map_err(words)
}
