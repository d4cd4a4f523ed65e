//! What a run leaves for people and for other programs: a table, TensorBoard's events, a page.

use crate::finetune::{metrics, train};
use crate::support::{Lab, Outcome, names, shared};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Records of an event file: TensorFlow's framing, with both checksums looked at.
fn framed(data: &[u8]) -> Vec<&[u8]> {
    let masked = |data: &[u8]| crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8);
    let word = |data: &[u8]| u32::from_le_bytes(data.try_into().unwrap());
    let (mut rest, mut found) = (data, vec![]);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(word(&rest[8..12]), masked(&rest[..8]));
        let (data, end) = (&rest[12..12 + length], 12 + length);
        assert_eq!(word(&rest[end..end + 4]), masked(data));
        found.push(data);
        rest = &rest[end + 4..];
    }
    found
}

/// The fields of a protobuf message by number: numbers as their bits, the rest as bytes.
fn fields(mut data: &[u8]) -> Vec<(u64, u64, &[u8])> {
    fn varint(data: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = data[0];
            *data = &data[1..];
            value |= u64::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                return value;
            }
        }
    }
    let mut found = vec![];
    while !data.is_empty() {
        let key = varint(&mut data);
        let (value, bytes) = match key & 7 {
            0 => (varint(&mut data), &data[..0]),
            wide @ (1 | 5) => {
                let size = if wide == 1 { 8 } else { 4 };
                let mut word = [0; 8];
                word[..size].copy_from_slice(&data[..size]);
                data = &data[size..];
                (u64::from_le_bytes(word), &data[..0])
            }
            _ => {
                let length = varint(&mut data) as usize;
                let bytes = &data[..length];
                data = &data[length..];
                (0, bytes)
            }
        };
        found.push((key >> 3, value, bytes));
    }
    found
}

/// (step, tag) → value of an event file, whose times never go back.
fn scalars(path: &Path) -> BTreeMap<(u64, String), f32> {
    let data = std::fs::read(path).unwrap();
    let mut found = BTreeMap::new();
    let mut before = 0.0;
    for (i, record) in framed(&data).into_iter().enumerate() {
        let event = fields(record);
        let time = f64::from_bits(event.iter().find(|f| f.0 == 1).unwrap().1);
        assert!(time >= before && time > 1.7e9, "{time} after {before}");
        before = time;
        let step = event.iter().find(|f| f.0 == 2).map_or(0, |f| f.1);
        if i == 0 {
            assert_eq!(event.iter().find(|f| f.0 == 3).unwrap().2, b"brain.Event:2");
        }
        for (_, _, summary) in event.iter().filter(|f| f.0 == 5) {
            for (_, _, value) in fields(summary) {
                let value = fields(value);
                let tag = String::from_utf8(value.iter().find(|f| f.0 == 1).unwrap().2.to_vec()).unwrap();
                let number = f32::from_bits(value.iter().find(|f| f.0 == 2).unwrap().1 as u32);
                assert!(found.insert((step, tag.clone()), number).is_none(), "{tag} twice at step {step}");
            }
        }
    }
    found
}

