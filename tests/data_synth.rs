//! The synthetic tasks: deterministic, disjoint between seeds, safe to write.

use spgraph::data::ImageFolder;
use spgraph::data::synth::{SynthOptions, Task, render, write};
use spgraph::{Error, data::load_image};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

/// Relative path → content.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let folder = ImageFolder::open(dir, None).unwrap();
    let relative = |p: &Path| p.strip_prefix(dir).unwrap().to_str().unwrap().to_string();
    folder.samples().map(|s| (relative(&s.path), std::fs::read(&s.path).unwrap())).collect()
}

#[test]
fn equal_options_give_equal_files() {
    let dir = tempfile::tempdir().unwrap();
    for task in Task::ALL {
        let options = SynthOptions::new(task, 3, 11);
        let summary = write(&options, &dir.path().join(task.name()).join("one")).unwrap();
        write(&options, &dir.path().join(task.name()).join("two")).unwrap();
        let one = files(&summary.dir);
        assert_eq!(one, files(&dir.path().join(task.name()).join("two")));
        assert_eq!((summary.images, summary.bytes), (one.len(), one.values().map(|f| f.len() as u64).sum()));
        let folder = ImageFolder::open(&summary.dir, None).unwrap();
        assert_eq!(folder.classes(), summary.classes);
        assert_eq!(folder.classes(), task.classes());
        assert_eq!(folder.class_counts(), vec![3; task.classes().len()]);
        let image = load_image(&folder.path(4).unwrap()).unwrap();
        assert_eq!(image, render(&options, 1, 1).unwrap(), "files hold what `render` gives");
        assert_eq!(image.dimensions(), (32, 32));
        let leftovers: Vec<_> = std::fs::read_dir(dir.path().join(task.name())).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(leftovers.len(), 2, "{leftovers:?}");
    }
}

#[test]
fn no_two_images_are_alike() {
    let mut seen = HashSet::new();
    let mut count = 0;
    for task in Task::ALL {
        for seed in 0..3 {
            let options = SynthOptions { noise: 0.0, ..SynthOptions::new(task, 1, seed) };
            for class in 0..task.classes().len() {
                for index in 0..5 {
                    seen.insert(render(&options, class, index).unwrap().into_raw());
                    count += 1;
                }
            }
        }
    }
    assert_eq!(seen.len(), count);
    assert!(render(&SynthOptions::new(Task::TargetA, 1, 0), 6, 0).is_none());
}

#[test]
fn size_and_noise_do_what_they_say() {
    let roughness = |size, noise| {
        let image = render(&SynthOptions { size, noise, ..SynthOptions::new(Task::Source, 1, 3) }, 2, 0).unwrap();
        assert_eq!(image.dimensions(), (size, size));
        let steps: Vec<f32> = image
            .rows()
            .flat_map(|r| r.collect::<Vec<_>>().windows(2).map(|w| w[0][0].abs_diff(w[1][0]) as f32).collect::<Vec<_>>())
            .collect();
        steps.iter().sum::<f32>() / steps.len() as f32
    };
    assert!(roughness(32, 0.2) > 2.0 * roughness(32, 0.0));
    assert!(roughness(32, 0.0) > 1.5 * roughness(128, 0.0));
}

#[test]
fn nothing_is_overwritten_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let mut options = SynthOptions::new(Task::TargetA, 1, 1);
    write(&options, &out).unwrap();
    options.seed = 2;
    let text = write(&options, &out).unwrap_err().to_string();
    assert!(text.contains("not empty") && text.contains(&spgraph::Field::FORCE.to_string()), "{text}");
    assert!(files(&out).keys().all(|name| name.contains("-s1-")));
    options.force = true;
    write(&options, &out).unwrap();
    assert!(files(&out).keys().all(|name| name.contains("-s2-")), "replaced, not mixed");
    // What spgraph didn't make is safe even from force.
    std::fs::write(out.join("thesis.txt"), b"years of work").unwrap();
    let text = write(&options, &out).unwrap_err().to_string();
    assert!(text.contains("thesis.txt"), "{text}");
    assert!(out.join("thesis.txt").exists());
}

#[test]
fn options_out_of_range_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = SynthOptions::new(Task::Source, 1, 1);
    for bad in [
        SynthOptions { per_class: 0, ..base.clone() },
        SynthOptions { size: 4, ..base.clone() },
        SynthOptions { size: 100_000, ..base.clone() },
        SynthOptions { noise: -1.0, ..base.clone() },
        SynthOptions { noise: f32::NAN, ..base.clone() },
    ] {
        assert!(matches!(write(&bad, &dir.path().join("x")), Err(Error::Usage(_))), "{bad:?}");
    }
    assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    assert_eq!("target-b".parse::<Task>().unwrap(), Task::TargetB);
    assert!("targetb".parse::<Task>().unwrap_err().to_string().contains("source, target-a, target-b"));
}
