//! The option for the threads that load images, the same in every subcommand that does.

#[derive(clap::Args)]
#[command(next_help_heading = "Engine")]
pub struct Workers {
    /// Threads that load images [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1024))]
    workers: Option<u16>,
}

impl Workers {
    /// What was given.
    pub fn given(&self) -> Option<usize> {
        self.workers.map(usize::from)
    }

    /// 0 for one per core.
    pub fn count(&self) -> usize {
        self.given().unwrap_or(0)
    }
}
