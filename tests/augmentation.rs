//! docs/augmentation.md is what the table of operations says. `SPGRAPH_BLESS=1 cargo test --release --test augmentation` rewrites it.

use spgraph::data::augment::{self, Augment, OPERATIONS, POLICIES};
use std::path::Path;

const HEAD: &str = "\
# Augmentation

`finetune --augment RECIPE` changes the images of the training at random. A recipe is `none`, a policy, or operations joined by `+`; each operation may
be given values in the order below, or by name:

    --augment flip-crop:4+color:0.25+erase:0.1
    --augment resized-crop:0.35,flip=0+rotate:10,fill=mean+mixup:0.2

A run saves its recipe with the policies written out. `flip=0` keeps letters, digits and signs from being mirrored. The text is read and shown by one
table, `src/data/augment/table.rs`, of which this page is made.

![Sixteen images of `spgraph synth target-a`, as `flip-crop:4+rotate:15+color:0.4,hue=0.1+erase:0.5` shows them to the network](augmentation.png)

## Policies

| policy | recipe | for |
|---|---|---|
";

const ORDER: &str = "
## Operations

They are done in this order, whatever the order in the recipe, each in one of five places:

1. **crop**: which part of the image is taken, at the size of the network's input. Without one it is the central part, as in evaluation. At most one.
2. **bytes**: on pixels of 8 bits, with the arithmetic of Pillow, on whose images torchvision works here: equal to the last bit.
3. **values**: on red, green and blue from 0 to 1, as torchvision on tensors: within 2·10⁻⁶. Then mean, standard deviation, order and scale as the network
   wants them.
4. **input**: on what enters the network.
5. **batch**: two images of a batch become one. The images of a batch are mixed with the one before them, the first with the last; one draw for each
   batch, and of several such operations each batch gets one by chance.

Random numbers depend on seed, epoch and image (for a batch: seed, epoch and its number), and each operation has its own: neither threads nor an
interruption change anything, and one more operation leaves the numbers of the others.

| operation | place | what it does | parameters: usual value (allowed) |
|---|---|---|---|
";

const TAIL: &str = "
What torchvision calls them: `RandomCrop` (`flip-crop`), `RandomResizedCrop`, `RandomHorizontalFlip`, `RandomVerticalFlip`, `RandomRotation`,
`RandomAffine`, `RandAugment`, `TrivialAugmentWide`, `ColorJitter`, `RandomGrayscale`, `GaussianBlur` (here with a probability), `RandomErasing`, `MixUp`,
`CutMix`. Ranges and probabilities are torchvision's, but for what the table says; `fill=mean` is the image's own mean colour. Three things differ:
`resized-crop` takes ratios relative to the input's own; `erase:fill=random` draws noise from the sum of twelve uniform numbers; `kernel=0` of `blur` is an odd
number near a tenth of the image's shorter side.

## Mixed images

`mixup` and `cutmix` need targets with a share of several classes: `spgraph rewrite --soft-targets`. Such a step takes, in the place of a label, a number
for every score (`[N, K]`, floats): probabilities for `cross-entropy`, a number between 0 and 1 for each class by itself for `bce`, any numbers for `mse`. It
may be fed labels as well. A row that only fills the batch up holds −10³⁰ everywhere; for `cross-entropy` zeros do as well, for `bce` anything negative. Values
and gradients are PyTorch's (`CrossEntropyLoss` with probabilities), label smoothing included. The training's accuracy compares with the class of the largest
share; with `bce` a row is right with every class on its side of ½. A bundle that takes labels refuses recipes that mix.

## How it is checked

`tests/generate/augment.py` has torchvision and Pillow change small images with given random numbers; `cargo test --lib augment` compares. The distributions
of the random numbers are tested by their bounds and moments.
";

fn page() -> String {
    let mut text = HEAD.to_string();
    for policy in POLICIES {
        text.push_str(&format!("| `{}` | `{}` | {} |\n", policy.name, policy.recipe, policy.meaning));
    }
    text.push_str(ORDER);
    for usual in OPERATIONS {
        let usual = usual();
        let parameters: Vec<String> =
            usual.parameters().iter().map(|p| format!("`{}`: {} ({}), {}", p.name, p.usual, p.values, p.meaning)).collect();
        text.push_str(&format!("| `{}` | {} | {} | {} |\n", usual.name(), usual.stage(), usual.meaning(), parameters.join("<br>")));
    }
    text + TAIL
}

#[test]
fn page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/augmentation.md");
    let fresh = page();
    if std::env::var_os("SPGRAPH_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(fresh == kept, "docs/augmentation.md is stale: run SPGRAPH_BLESS=1 cargo test --release --test augmentation");
}

#[test]
fn recipes_on_the_page_are_read() {
    for line in HEAD.lines().filter_map(|l| l.trim().strip_prefix("--augment ")) {
        let recipe: Augment = line.parse().unwrap();
        assert_eq!(recipe.to_string(), line);
    }
    let list = augment::list();
    assert!(OPERATIONS.iter().all(|usual| list.contains(usual().name())) && POLICIES.iter().all(|p| list.contains(p.recipe)));
}
