//! What somebody meant who wrote a name that there is not: the same name spelt otherwise, the word that other tools have for it, or the nearest one.

use std::path::Path;

/// Words of other tools (PyTorch, timm, fastai, Keras, Ultralytics, Hugging Face), without case, hyphens and underscores, and the names that spgraph has
/// for what they mean. Only those count that are among the names in question, so that one table serves commands, options and values.
const WORDS: &[(&str, &[&str])] = &[
    // Commands.
    ("train", &["finetune"]),
    ("fit", &["finetune"]),
    ("tune", &["finetune"]),
    ("learn", &["finetune"]),
    ("resume", &["finetune"]),
    ("lrfind", &["finetune"]),
    ("val", &["eval"]),
    ("validate", &["eval"]),
    ("validation", &["eval"]),
    ("test", &["eval"]),
    ("score", &["eval"]),
    ("accuracy", &["eval"]),
    ("classify", &["predict"]),
    ("infer", &["predict"]),
    ("inference", &["predict"]),
    ("run", &["predict"]),
    ("prepare", &["rewrite"]),
    ("transform", &["rewrite"]),
    ("compile", &["rewrite"]),
    ("bundle", &["rewrite"]),
    ("info", &["inspect"]),
    ("show", &["inspect"]),
    ("summary", &["inspect"]),
    ("describe", &["inspect"]),
    ("surgeon", &["inspect"]),
    ("save", &["export"]),
    ("onnx", &["export"]),
    ("bench", &["profile"]),
    ("benchmark", &["profile"]),
    ("timing", &["profile"]),
    ("diff", &["drift"]),
    ("compare", &["drift"]),
    ("distance", &["drift"]),
    ("wiseft", &["interpolate"]),
    ("blend", &["interpolate"]),
    ("checks", &["doctor", "runtime"]),
    ("check", &["doctor", "runtime"]),
    ("env", &["doctor", "runtime"]),
    ("diagnose", &["doctor", "runtime"]),
    ("install", &["runtime"]),
    ("create", &["new"]),
    ("init", &["new"]),
    ("generate", &["synth"]),
    ("dataset", &["data"]),
    ("stats", &["data"]),
    ("hpo", &["sweep"]),
    ("grid", &["sweep"]),
    ("search", &["sweep"]),
    ("manual", &["man"]),
    ("completion", &["completions"]),
    // Options.
    ("learningrate", &["lr"]),
    ("lr0", &["lr"]),
    ("baselr", &["lr"]),
    ("batchsize", &["batch"]),
    ("bs", &["batch"]),
    ("perdevicetrainbatchsize", &["batch"]),
    ("numepochs", &["epochs"]),
    ("numtrainepochs", &["epochs"]),
    ("nepochs", &["epochs"]),
    ("epoch", &["epochs"]),
    ("maxsteps", &["steps"]),
    ("iterations", &["steps"]),
    ("iters", &["steps"]),
    ("dataset", &["data"]),
    ("datadir", &["data"]),
    ("traindir", &["data"]),
    ("traindata", &["data"]),
    ("images", &["data"]),
    ("valdir", &["val-data"]),
    ("validationdir", &["val-data"]),
    ("validpct", &["val-split"]),
    ("validationsplit", &["val-split"]),
    ("imgsz", &["input-shape"]),
    ("imgsize", &["input-shape"]),
    ("imagesize", &["input-shape"]),
    ("inputsize", &["input-shape"]),
    ("numclasses", &["classes"]),
    ("nc", &["classes"]),
    ("nclasses", &["classes"]),
    ("outputdir", &["output", "out"]),
    ("outdir", &["output", "out"]),
    ("savedir", &["output", "out"]),
    ("out", &["output"]),
    ("output", &["out"]),
    ("name", &["output"]),
    ("project", &["output"]),
    ("overwrite", &["force"]),
    ("overwriteoutputdir", &["force"]),
    ("existok", &["force"]),
    ("numworkers", &["workers"]),
    ("jobs", &["workers"]),
    ("randomseed", &["seed"]),
    ("continue", &["resume"]),
    ("resumefromcheckpoint", &["resume"]),
    ("savesteps", &["checkpoint-every"]),
    ("saveperiod", &["checkpoint-every"]),
    ("lrscheduler", &["schedule"]),
    ("lrschedulertype", &["schedule"]),
    ("sched", &["schedule"]),
    ("scheduler", &["schedule"]),
    ("opt", &["optimizer"]),
    ("optim", &["optimizer"]),
    ("wd", &["weight-decay", "penalty"]),
    ("weightdecay", &["penalty"]),
    ("lambda", &["alpha"]),
    ("strength", &["alpha"]),
    ("cfg", &["config"]),
    ("smoothing", &["label-smoothing"]),
    ("labelsmoothingfactor", &["label-smoothing"]),
    ("maxgradnorm", &["clip-norm"]),
    ("clipgrad", &["clip-norm"]),
    ("gradclip", &["clip-norm"]),
    ("modelema", &["ema"]),
    ("freezelayers", &["freeze", "freeze-stages"]),
    ("backbone", &["freeze"]),
    ("silent", &["quiet"]),
    ("topk", &["top"]),
    ("format", &["json"]),
    ("gpu", &["device", "cuda"]),
    ("cuda", &["device"]),
    ("aa", &["augment"]),
    ("augmentation", &["augment"]),
    ("autoaugment", &["augment"]),
    ("colorjitter", &["color"]),
    ("earlystopping", &["patience", "early-stop"]),
    ("earlystoppingpatience", &["patience", "early-stop"]),
    ("warmup", &["warmup-epochs", "warmup-steps"]),
    // Values.
    ("ewc", &["l2-sp-fisher"]),
    ("l2spf", &["l2-sp-fisher"]),
    ("startingpoint", &["l2-sp"]),
    ("weightdecay", &["l2"]),
    ("decay", &["l2"]),
    ("wd", &["l2"]),
    ("ridge", &["l2"]),
    ("lasso", &["l1-sp"]),
    ("l1", &["l1-sp"]),
    ("grouplasso", &["gl-sp"]),
    ("ce", &["cross-entropy"]),
    ("nll", &["cross-entropy"]),
    ("crossentropyloss", &["cross-entropy"]),
    ("softmax", &["cross-entropy"]),
    ("categoricalcrossentropy", &["cross-entropy"]),
    ("bcewithlogits", &["bce"]),
    ("binarycrossentropy", &["bce"]),
    ("sigmoid", &["bce"]),
    ("multilabel", &["bce"]),
    ("l2loss", &["mse"]),
    ("meansquarederror", &["mse"]),
    ("regression", &["mse"]),
    ("distillation", &["lwf"]),
    ("cosineannealing", &["cosine"]),
    ("cosineannealinglr", &["cosine"]),
    ("steplr", &["step"]),
    ("multistep", &["step"]),
    ("fixed", &["constant"]),
    ("none", &["constant"]),
    ("adam", &["adamw"]),
    ("momentum", &["sgd"]),
    ("onnxruntime", &["ort"]),
    ("nvidia", &["cuda"]),
    ("cuda0", &["cuda"]),
    ("last", &["final"]),
    ("eval", &["frozen"]),
    ("randomresizedcrop", &["resized-crop"]),
    ("flip", &["flip-crop"]),
    ("channelslast", &["nhwc"]),
    ("channelsfirst", &["nchw"]),
    ("json", &["jsonl"]),
];

