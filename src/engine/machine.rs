//! The machine that engines run on: processor, memory, graphics cards. Learned by reading, nothing is run.

use super::native;
use serde::Serialize;
use std::path::Path;

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
            memory: meminfo("MemTotal"),
            memory_available: memory_available(),
            nvidia_driver: nvidia_driver(),
            nvidia_cards: nvidia_cards(),
        }
    }
}

/// Bytes that this process can still take without swapping: the machine's, or what its control group leaves. `None` where the system does
/// not tell.
pub fn memory_available() -> Option<u64> {
    let group = group_memory();
    match (meminfo("MemAvailable"), group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}

fn meminfo(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    value_of(&text, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What the control group's limit leaves, its cache, which can be given up, not counted.
fn group_memory() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|l| l.strip_prefix("0::/"))?;
    let dir = Path::new("/sys/fs/cgroup").join(path);
    let number = |name: &str| std::fs::read_to_string(dir.join(name)).ok()?.trim().parse::<u64>().ok();
    let cache = std::fs::read_to_string(dir.join("memory.stat")).ok();
    let cache = cache.as_deref().and_then(|text| text.lines().find_map(|l| l.strip_prefix("inactive_file "))?.parse::<u64>().ok());
    Some(number("memory.max")?.saturating_sub(number("memory.current")?.saturating_sub(cache.unwrap_or(0))))
}

/// Behind `name:` on a line of its own.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|l| l.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
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
    fn values_are_found_by_their_whole_name() {
        let text = "MemTotal:  24 kB\nSwapTotal: 1 kB\nModel:  Card 1\nmodel name\t: Processor X\n";
        assert_eq!(value_of(text, "MemTotal"), Some("24 kB"));
        assert_eq!(value_of(text, "model name"), Some("Processor X"));
        assert_eq!(value_of(text, "Total"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_a_processor_and_memory() {
        let machine = Machine::this();
        assert!(machine.threads > 0 && machine.instructions.first() == Some(&"portable"));
        assert!(machine.memory_available.unwrap() <= machine.memory.unwrap());
    }
}
