//! Names that are hostile or merely odd: in what is printed they are text, in commands that are printed they are one word, and what a program reads has them
//! as they are.

use crate::support::{Lab, Outcome, shared};
use std::process::Command;

fn images(lab: &Lab, root: &str, classes: &[&str]) {
    for (k, class) in classes.iter().enumerate() {
        for i in 0..3u8 {
            let path = lab.path(&format!("{root}/{class}/{i}.png"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image::RgbImage::from_pixel(16, 16, image::Rgb([60 * k as u8, i * 40, 9])).save(path).unwrap();
        }
    }
}

/// Every command that a summary prints can be copied, whatever the folder is called.
#[test]
fn printed_commands_take_odd_folders_for_one_word() {
    let lab = Lab::new();
    images(&lab, "my photos", &["a", "b", "c"]);
    std::fs::copy(&shared().model, lab.path("my model.onnx")).unwrap();
    let path = format!("{}:{}", std::path::Path::new(crate::support::BINARY).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut pasted = 0;
    let mut paste = |text: &str| {
        // The commands of a block begin with `next`, and go on below it.
        let command =
            |l: &str| l.find("spgraph ").map(|at| l[at..].to_string()).filter(|l| l["spgraph ".len()..].starts_with(char::is_alphabetic));
        for line in text.lines().filter_map(command).filter(|l| !l.contains("--epochs +5")) {
            let line = line.split("  ").next().unwrap().replace("FOLDER", "'my photos'").replace("IMAGE", "'my photos/a/0.png'");
            let line = line.replace(" --epochs 10", "").replace("--classes N", "--classes 3").replace(" RUN", " 'a run'");
            let trains = line.starts_with("spgraph finetune") && !line.contains("--config");
            let line = if trains { format!("{line} --steps 1 --batch 4") } else { line };
            let line = if line.contains(" -o ") || line.contains("config.toml") { format!("{line} --force") } else { line };
            let outcome =
                Outcome::of(Command::new("sh").args(["-ec", &line]).current_dir(lab.0.path()).env("PATH", &path).output().unwrap());
            assert_eq!(outcome.code, 0, "{line}: {}", outcome.err);
            pasted += 1;
        }
    };
    paste(&lab.run(&["rewrite", "my model.onnx", "--batch", "4", "-o", "my bundle"]).ok());
    let args = ["finetune", "my bundle", "--data", "my photos", "--steps", "2", "--engine", "tract"];
    paste(&lab.run(&[&args[..], &["-o", "it's a run"]].concat()).ok());
    paste(&lab.run(&["inspect", "it's a run"]).ok());
    paste(&lab.run(&["inspect", "my model.onnx"]).ok());
    assert!(pasted >= 8, "{pasted}");
}

/// A class's name cannot give orders to the terminal, break a table's line or rearrange it; JSON has it to the letter.
#[cfg(unix)]
#[test]
fn names_give_no_orders_to_a_terminal() {
    let lab = Lab::new();
    let name = "red\u{1b}[31m\nnote: all is well\u{202e}x";
    images(&lab, "photos", &["a", name]);
    let table = lab.run(&["data", "photos"]).ok();
    assert!(table.contains("red\\u{1b}[31m\\nnote: all is well\\u{202e}x") && !table.contains(['\u{1b}', '\u{202e}']), "{table}");
    let args = ["finetune", &shared().model, "--data", "photos", "--steps", "1", "--batch", "2", "--engine", "tract", "-o", "named"];
    let said = lab.run(&args).ok();
    assert!(said.contains("classes     a, red\\u{1b}[31m\\nnote: all") && !said.contains(['\u{1b}', '\u{202e}']), "{said}");
    let json = lab.run(&["data", "photos", "--json"]).json();
    assert_eq!(json["classes"][1], name);
    std::fs::write(lab.path(&format!("photos/{name}/bad.png")), b"no image").unwrap();
    let outcome = lab.run(&["finetune", &shared().model, "--data", "photos", "--steps", "1", "--engine", "tract", "-o", "run"]);
    outcome.refused(1, &["red\\u{1b}[31m"]);
    assert!(!lab.run(&["predict", &shared().model, &format!("photos/{name}")]).err.contains(['\u{1b}', '\u{202e}']));
}

/// `--quiet` prints the path for a program: its bytes.
#[cfg(target_os = "linux")]
#[test]
fn quiet_prints_the_path_to_the_byte() {
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9.spgraph");
    let mut command = lab.command(&["rewrite", &shared().model, "--batch", "4", "--quiet", "-o"]);
    let output = command.arg(name).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"caf\xe9.spgraph\n");
}

/// That the system does not let one look is not "does not exist"; a link that leads nowhere says where it leads.
#[cfg(unix)]
#[test]
fn what_cannot_be_looked_at_is_not_missing() {
    use std::os::unix::fs::symlink;
    let lab = Lab::new();
    symlink("loop", lab.path("loop")).unwrap();
    symlink("gone", lab.path("link")).unwrap();
    let (model, images) = (&shared().model, &shared().images);
    let commands: [&[&str]; 9] = [
        &["inspect", "IT"],
        &["eval", "IT", "--data", images],
        &["predict", "IT", "x.png"],
        &["finetune", "IT", "--data", images],
        &["finetune", model, "--data", "IT"],
        &["data", "IT"],
        &["eval", model, "--data", "IT"],
        &["export", "IT", "-o", "x.onnx"],
        &["report", "IT"],
    ];
    for command in commands {
        for (it, parts) in [("loop", &["loop", "symbolic link"][..]), ("link", &["link is a link to gone, which does not exist"])] {
            // What is asked for one kind of thing is opened at once, and the system's reason is told.
            if it == "link" && ["inspect", "report"].contains(&command[0]) {
                continue;
            }
            let args: Vec<&str> = command.iter().map(|word| if *word == "IT" { it } else { word }).collect();
            lab.refuses(&args, 1, parts);
        }
    }
}

/// What is named after something else has a name that file systems take.
#[test]
fn names_of_long_names_fit() {
    let lab = Lab::new();
    let stem = "é".repeat(125);
    let model = format!("{stem}.onnx");
    std::fs::copy(&shared().model, lab.path(&model)).unwrap();
    images(&lab, &"photos-".repeat(35), &["a", "b", "c"]);
    let wrote = lab.run(&["rewrite", &model, "--batch", "4", "--quiet"]).ok();
    let (bundle, said) = (wrote.trim_end(), lab.run(&["inspect", &model]).ok());
    assert!(bundle.ends_with(".spgraph") && bundle.len() <= 255 && lab.path(bundle).is_dir(), "{bundle}");
    assert!(said.contains(&format!("-o '{bundle}'\n")), "{bundle} in {said}");
    lab.run(&["rewrite", &model, "--artifact", "single"]).ok();
    let args = ["finetune", &model, "--data", &"photos-".repeat(35), "--steps", "1", "--batch", "4", "--engine", "tract"];
    lab.run(&args).ok();
    lab.run(&args).ok();
    let runs = crate::support::names(&lab.path("runs"));
    assert!(runs.len() == 2 && runs.iter().all(|name| name.len() <= 255) && runs.iter().any(|name| name.ends_with("-2")), "{runs:?}");
}

/// A run, its images, its bundle and its model in folders whose names are no text.
#[cfg(target_os = "linux")]
#[test]
fn runs_in_folders_that_are_no_text() {
    use std::ffi::{OsStr, OsString};
    use std::os::unix::ffi::OsStrExt;
    let lab = Lab::new();
    let odd = |text: &str| OsString::from(OsStr::from_bytes(&[text.as_bytes(), b"\xff"].concat()));
    images(&lab, "photos", &["a", "b", "c"]);
    std::fs::rename(lab.path("photos"), lab.0.path().join(odd("photos"))).unwrap();
    std::fs::copy(&shared().model, lab.0.path().join(odd("model"))).unwrap();
    let run = |args: &[&str]| {
        let args = args.iter().map(|arg| arg.strip_prefix('@').map_or(OsString::from(arg), odd));
        Outcome::of(lab.command(&[]).args(args).output().unwrap())
    };
    run(&["finetune", "@model", "--data", "@photos", "--steps", "1", "--batch", "4", "--engine", "ort", "-o", "@run"]).ok();
    run(&["finetune", "--resume", "-o", "@run", "--steps", "+1"]).ok();
    run(&["inspect", "@run", "--json"]).ok();
    let again = odd("run").as_bytes().iter().copied().chain(*b"/config.toml").collect::<Vec<u8>>();
    let mut command = lab.command(&["finetune", "-o", "again", "--config"]);
    Outcome::of(command.arg(OsStr::from_bytes(&again)).output().unwrap()).ok();
    let state = |run: OsString| std::fs::read(lab.0.path().join(run).join("tuned.onnx")).unwrap();
    assert!(state(odd("run")) == state("again".into()));
    let found = run(&["predict", "@run", "@photos", "--json", "-", "--engine", "ort"]).json();
    assert_eq!(found.as_array().unwrap().len(), 9);
}
