//! The configuration file: the same options as the flags, and a run from its own.

use crate::finetune::{numbers, state};
use crate::support::{Lab, shared};

fn lab() -> Lab {
    let lab = Lab::new();
    std::fs::copy(&shared().model, lab.path("net.onnx")).unwrap();
    lab
}

const QUICK: [&str; 6] = ["--engine", "tract", "--threads", "1", "--log", "none"];

#[test]
fn a_run_runs_again_from_its_configuration() {
    let s = shared();
    let everything: [&[&str]; 5] = [
        &["net.onnx", "--steps", "5", "--batch", "4"],
        &[
            "net.onnx",
            "--epochs",
            "1",
            "--batch",
            "4",
            "--penalty",
            "none",
            "--optimizer",
            "adamw",
            "--lr",
            "0.0003",
            "--schedule",
            "cosine",
        ],
        &[
            "net.onnx",
            "--steps",
            "4",
            "--batch",
            "dynamic",
            "--penalty",
            "l2",
            "--seed",
            "18446744073709551615",
            "--augment",
            "flip-crop:2+color:0.1",
        ],
        &[
            "net.onnx",
            "--steps",
            "4",
            "--batch",
            "4",
            "--regularizer",
            "lwf=0.3",
            "--temperature",
            "2.5",
            "--head",
            "keep",
            "--val-split",
            "0.25",
        ],
        &[&s.bundle, "--steps", "4", "--alpha", "0.30000000000000004", "--lr", "1e-3"],
    ];
    let lab = lab();
    for (i, own) in everything.iter().enumerate() {
        let (first, second) = (format!("a{i}"), format!("b{i}"));
        lab.run(&[&["finetune"], *own, &["--data", &s.images, "-o", &first], &QUICK].concat()).ok();
        let config = format!("{first}/config.toml");
        lab.run(&["finetune", "--config", &config, "--log", "none", "-o", &second]).ok();
        assert!(state(&lab.path(&first)) == state(&lab.path(&second)), "{own:?}");
        assert_eq!(numbers(&lab.path(&first)), numbers(&lab.path(&second)), "{own:?}");
        let text = |run: &str| std::fs::read_to_string(lab.path(run).join("config.toml")).unwrap();
        // Once resolved it stays as it is, but for the path of a bundle.
        let plain = |text: String| text.lines().filter(|l| !l.starts_with("bundle")).map(String::from).collect::<Vec<_>>();
        assert_eq!(plain(text(&first)), plain(text(&second)), "{own:?}");
    }
    lab.write("both.toml", format!("bundle = \"{}\"\n{}", s.bundle, std::fs::read_to_string(lab.path("a3/config.toml")).unwrap()));
    lab.run(&["finetune", "--config", "both.toml", "-o", "both"]).refused(2, &["names a model", "and a bundle"]);
    // One has a quarter held out; 0 takes that back.
    let none = ["finetune", "--config", "a3/config.toml", "--val-split", "0", "--log", "none", "-o", "none"];
    lab.run(&none).ok();
    let text = std::fs::read_to_string(lab.path("none/config.toml")).unwrap();
    assert!(text.contains("validation = \"none\""), "{text}");
    let text = std::fs::read_to_string(lab.path("a0/config.toml")).unwrap();
    for part in [
        "model_sha256 = ",
        "penalty = \"l2-sp\"",
        "alpha = 0.1",
        "beta = 0.01",
        "lr = 0.01",
        "classes = 3",
        "[training.length]",
        "steps = 5",
        "seed = 0",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    // The run of a bundle needs no other place than its own.
    std::fs::rename(lab.path("a4"), lab.path("moved")).unwrap();
    let config = std::fs::read_to_string(lab.path("moved/config.toml")).unwrap().replace(&s.bundle, "/nowhere");
    lab.write("moved/config.toml", config);
    lab.run(&["finetune", "--config", "moved/config.toml", "--log", "none", "-o", "again"]).ok();
    assert!(state(&lab.path("moved")) == state(&lab.path("again")));
}

#[test]
fn flags_go_over_the_file_and_paths_are_seen_from_it() {
    let lab = lab();
    let s = shared();
    std::os::unix::fs::symlink(&s.images, lab.path("photos")).unwrap();
    lab.write(
        "in/run.toml",
        "model = '../net.onnx'\nname = 'called'\n[rewriting]\nbatch = 4\npenalty = 'l1-sp'\nalpha = 0.5\noptimizer = {kind = 'sgd', momentum = 0.5}\n\
         [training]\ndata = '../photos'\nlength = {steps = 2}\nschedule = 'constant'\n[engine]\nchoice = 'tract'\nthreads = 1\n",
    );
    let manifest = |run: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(lab.path(run).join("bundle/manifest.json")).unwrap()).unwrap()
    };
    lab.run(&["finetune", "--config", "in/run.toml", "--log", "none"]).ok();
    let own = &manifest("runs/called")["rewriting"]["options"];
    assert_eq!((&own["alpha"], &own["optimizer"]["momentum"], &own["head"]["classes"]), (&0.5.into(), &0.5.into(), &3.into()));
    let more = ["--lr", "0.5", "--momentum", "0.25", "--penalty", "l2", "--steps", "1"];
    lab.run(&[&["finetune", "--config", "in/run.toml", "--log", "none"], &more[..]].concat()).ok();
    let own = &manifest("runs/called-2")["rewriting"]["options"];
    // The strength of another penalty is none of this one's.
    assert_eq!((&own["alpha"], &own["lr"], &own["optimizer"]["momentum"]), (&0.0001.into(), &0.5.into(), &0.25.into()));
    let steps = crate::finetune::metrics(&lab.path("runs/called-2")).into_iter().filter(|r| r["kind"] == "step");
    assert_eq!(steps.count(), 1);
}