/// Without case and without what is between words.
fn key(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The name that `word` is another spelling of, or that has its meaning.
pub fn same<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    let word = key(word);
    let find = |wanted: &str| names.iter().copied().find(|name| key(name) == wanted);
    find(&word).or_else(|| WORDS.iter().filter(|(w, _)| *w == word).flat_map(|(_, own)| *own).find_map(|own| find(&key(own))))
}

/// The name that was most likely meant by `word`, which is none of `names`; `None` where nothing is near.
pub fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    if let Some(name) = same(word, names) {
        return Some(name);
    }
    let word = key(word);
    if word.is_empty() {
        return None;
    }
    // One letter in three may be wrong; of the equally near the first counts.
    let distance = |name: &&str| strsim::osa_distance(&word, &key(name));
    let near =
        names.iter().filter(|name| distance(name) * 3 <= word.chars().count().max(key(name).chars().count())).min_by_key(|n| distance(n));
    // `finetune-model`, `cos`.
    let long = |text: &str| text.chars().count() >= 3;
    let begins = |name: &&&str| {
        let name = key(name);
        long(&name) && word.starts_with(&name) || long(&word) && name.starts_with(&word)
    };
    near.or_else(|| names.iter().find(begins)).copied()
}

/// A sentence to put behind a message about a path that is not there: `. Did you mean data/photos?`, by what lies in its folder; or nothing.
pub fn beside(path: &Path) -> String {
    // Who listed more would keep somebody waiting for a hint.
    const MOST: usize = 10_000;
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return String::new() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MOST);
    let near = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|other| other != name && !other.starts_with('.'));
    // A letter of four may be wrong, but not all of a short name.
    let distance = |other: &String| strsim::damerau_levenshtein(&name.to_lowercase(), &other.to_lowercase());
    let most = name.chars().count();
    let found = near.map(|other| (distance(&other), other)).filter(|(d, _)| *d < most && d.saturating_mul(4) <= most.max(4)).min();
    found.map_or(String::new(), |(_, other)| format!(". Did you mean {}?", path.with_file_name(other).display()))
}

