//! The commands of docs/comparison.md are commands: every verb and every option of them is there, and those that need nothing run.

use crate::support::Lab;

const PAGE: &str = include_str!("../../docs/comparison.md");

/// `spgraph …` in backquotes, without the quotes.
fn commands() -> Vec<Vec<String>> {
    let quoted = PAGE.split('`').skip(1).step_by(2);
    quoted.filter_map(|text| text.strip_prefix("spgraph ")).map(|text| text.split(' ').map(String::from).collect()).collect()
}

#[test]
fn every_command_and_option_is_there() {
    let lab = Lab::new();
    let all = commands();
    assert!(all.len() >= 30, "{}", all.len());
    let help = |verb: &str| lab.run(&[verb, "--help"]).ok();
    let mut options = 0;
    for words in &all {
        if words[0].starts_with("--") || words[0] == "train" {
            continue;
        }
        let text = help(&words[0]);
        for option in words.iter().filter(|w| w.starts_with("--")) {
            options += 1;
            assert!(text.contains(&format!("{option} ")) || text.contains(&format!("{option}\n")), "{words:?}: no {option}");
        }
    }
    assert!(options > 30, "{options}");
}

#[test]
fn every_row_has_an_answer_and_a_command() {
    let table: Vec<Vec<&str>> =
        PAGE.lines().filter(|l| l.starts_with("| ")).map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect();
    let rows: Vec<&Vec<&str>> = table.iter().filter(|r| r.len() == 9 && r[0].contains(". ")).collect();
    assert_eq!(rows.len(), 30);
    for (i, row) in rows.iter().enumerate() {
        let number = (i + 1).to_string();
        assert!(row[0].starts_with(&format!("{number}. ")), "{row:?}");
        let shown = table.iter().find(|r| r.len() == 3 && r[0] == number).unwrap_or_else(|| panic!("nothing shows row {number}"));
        match row[8] {
            "yes" => assert!(shown[1].starts_with("`spgraph "), "{row:?}: {shown:?}"),
            "**no**" => assert!(shown[1].is_empty()),
            other => panic!("{other}"),
        }
        for other in &row[1..8] {
            assert!(
                ["yes", "no", "part", "?"].contains(&other.trim_end_matches(|c: char| !c.is_ascii_alphabetic() && c != '?')),
                "{row:?}"
            );
        }
    }
}

#[test]
fn those_that_need_nothing_run() {
    let lab = Lab::new();
    for args in [&["--version"][..], &["--help"], &["completions", "bash"]] {
        lab.run(args).ok();
    }
    let meant = lab.run(&["train", "model.onnx"]);
    assert!(meant.code == 2 && meant.err.contains("finetune"), "{meant:?}");
}
