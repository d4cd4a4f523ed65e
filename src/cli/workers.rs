//! The option for the threads that load images, the same in every subcommand that does.

#[derive(clap::Args)]
#[command(next_help_heading = "Engine")]
pub struct Workers {
    /// Threads that load images [default: one per core]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u16).range(0..=1024))]
    workers: u16,
}

impl Workers {
    /// 0 for one per core.
    pub fn count(&self) -> usize {
        self.workers.into()
    }
}
