//! Examples for each command. They are run by a test, in this order and in one folder that has a network `model.onnx`, images in `photos/` and `test/`
//! (one sub-folder per class), and an image `bird.jpg`.

/// Command, and lines that can be typed with what they do.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "inspect",
        &[("spgraph inspect model.onnx", "can it be fine-tuned, and how?"), ("spgraph inspect model.onnx --json", "for a program")],
    ),
    (
        "data",
        &[
            ("spgraph data photos", "counts, sizes, unreadable and duplicate images"),
            ("spgraph data photos --show seen.png --augment flip-crop", "and a picture of what a network would see"),
        ],
    ),
    (
        "rewrite",
        &[
            ("spgraph rewrite model.onnx --classes 3 --batch 8 -o birds.spgraph", "a new head for 3 classes; L2-SP on everything else"),
            ("spgraph rewrite model.onnx --classes 3 --freeze-stages 2 -o late.spgraph", "the first layers stay as they are"),
            ("spgraph rewrite model.onnx --artifact single -o one.onnx", "one file, with its start inside"),
            ("spgraph rewrite model.onnx --for openvino -o openvino.spgraph", "in the form that a runtime reads"),
            ("spgraph rewrite model.onnx --alpha 0.01 --explain -o kept.spgraph", "the old classes, with a table of every parameter"),
        ],
    ),
    (
        "finetune",
        &[
            ("spgraph finetune model.onnx --data photos --epochs 2", "from a model to a tuned one, into a new folder in `runs`"),
            ("spgraph finetune birds.spgraph --data photos --epochs 2 -o birds", "train a bundle, into the new folder `birds`"),
            ("spgraph finetune birds.spgraph --data photos --epochs 2 --val-split 0.25 -o checked", "with a quarter held out"),
        ],
    ),
    (
        "convert",
        &[
            ("spgraph convert birds.spgraph --to single -o step.onnx", "a bundle as one file, for a runtime of your own"),
            ("spgraph convert birds --to single -o birds.single", "what the run `birds` has reached, to go on from there"),
        ],
    ),
    (
        "import-checkpoint",
        &[
            ("spgraph convert birds.spgraph --to ort-training -o birds.ort", "what ONNX Runtime's training API loads, with a checkpoint"),
            ("spgraph import-checkpoint birds.spgraph birds.ort/checkpoint -o trained", "a checkpoint, trained there, as a run"),
        ],
    ),
    (
        "grad",
        &[
            ("spgraph grad model.onnx --wrt input --of logits -o saliency.onnx", "what each pixel does to scores that you weigh"),
            ("spgraph grad model.onnx --wrt 'params:fc.*' --of logits,scalar -o fc.onnx", "of their sum, for a layer's parameters"),
        ],
    ),
    ("lower", &[("spgraph lower saliency.onnx -o plain.onnx", "preview operators for training, where a model has some, as standard ones")]),
    ("eval", &[("spgraph eval birds --data test", "a run"), ("spgraph eval model.onnx --data test --json", "any ONNX classifier")]),
    ("predict", &[("spgraph predict birds bird.jpg --top 3", "the three likeliest classes")]),
    (
        "report",
        &[
            ("spgraph report checked", "the page of a run, checked/report.html, again"),
            ("spgraph report birds --data test", "with what the run makes of other images"),
        ],
    ),
    (
        "export",
        &[
            ("spgraph export birds -o birds.onnx", "the tuned network, as an ONNX model like the one that it came from"),
            ("spgraph export birds -o app.onnx --preprocess --softmax --top 3", "a file that takes decoded images and tells classes"),
        ],
    ),
    (
        "drift",
        &[
            ("spgraph drift model.onnx birds.onnx", "what training changed, layer by layer"),
            ("spgraph drift birds.spgraph birds --format csv > drift.csv", "from the starting point to a run"),
        ],
    ),
    ("interpolate", &[("spgraph interpolate birds --to 0.5 -o between.onnx", "halfway between the starting point and the tuned weights")]),
    (
        "fisher",
        &[
            ("spgraph fisher model.onnx --data photos --samples 8 -o model.fisher", "from images of the network's own task"),
            ("spgraph rewrite model.onnx --penalty l2-sp-fisher --fisher model.fisher -o weighed.spgraph", "and its use"),
        ],
    ),
    (
        "attention",
        &[
            ("spgraph attention birds --data photos --images 8 -o birds.attention", "from a run with a trained classifier"),
            ("spgraph rewrite model.onnx --regularizer delta --attention birds.attention -o delta.spgraph", "and its use"),
        ],
    ),
    ("profile", &[("spgraph profile birds.spgraph --steps 2", "where a step spends its time")]),
    ("doctor", &[("spgraph doctor", "the machine, the libraries, and what is missing")]),
    ("runtime", &[("spgraph runtime", "which ONNX Runtime is used, and why"), ("spgraph runtime install", "put one into spgraph's cache")]),
    (
        "plan",
        &[
            ("spgraph plan study.toml", "the cells as commands, one a line: for `parallel`, or an array of Slurm"),
            ("spgraph plan study.toml --make --to study.mk", "then `make -f study.mk -j 2`"),
        ],
    ),
    ("cell", &[("spgraph plan study.toml --names | head -n 1 | xargs spgraph cell study.toml", "the first cell")]),
    (
        "sweep",
        &[
            ("spgraph sweep study.toml", "what is missing, as many at a time as there are cores"),
            ("spgraph report results", "its tables and figures, and results/report/report.html"),
        ],
    ),
    ("new", &[("spgraph new resnet20 --classes 10 -o fresh.onnx", "to try things with")]),
    ("synth", &[("spgraph synth --task source --per-class 2 -o drawn", "ten classes of drawn shapes")]),
    (
        "completions",
        &[
            ("spgraph completions bash > spgraph.bash", "then `source spgraph.bash`"),
            ("spgraph completions zsh > _spgraph", "into a folder of $fpath"),
        ],
    ),
    ("man", &[("spgraph man | man -l -", "the main page"), ("spgraph man man1", "a page for each command, into the folder `man1`")]),
];

/// The commands that have examples.
#[cfg(test)]
pub fn commands() -> impl Iterator<Item = &'static str> {
    EXAMPLES.iter().map(|(command, _)| *command)
}

/// The examples of a command, for its help.
pub fn text(command: &str) -> Option<String> {
    let (_, lines) = EXAMPLES.iter().find(|(name, _)| *name == command)?;
    let shown = lines.iter().map(|(line, what)| format!("\n  {line}\n      {what}"));
    Some(format!("Examples:{}", shown.collect::<String>()))
}