/// The table and the events say what the lines say.
pub fn agree(run: &Path) {
    let lines = metrics(run);
    let mut table = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let heads: Vec<String> = table.headers().unwrap().iter().map(String::from).collect();
    let rows: Vec<csv::StringRecord> = table.records().map(|r| r.unwrap()).collect();
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.iter().zip(&lines) {
        for (name, value) in line["measure"].as_object().into_iter().flatten() {
            let column = heads.iter().position(|head| head == name).unwrap();
            assert_eq!(row[column].parse::<f64>().unwrap(), value.as_f64().unwrap());
        }
        for (head, cell) in heads.iter().zip(row) {
            match &line[head] {
                Value::Null if head == "accuracy" && line["correct"].is_u64() => {
                    let share = line["correct"].as_f64().unwrap() / line["images"].as_f64().unwrap();
                    assert_eq!(cell.parse::<f64>().unwrap(), share);
                }
                Value::Null if line["measure"].get(head).is_some() => {}
                Value::Null => assert_eq!(cell, "", "{head}"),
                Value::String(text) => assert_eq!(cell, text),
                Value::Object(parts) => assert_eq!(cell.parse::<f64>().unwrap(), parts["relative"].as_f64().unwrap()),
                Value::Bool(yes) => assert_eq!(cell, yes.to_string()),
                number => assert_eq!(cell.parse::<f64>().unwrap(), number.as_f64().unwrap(), "{head}"),
            }
        }
    }
    let events = scalars(&run.join("events.out.tfevents.spgraph"));
    let mut expected = 0;
    for line in &lines {
        let group = if line["kind"] == "step" { "train" } else { line["kind"].as_str().unwrap() };
        for key in ["loss", "data_loss", "penalty", "lr"] {
            if let Some(value) = line[key].as_f64() {
                assert_eq!(events[&(line["step"].as_u64().unwrap(), format!("{group}/{key}"))], value as f32);
                expected += 1;
            }
        }
        for (name, value) in line["measure"].as_object().into_iter().flatten() {
            assert_eq!(events[&(line["step"].as_u64().unwrap(), format!("{group}/{name}"))], value.as_f64().unwrap() as f32);
            expected += 1;
        }
        expected += usize::from(line["distance"].is_object()) + usize::from(line["accuracy"].is_f64() || line["correct"].is_u64());
    }
    assert_eq!(events.len(), expected, "there is one accuracy for each line that knows it, and nothing else");
}

#[test]
fn a_table_and_events_say_what_the_lines_say_also_after_a_resumption() {
    let lab = Lab::new();
    let run = lab.path("run");
    let length = ["--epochs", "60", "--val-split", "0.25", "--checkpoint-every", "7", "--log", "none"];
    let mut child = lab.command(&train("tract", "run", &length)).spawn().unwrap();
    while std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count()) < 40 {
        assert!(child.try_wait().unwrap().is_none(), "the run ended too early");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    lab.run(&["finetune", "--resume", "-o", "run", "--log", "none"]).ok();
    agree(&run);
    assert!(metrics(&run).len() > 300);
}

/// A library that moves the clock of the day by so many seconds whenever it is read, and leaves the one that counts on alone.
#[cfg(target_os = "linux")]
fn moving_clock(lab: &Lab, by: i64) -> std::path::PathBuf {
    let clock = "#define _GNU_SOURCE\n#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n\
        int clock_gettime(clockid_t id, struct timespec *t) {\n\
            static long asked;\n\
            int code = syscall(SYS_clock_gettime, id, t);\n\
            if (id == CLOCK_REALTIME) t->tv_sec += BY * __sync_add_and_fetch(&asked, 1);\n\
            return code;\n}\n";
    lab.write("clock.c", clock);
    let by = format!("-DBY=({by}L)");
    let made =
        std::process::Command::new("cc").args([&by, "-shared", "-fPIC", "-o", "clock.so", "clock.c"]).current_dir(lab.0.path()).status();
    assert!(made.unwrap().success());
    lab.path("clock.so")
}

/// Whoever sets the clock back turns no time around: here it loses an hour whenever it is read.
#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_goes_back_is_no_clock_of_a_run() {
    let lab = Lab::new();
    let clock = moving_clock(&lab, -3600);
    let more = ["--epochs", "3", "--val-split", "0.25", "--log", "lines"];
    let run = lab.command(&train("tract", "run", &more)).env("LD_PRELOAD", &clock).output().unwrap();
    let said = Outcome::of(run);
    assert!(said.err.contains("ETA") && !said.err.contains("year"), "{}", said.err);
    said.ok();
    let resumed = lab.command(&["finetune", "--resume", "-o", "run", "--epochs", "+1"]).env("LD_PRELOAD", &clock).output().unwrap();
    Outcome::of(resumed).ok();
    agree(&lab.path("run"));
    let seconds = metrics(&lab.path("run")).iter().filter_map(|line| line["seconds"].as_f64()).collect::<Vec<_>>();
    assert!(seconds.len() > 20 && seconds.iter().all(|&s| (0.0..600.0).contains(&s)), "{seconds:?}");
}

