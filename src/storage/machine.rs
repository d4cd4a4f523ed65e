//! What the machine has.

use std::fs;

/// Bytes of memory that this process can have at most, by the machine and by its control group; `None` where nothing tells.
pub fn memory() -> Option<u64> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let all = fs::read_to_string("/proc/meminfo").ok();
    let all =
        all.and_then(|text| text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()));
    // Of both versions of control groups, as a container sees its own.
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].into_iter().filter_map(number);
    all.map(|kib| kib.saturating_mul(1024)).into_iter().chain(limits).min()
}
