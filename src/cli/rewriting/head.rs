//! What becomes of the classifier.

use spgraph::bundle::{HeadOption, Options};
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(next_help_heading = "Head")]
pub struct HeadArgs {
    /// Replace the classifier by a new one for so many classes
    #[arg(long, value_name = "N", conflicts_with = "head")]
    pub classes: Option<usize>,
    /// `keep` trains the classifier that is there
    #[arg(long, value_parser = ["keep"])]
    pub head: Option<String>,
    /// Put the new head behind the features that the network ends with, pooled and flattened where needed, instead of in the place of a head
    #[arg(long)]
    add_head: bool,
    /// Start rows of a new head as copies of the old one's: lines of `new class = old class`, as names or numbers
    #[arg(long, value_name = "FILE")]
    head_map: Option<PathBuf>,
}

impl HeadArgs {
    /// Whether they say what becomes of the head.
    pub fn given(&self) -> bool {
        self.classes.is_some() || self.head.is_some()
    }

    pub fn set(&self, options: &mut Options) {
        if let Some(classes) = self.classes {
            options.head = HeadOption::Classes(classes);
        }
        if self.head.is_some() {
            options.head = HeadOption::Keep;
        }
        options.add_head |= self.add_head;
        if self.head_map.is_some() {
            options.head_map = self.head_map.clone();
        }
    }
}