/// What counts on stands still while a machine sleeps, and TensorBoard shows when something was: here each look at the clock is an hour later.
#[cfg(target_os = "linux")]
#[test]
fn events_are_of_the_time_of_day_after_a_sleep() {
    let lab = Lab::new();
    let clock = moving_clock(&lab, 3600);
    let run = lab.command(&train("tract", "run", &["--epochs", "3", "--log", "none"])).env("LD_PRELOAD", &clock).output().unwrap();
    Outcome::of(run).ok();
    agree(&lab.path("run"));
    let data = std::fs::read(lab.path("run/events.out.tfevents.spgraph")).unwrap();
    let time = |record: &[u8]| f64::from_bits(fields(record).iter().find(|f| f.0 == 1).unwrap().1);
    let times: Vec<f64> = framed(&data).into_iter().map(time).collect();
    assert!(times.len() > 5 && times.windows(2).skip(1).all(|pair| pair[1] - pair[0] > 3000.0), "{times:?}");
}

#[test]
fn a_run_has_a_page_that_can_be_made_again() {
    let lab = Lab::new();
    let s = shared();
    let more = ["--epochs", "3", "--val-split", "0.25", "--lr", "0.001"];
    let out = lab.run(&train("ort", "run", &more)).ok();
    assert!(out.contains("run/report.html"), "{out}");
    let read = || std::fs::read_to_string(lab.path("run/report.html")).unwrap();
    let page = read();
    for part in [
        "<h1>Run run</h1>",
        "Loss over the steps",
        "Confusion matrix of 6 images",
        "Reliability diagram",
        "Precision, recall and F1",
        "spgraph eval run",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    let wrong = serde_json::from_str::<Value>(&std::fs::read_to_string(lab.path("run/evaluation.json")).unwrap()).unwrap();
    let mistakes = wrong["mistakes"].as_array().unwrap().len();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), mistakes);
    std::fs::remove_file(lab.path("run/report.html")).unwrap();
    let start = std::time::Instant::now();
    lab.run(&["report", "run"]).ok();
    assert!(start.elapsed().as_secs_f64() < 5.0, "without optimisation, too");
    assert_eq!(read(), page);
    // With other images.
    lab.run(&["report", "run", "--data", &s.images, "--engine", "tract"]).ok();
    assert!(read().contains("Confusion matrix of 24 images"));
    // A run without held-out images has one, too, and says what it cannot tell.
    lab.run(&["report", &s.run]).ok();
    let page = std::fs::read_to_string(Path::new(&s.run).join("report.html")).unwrap();
    assert!(page.contains("No images were held out") && !page.contains("Reliability"));
    assert_ne!(lab.run(&["report", &s.images]).code, 0, "neither a run nor results");
    assert!(names(&lab.path("run")).iter().all(|name| !name.starts_with(".spgraph")));
}

#[test]
fn classes_with_names_of_markup_stay_text() {
    let lab = Lab::new();
    let s = shared();
    let bad = "<script>alert(1)<&script>";
    for (class, as_is) in [(bad, false), ("cells", true), ("plaid", true)] {
        let from = Path::new(&s.images).join(if as_is { class } else { "bricks" });
        for name in names(&from) {
            lab.write(&format!("images/{class}/{name}"), std::fs::read(from.join(&name)).unwrap());
        }
    }
    let data = lab.path("images").display().to_string();
    lab.run(&["finetune", &s.bundle, "--data", &data, "--epochs", "1", "--val-split", "0.5", "--engine", "tract", "-o", "run"]).ok();
    let page = std::fs::read_to_string(lab.path("run/report.html")).unwrap();
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)"));
}
