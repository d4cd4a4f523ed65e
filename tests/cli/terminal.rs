//! What a terminal shows, however narrow it is.

use crate::finetune::train;
use crate::support::{Lab, shared};
use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};

/// What a command writes to a terminal of so many columns, and its exit code.
fn in_terminal(lab: &Lab, columns: u16, args: &[&str]) -> (String, i32) {
    let (mut master, mut slave) = (0, 0);
    let size = libc::winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: two numbers that are written to, no name, no settings, and a size that is read.
    let made = unsafe { libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are open and belong to nobody else.
    let (mut master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    let mut command = lab.command(args);
    command.env("TERM", "xterm").env_remove("COLUMNS").env_remove("NO_COLOR");
    command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut child = command.spawn().unwrap();
    // It holds the other end, by which the reading would not come to an end.
    drop(command);
    let (mut said, mut part) = (vec![], [0; 4096]);
    // Linux says that nobody is left by an error.
    while let Ok(n @ 1..) = master.read(&mut part) {
        said.extend(&part[..n]);
    }
    (String::from_utf8(said).unwrap(), child.wait().unwrap().code().unwrap())
}

/// What stands between two moves to the beginning of a line, without orders.
fn pieces(said: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = said.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                // `ESC [ … letter`: some other line, or the same anew.
                let _ = rest.by_ref().find(char::is_ascii_alphabetic);
                text.push('\n');
            }
            '\r' => text.push('\n'),
            c => text.push(c),
        }
    }
    text.lines().map(String::from).filter(|line| !line.trim().is_empty()).collect()
}

/// A bar that is longer than a line would stay behind as often as it is drawn.
#[test]
fn a_bar_has_one_line_in_any_width() {
    let lab = Lab::new();
    for columns in [20, 40, 71, 72, 80, 200] {
        let run = format!("run{columns}");
        let (said, code) = in_terminal(&lab, columns, &train("tract", &run, &["--steps", "40", "--val-split", "0.25"]));
        assert_eq!(code, 0, "{said}");
        let pieces = pieces(&said);
        let bars: Vec<&String> = pieces.iter().filter(|piece| piece.contains("/40 ETA ")).collect();
        assert!(bars.len() > 2, "{columns}: {said}");
        for bar in &bars {
            assert!(bar.trim_end().chars().count() <= usize::from(columns), "{columns}: {bar}");
        }
        // What fits is told, and the loss is what goes last.
        let told = |what: &str| bars.iter().any(|bar| bar.contains(what));
        let due: &[(&str, u16)] = &[("loss ", 40), ("accuracy", 71), ("lr ", 200), ("=>", 72)];
        for (what, from) in due {
            assert_eq!(told(what), columns >= *from, "{columns}, {what}: {bars:?}");
        }
        assert!(pieces.iter().any(|piece| piece.starts_with("wrote")), "{said}");
    }
}

/// Help is broken between words, never within one, and fits where its words do.
#[test]
fn help_fits_into_forty_columns() {
    let lab = Lab::new();
    for args in [&["--help"][..], &["finetune", "-h"], &["rewrite", "--help"], &["eval", "--help"], &["help", "predict"]] {
        let (said, code) = in_terminal(&lab, 40, args);
        assert_eq!(code, 0);
        for line in pieces(&said) {
            let words = line.split_whitespace().count();
            assert!(line.trim_end().chars().count() <= 40 || words <= 2, "{args:?}: {line}");
        }
    }
    let (said, code) = in_terminal(&lab, 40, &["data", &shared().images]);
    assert!(code == 0 && said.contains("bricks"), "{said}");
}