/// A sentence to put behind a message: `. Did you mean `l2-sp`?`, or nothing.
pub fn hint(word: &str, names: &[&str]) -> String {
    nearest(word, names).map_or_else(String::new, |name| format!(". Did you mean `{name}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PENALTIES: &[&str] = &["none", "l2", "l2-sp", "l2-sp-fisher", "l1-sp", "gl-sp", "gl-sp-fisher"];

    #[test]
    fn spellings_words_and_typing_errors() {
        for (word, meant) in [
            ("l2sp", "l2-sp"),
            ("l2_sp", "l2-sp"),
            ("L2-SP", "l2-sp"),
            ("L2SP-Fisher", "l2-sp-fisher"),
            ("ewc", "l2-sp-fisher"),
            ("weight_decay", "l2"),
            ("gl-ps", "gl-sp"),
            ("non", "none"),
        ] {
            assert_eq!(nearest(word, PENALTIES), Some(meant), "{word}");
        }
        for word in ["", "-", "banana", "x"] {
            assert_eq!(nearest(word, PENALTIES), None, "{word}");
        }
        assert_eq!(nearest("finetune-model", &["inspect", "finetune"]), Some("finetune"));
        assert_eq!(nearest("cos", &["constant", "step", "cosine"]), Some("cosine"));
        assert_eq!(nearest("constnat", &["constant", "step", "cosine"]), Some("constant"));
        assert_eq!(hint("l3", &["l2"]), "");
        assert_eq!(hint("gelu", &["Gelu"]), ". Did you mean `Gelu`?");
    }

    #[test]
    fn paths_are_looked_for_in_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["photos", "resnet50.onnx", "a", ".hidden"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |name: &str| beside(&dir.path().join(name));
        for (name, meant) in [
            ("phots", "photos"),
            ("Photos", "photos"),
            ("pohtos", "photos"),
            ("resnet5.onnx", "resnet50.onnx"),
            ("resnet50.onx", "resnet50.onnx"),
        ] {
            assert_eq!(found(name), format!(". Did you mean {}?", dir.path().join(meant).display()), "{name}");
        }
        for name in ["images", ".hiden", "nowhere/photos", "..", "photosandmore"] {
            assert_eq!(found(name), "", "{name}");
        }
    }

    /// Every name with one letter changed, left out, doubled, or exchanged with the next is still found.
    #[test]
    fn one_wrong_letter_is_forgiven() {
        let names = ["finetune", "inspect", "rewrite", "interpolate", "completions", "attention", "predict", "export", "profile"];
        for name in names {
            for at in 0..name.len() {
                let (before, behind) = name.split_at(at);
                let letter = &behind[..1];
                let mut wrong =
                    vec![format!("{before}{}", &behind[1..]), format!("{before}q{}", &behind[1..]), format!("{before}{letter}{behind}")];
                if let Some(next) = behind.get(1..2) {
                    wrong.push(format!("{before}{next}{letter}{}", &behind[2..]));
                }
                for word in wrong {
                    assert_eq!(nearest(&word, &names), Some(name), "{word}");
                }
            }
        }
    }

    #[test]
    fn words_are_written_as_they_are_compared() {
        for (word, names) in WORDS {
            assert_eq!(*word, key(word));
            assert!(!names.is_empty(), "{word}");
        }
    }
}