#[test]
fn mistakes_are_refused_with_their_line() {
    let lab = lab();
    let s = shared();
    std::os::unix::fs::symlink(&s.images, lab.path("photos")).unwrap();
    let refuses = |text: &str, parts: &[&str]| {
        lab.write("run.toml", text);
        lab.refuses(&["finetune", "net.onnx", "--data", "photos", "--config", "run.toml"], 2, parts);
    };
    refuses("[training]\n\nscedule = 'step'", &["run.toml, line 3", "`scedule` in the table [training]", "`schedule`?"]);
    refuses("[rewriting]\npenalti = 'l2'", &["line 2", "[rewriting]", "`penalty`?"]);
    refuses("[rewritting]\npenalty = 'l2'", &["line 1", "`rewriting`?"]);
    refuses("[training]\npenalty = 'l2'", &["line 2", "It belongs in the table [rewriting]"]);
    refuses("[training]\nepochs = 3", &["line 2", "It belongs in the table [training.length]"]);
    refuses(
        "[rewriting.optimizer]\nkind = 'sgd'\n\nmomentun = 0.9",
        &["line 4", "`momentun` in the table [rewriting.optimizer]", "`momentum`?"],
    );
    refuses("[rewriting]\nbatch = 'many'", &["line 2", "`batch`", "dynamic"]);
    refuses("[rewriting]\nlr = 'fast'", &["line 2: `lr`", "expected f64"]);
    refuses("[training.scalars]\nalfa = 0.1", &["line 2", "`alfa`"]);
    refuses("[training]\naugment = 'spin'", &["line 2", "`augment`", "spin"]);
    refuses("[engine]\nthreads = -2", &["line 2", "`threads`"]);
    refuses("[engine]\nchoice = 'steam'", &["line 2", "steam", "tract"]);
    refuses("[training\n", &["line 1"]);
    refuses("[rewriting]\nlr = nan", &["`rewriting.lr` NaN"]);
    lab.refuses(&["finetune", "--config", "nowhere.toml"], 1, &["nowhere.toml", "Check the path"]);
    // A model that is another one, or is not there.
    lab.write("run.toml", "model = 'gone.onnx'\nmodel_sha256 = '0123456789abcdef'\n[training]\ndata = 'photos'\n");
    lab.refuses(&["finetune", "--config", "run.toml"], 1, &["gone.onnx", "0123456789ab", "Where is it?"]);
    lab.refuses(&["finetune", "net.onnx", "--config", "run.toml"], 1, &["net.onnx is not the model", "model_sha256"]);
}

/// What a message names is what the person wrote: the key where the value came from the file, the flag where it came from the command line.
#[test]
fn messages_name_keys_of_the_file_and_flags_of_the_line() {
    let lab = lab();
    let s = shared();
    std::os::unix::fs::symlink(&s.images, lab.path("photos")).unwrap();
    let refuses = |text: &str, flags: &[&str], parts: &[&str], not: &str| {
        lab.write("run.toml", format!("model = 'net.onnx'\n{text}"));
        let said = lab.refuses(&[&["finetune", "--config", "run.toml", "-o", "never"], flags].concat(), 2, parts);
        assert!(!said.contains(not), "`{not}` in {said}");
    };
    let data = "[training]\ndata = 'photos'\nlength = {steps = 1}\n";
    let patience = format!("{data}[training.early_stopping]\npatience = 2\n");
    refuses(&patience, &[], &["`training.early_stopping.patience` needs validation images", "--val-data"], "--patience");
    refuses(
        &format!("{data}validation = 'none'\n"),
        &["--patience", "2"],
        &["--patience needs validation images: give `training.validation`"],
        "val-data",
    );
    refuses(&patience, &["--patience=3"], &["--patience needs validation images"], "early_stopping");
    let weights = format!("{data}class_weights = {{given = {{ghost = 1.0}}}}\n");
    refuses(&weights, &[], &["`training.class_weights`: 'ghost' is none of the classes"], "--class-weights");
    let mixed = format!("{data}class_weights = 'balanced'\n");
    refuses(&mixed, &["--augment", "mixup"], &["`training.class_weights`", "--augment"], "--class-weights");
    refuses(
        &format!("{data}[rewriting]\nhead = {{classes = 2}}\n"),
        &[],
        &["`rewriting.head.classes` 2 does not fit", "--class-names"],
        "--classes",
    );
    refuses("", &[], &["the images are missing", "`data` in the configuration's table [training]"], "--data is missing");
    assert!(!lab.path("never").exists());
}
