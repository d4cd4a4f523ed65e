//! The machine that engines run on: processor, memory, graphics cards. Learned by reading, nothing is run.

use super::native;
use crate::storage::machine::{self, value_of};
use serde::Serialize;

/// What a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Machine {
    /// The processor's name for itself; `None` where the system does not tell.
    pub processor: Option<String>,
    /// `x86_64`, `aarch64`, …
    pub architecture: &'static str,
    /// Threads that run at the same time, of this process.
    pub threads: usize,
    /// Instructions that the native kernels can use, the best last.
    pub instructions: Vec<&'static str>,
    /// Bytes of memory; `None` where the system does not tell.
    pub memory: Option<u64>,
    /// Bytes that this process can still take without swapping, with the limit of its control group.
    pub memory_available: Option<u64>,
    /// What the NVIDIA driver calls its version, where it is loaded.
    pub nvidia_driver: Option<String>,
    /// The graphics cards that it drives.
    pub nvidia_cards: Vec<String>,
}

impl Machine {
    /// This one.
    pub fn this() -> Machine {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine {
            processor: value_of(&info, "model name").map(str::to_string),
            architecture: std::env::consts::ARCH,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            instructions: native::Isa::available().iter().map(|isa| isa.keyword()).collect(),
            memory: machine::memory(),
            memory_available: machine::memory_available(),
            nvidia_driver: nvidia_driver(),
            nvidia_cards: nvidia_cards(),
        }
    }
}

fn nvidia_driver() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let line = text.lines().next()?.strip_prefix("NVRM version:")?.trim().to_string();
    let version = line.split_whitespace().find(|w| w.contains('.') && w.split('.').all(|n| n.parse::<u32>().is_ok()));
    Some(version.map_or(line.clone(), str::to_string))
}

fn nvidia_cards() -> Vec<String> {
    let Ok(cards) = std::fs::read_dir("/proc/driver/nvidia/gpus") else { return vec![] };
    let mut names: Vec<String> = cards
        .filter_map(|card| {
            let text = std::fs::read_to_string(card.ok()?.path().join("information")).ok()?;
            value_of(&text, "Model").map(str::to_string)
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_a_processor_and_memory() {
        let machine = Machine::this();
        assert!(machine.threads > 0 && machine.instructions.first() == Some(&"portable"));
        assert!(machine.memory_available.unwrap() <= machine.memory.unwrap());
    }
}
