//! The command line; everything it does is in the library.

// Unsafe code is in the modules that allow it by name, and nowhere else (docs/reliability.md).
#![cfg_attr(not(test), deny(unsafe_code))]
// Nothing that is read may end the process.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable, clippy::todo, clippy::unimplemented)
)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
