//! Progress of a run: a bar on a terminal, plain lines elsewhere, or JSON lines. No colours at all, so that NO_COLOR has
//! nothing to forbid.

use super::figures::{EpochSums, figures};
use super::flags::with_flags;
use super::output;
use super::rewrite_text;
use super::talk::{self, Log};
use console::Term;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};
use spgraph::artifact::Made;
use spgraph::report::on_one_line;
use spgraph::train::{EpochRecord, Outline, Progress, Record, Silent, StepRecord, ValidationRecord};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

/// Plain lines come this far apart.
const LINE_GAP: Duration = Duration::from_secs(5);
/// Steps whose figures are averaged.
const WINDOW: usize = 50;
/// Columns of the bar itself, and below how many columns in all there is none.
const BAR: usize = 20;
const NARROW: usize = 72;

/// The watcher of a run, for the way to log that was asked for.
pub fn watcher() -> Box<dyn Progress> {
    let log = match talk::log() {
        Log::Auto if can_draw() => Log::Bar,
        Log::Auto => Log::Lines,
        other => other,
    };
    match log {
        Log::Jsonl => Box::new(JsonLines),
        Log::None => Box::new(Silent),
        Log::Bar => Box::new(Display { bar: Some(bar()), ..Display::default() }),
        _ => Box::new(Display::default()),
    }
}

/// The bar of other work, where one is wanted.
fn wanted_bar() -> Option<ProgressBar> {
    let wanted = match talk::log() {
        Log::Auto => can_draw(),
        log => log == Log::Bar,
    };
    wanted.then(bar)
}

/// A terminal that can move its cursor: others would show one bar below the other.
fn can_draw() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of the terminal.
fn columns() -> usize {
    Term::stderr().size_checked().map_or(80, |(_, columns)| columns.into())
}

/// Columns that the bar leaves for figures.
fn room(bar: &ProgressBar) -> usize {
    let digits = |n: u64| n.to_string().len();
    let drawn = if columns() < NARROW { 0 } else { BAR + 1 };
    let (position, length) = (digits(bar.position()), digits(bar.length().unwrap_or(0)));
    // `12/600 ETA 3m `, of which the time takes up to seven signs.
    [drawn, position, length, "/".len(), " ETA ".len(), 7, 2].into_iter().fold(columns(), usize::saturating_sub)
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = if columns() < NARROW { "{pos}/{len} ETA {eta} {wide_msg}" } else { "{bar:20} {pos}/{len} ETA {eta} {wide_msg}" };
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
    bar
}

struct JsonLines;

impl JsonLines {
    fn push(record: &Record) {
        // The same lines are in metrics.jsonl: a reader who left is no reason to stop training.
        if let Ok(text) = serde_json::to_string(record) {
            let _ = output::print_bytes(format!("{text}\n").as_bytes());
        }
    }
}

impl Progress for JsonLines {
    fn step(&mut self, record: &StepRecord) {
        JsonLines::push(&Record::Step(record.clone()));
    }

    fn epoch(&mut self, record: &EpochRecord) {
        JsonLines::push(&Record::Epoch(record.clone()));
    }

    fn validation(&mut self, record: &ValidationRecord) {
        JsonLines::push(&Record::Validation(record.clone()));
    }

    fn note(&mut self, text: &str) {
        output::note(&format!("note: {text}"));
    }
}

/// For people.
#[derive(Default)]
struct Display {
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    recent: VecDeque<StepRecord>,
    started: Option<Instant>,
    last_line: Option<Instant>,
    /// Steps in an epoch.
    per_epoch: u64,
    epoch: EpochSums,
    /// Whether an epoch is at its end and not told yet.
    ended: bool,
    last_epoch: Option<Instant>,
}

impl Display {
    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    /// Means over the last steps, as many as fit beside the bar.
    fn figures(&self) -> String {
        figures(&self.recent, self.bar.as_ref().map(room))
    }

    /// The line of an epoch that was not validated.
    fn tell_epoch(&mut self, due: bool) {
        if std::mem::take(&mut self.ended) && due {
            self.last_epoch = Some(Instant::now());
            self.say(&self.epoch.text());
        }
    }

    fn remaining(&self, step: u64) -> Duration {
        let spent = self.started.map_or(0.0, |s| s.elapsed().as_secs_f64());
        let steps = step.saturating_sub(self.done).max(1) as f64;
        Duration::try_from_secs_f64(spent / steps * self.total.saturating_sub(step) as f64).unwrap_or_default()
    }
}

