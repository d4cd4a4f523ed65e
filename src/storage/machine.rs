//! How much memory there is, for this process. Learned by reading, nothing is run.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory of the machine; `None` where nothing tells.
pub fn memory() -> Option<u64> {
    meminfo("MemTotal")
}

/// Bytes of memory that this process can have at most, by the machine and by its control group; `None` where nothing tells.
pub fn memory_limit() -> Option<u64> {
    memory().into_iter().chain(groups().iter().filter_map(ControlGroup::limit)).min()
}

/// Bytes that this process can still take without swapping, by the machine and by its control group; `None` where nothing tells.
pub fn memory_available() -> Option<u64> {
    meminfo("MemAvailable").into_iter().chain(groups().iter().filter_map(ControlGroup::left)).min()
}

fn meminfo(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    value_of(&text, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Behind `name:` on a line of its own.
pub fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = text.lines().filter_map(|l| l.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// What bounds the memory of a group of processes.
struct ControlGroup {
    dir: PathBuf,
    names: &'static Names,
}

/// The files and the line of `memory.stat` of a version of control groups.
struct Names {
    limit: &'static str,
    used: &'static str,
    cache: &'static str,
}

const FIRST: Names = Names { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", cache: "total_inactive_file " };
const SECOND: Names = Names { limit: "memory.max", used: "memory.current", cache: "inactive_file " };

/// The control groups that this process is in, from its own to the root: each bounds it.
fn groups() -> Vec<ControlGroup> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    own.lines().flat_map(|line| above(line).unwrap_or_default()).collect()
}

/// Those of a line `NUMBER:CONTROLLERS:/PATH`. In a container the path may be one that is not mounted; its root is.
fn above(line: &str) -> Option<Vec<ControlGroup>> {
    let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
    let (root, names) = match controllers {
        "" => ("/sys/fs/cgroup", &SECOND),
        _ if controllers.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", &FIRST),
        _ => return None,
    };
    Some(Path::new(path).ancestors().map(|part| ControlGroup { dir: Path::new(root).join(part), names }).collect())
}

impl ControlGroup {
    fn number(&self, name: &str) -> Option<u64> {
        fs::read_to_string(self.dir.join(name)).ok()?.trim().parse().ok()
    }

    fn limit(&self) -> Option<u64> {
        self.number(self.names.limit)
    }

    /// What the limit leaves; the files' cache, which can be given up, is not counted.
    fn left(&self) -> Option<u64> {
        let stat = fs::read_to_string(self.dir.join("memory.stat")).unwrap_or_default();
        let cache = stat.lines().find_map(|l| l.strip_prefix(self.names.cache)?.trim().parse::<u64>().ok()).unwrap_or(0);
        Some(self.limit()?.saturating_sub(self.number(self.names.used)?.saturating_sub(cache)))
    }
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
    fn a_group_leaves_what_is_not_used_or_only_cache() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("max", "1000\n"), ("current", "900\n"), ("stat", "anon 100\nactive_file 50\ninactive_file 300\n")] {
            fs::write(dir.path().join(format!("memory.{name}")), text).unwrap();
        }
        let group = ControlGroup { dir: dir.path().into(), names: &SECOND };
        assert_eq!((group.limit(), group.left()), (Some(1000), Some(400)));
        fs::write(dir.path().join("memory.max"), "max\n").unwrap();
        assert_eq!((group.limit(), group.left()), (None, None));
    }

    #[test]
    fn every_group_above_counts() {
        let dirs = |line: &str| above(line).map(|groups| groups.into_iter().map(|g| g.dir).collect::<Vec<_>>());
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(dirs("0::/a/b").unwrap(), [path("/sys/fs/cgroup/a/b"), path("/sys/fs/cgroup/a"), path("/sys/fs/cgroup/")]);
        assert_eq!(dirs("4:cpu,memory:/x").unwrap(), [path("/sys/fs/cgroup/memory/x"), path("/sys/fs/cgroup/memory/")]);
        assert_eq!(dirs("8:pids:/x"), None);
        assert_eq!(dirs("nonsense"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_memory() {
        assert!(memory_available().unwrap() <= memory_limit().unwrap());
    }
}