impl Progress for Display {
    fn checking(&mut self, done: usize, images: usize) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(images as u64);
                bar.set_position(done as u64);
                bar.set_message("images checked");
            }
            None if self.last_line.get_or_insert_with(Instant::now).elapsed() >= LINE_GAP => {
                self.last_line = Some(Instant::now());
                output::note(&format!("checked {done}/{images} images"));
            }
            None => {}
        }
    }

    fn start(&mut self, o: &Outline) {
        if let Some(bar) = &self.bar {
            bar.set_length(o.steps);
            bar.set_position(o.done);
            bar.reset_eta();
        }
        let validation = if o.validation > 0 { format!(", {} for validation", o.validation) } else { String::new() };
        let classes = if o.classes > 0 { format!(" of {} classes", o.classes) } else { String::new() };
        self.say(&format!("engine  {} ({})", o.engine, o.origin));
        self.say(&format!(
            "data    {} images{classes}{validation}; {} steps of {} images, {} per epoch",
            o.images, o.steps, o.batch, o.steps_per_epoch
        ));
        self.say(&format!("rate    {}", o.rate));
        if o.done > 0 {
            self.say(&format!("resume  after step {}", o.done));
        }
        (self.total, self.done, self.last_line) = (o.steps, o.done, None);
        self.per_epoch = o.steps_per_epoch as u64;
        self.started = Some(Instant::now());
    }

    fn step(&mut self, record: &StepRecord) {
        // Epochs that are over in no time are told now and then.
        self.tell_epoch(self.last_epoch.or(self.started).is_some_and(|at| at.elapsed() >= LINE_GAP));
        self.epoch.add(record);
        self.ended = record.step == self.total || (self.per_epoch > 0 && record.step.is_multiple_of(self.per_epoch));
        if self.recent.len() >= WINDOW {
            self.recent.pop_front();
        }
        self.recent.push_back(record.clone());
        match &self.bar {
            Some(bar) => {
                bar.set_position(record.step);
                bar.set_message(self.figures());
            }
            None => {
                let due = self.last_line.is_none_or(|at| at.elapsed() >= LINE_GAP);
                if due || record.step == self.total {
                    self.last_line = Some(Instant::now());
                    let left = HumanDuration(self.remaining(record.step));
                    output::note(&format!("step {}/{} {} ETA {left}", record.step, self.total, self.figures()));
                }
            }
        }
    }

    fn validation(&mut self, r: &ValidationRecord) {
        let best = if r.best { ", the best so far" } else { "" };
        let found = format!("validation loss {:.4} {}{best}", r.loss, r.headline());
        match std::mem::take(&mut self.ended) {
            true => self.say(&format!("{}; {found}", self.epoch.text())),
            // A run that goes on with a validation has not seen the epoch.
            false => self.say(&format!("epoch {}: {found}", r.epoch)),
        }
    }

    fn checkpoint(&mut self, step: u64, path: &Path) {
        self.say(&format!("checkpoint of step {step}: {}", path.display()));
    }

    fn rewritten(&mut self, made: &Made) {
        let text = with_flags(&rewrite_text::decisions(made));
        // Nobody reads it: no reason not to train.
        let _ = match &self.bar {
            Some(bar) => bar.suspend(|| output::print(&text)),
            None => output::print(&text),
        };
    }

    fn testing(&mut self, done: usize, images: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(images as u64);
            bar.set_position(done as u64);
            bar.set_message("test images");
        }
    }

    fn note(&mut self, text: &str) {
        self.say(&format!("note: {}", on_one_line(text)));
    }

    fn finish(&mut self) {
        self.tell_epoch(true);
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Counts images of an evaluation, on a terminal only.
pub struct Counter {
    bar: Option<ProgressBar>,
}

impl Counter {
    pub fn new(what: &'static str) -> Counter {
        let bar = wanted_bar();
        if let Some(bar) = &bar {
            bar.set_message(what);
        }
        Counter { bar }
    }

    /// A line of its own.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    pub fn at(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    pub fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How far some work is: a bar on a terminal, a line every few seconds elsewhere.
pub struct Meter {
    bar: Option<ProgressBar>,
    done: u64,
    total: u64,
    started: Instant,
    last_line: Option<Instant>,
}

impl Meter {
    pub fn new() -> Meter {
        Meter { bar: wanted_bar(), done: 0, total: 0, started: Instant::now(), last_line: None }
    }

    /// A line of its own.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output::note(text)),
            None => output::note(text),
        }
    }

    /// The work begins; so much of `total` was done before.
    pub fn start(&mut self, done: u64, total: u64) {
        (self.done, self.total, self.started) = (done, total, Instant::now());
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.reset_eta();
        }
    }

    pub fn at(&mut self, position: u64, unit: &str, figures: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(position);
                bar.set_message(figures.to_string());
            }
            None if position == self.total || self.last_line.is_none_or(|at| at.elapsed() >= LINE_GAP) => {
                self.last_line = Some(Instant::now());
                let each = self.started.elapsed().as_secs_f64() / position.saturating_sub(self.done).max(1) as f64;
                let left = Duration::try_from_secs_f64(each * self.total.saturating_sub(position) as f64).unwrap_or_default();
                output::note(&format!("{unit} {position}/{} {figures} ETA {}", self.total, HumanDuration(left)));
            }
            None => {}
        }
    }

    pub fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
