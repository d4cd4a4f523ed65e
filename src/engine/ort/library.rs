//! What can be known of a library file before it is loaded: whose it is, whether it is whole and for this machine, and whether it is a
//! release that spgraph was tested with.

use crate::storage::regular;
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64, PT_LOAD, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{LittleEndian, ReadCache};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// The ONNX Runtime release that is installed, and tested with.
pub(super) const PINNED_VERSION: &str = "1.32.0";

/// The release with the CUDA provider.
pub(super) const PINNED_CUDA_VERSION: &str = crate::emit::CUDA_VERSION;

/// What may stand behind a library, such as a signature.
const MOST_BEHIND: u64 = 1 << 20;

/// SHA-256 of ONNX Runtime's library in the releases that spgraph was tested with, and their version.
const PINNED: [(&str, &str); 3] = [
    ("6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f", PINNED_VERSION),
    ("49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a", PINNED_VERSION),
    ("5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303", PINNED_CUDA_VERSION),
];

/// The version of a library with that hash, where it is one of the pinned ones.
pub(super) fn pinned_version(sha256: &str) -> Option<&'static str> {
    PINNED.iter().find(|(hash, _)| *hash == sha256).map(|(_, version)| *version)
}

/// Whose a file is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owner {
    /// Number of the user.
    pub uid: u32,
    /// Whether everybody may write the file or put another into its folder.
    pub writable_by_all: bool,
}

impl Owner {
    #[cfg(unix)]
    pub(super) fn of(path: &Path) -> Option<Owner> {
        use std::os::unix::fs::MetadataExt;
        const ALL: u32 = 0o002;
        const STICKY: u32 = 0o1000;
        let (file, folder) = (path.metadata().ok()?, path.parent()?.metadata().ok()?);
        let open = |mode: u32| mode & ALL != 0 && mode & STICKY == 0;
        Some(Owner { uid: file.uid(), writable_by_all: open(file.mode()) || open(folder.mode()) })
    }

    #[cfg(not(unix))]
    pub(super) fn of(_: &Path) -> Option<Owner> {
        None
    }

    /// Why a library of this owner is not loaded unless its user names it.
    pub(super) fn distrust(&self) -> Option<String> {
        if self.writable_by_all {
            return Some("everybody may change it or its folder; it is used only where it is named".into());
        }
        let own = current_user();
        (self.uid != 0 && Some(self.uid) != own).then(|| format!("it belongs to {self}, another user; it is used only where it is named"))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            0 => f.write_str("root"),
            uid if Some(uid) == current_user() => f.write_str("you"),
            uid => write!(f, "user {uid}"),
        }
    }
}

#[cfg(unix)]
fn current_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

#[cfg(not(unix))]
fn current_user() -> Option<u32> {
    None
}

/// Whether the file is a whole library for this machine. A file that ends early would end the process: its missing pages are mapped, and
/// touching one is a bus error.
pub(super) fn check_format(path: &Path) -> Result<(), String> {
    let (file, size) = regular::open(path).map_err(|e| format!("it cannot be read: {e}"))?;
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let data = ReadCache::new(file);
    let none = |what: &str| format!("it is no library ({what})");
    let header = FileHeader64::<LittleEndian>::parse(&data).map_err(|_| none("no ELF file of 64 bits"))?;
    let endian = header.endian().map_err(|_| none("no little-endian ELF file"))?;
    let machine = header.e_machine(endian);
    let own = match std::env::consts::ARCH {
        "x86_64" => EM_X86_64,
        "aarch64" => EM_AARCH64,
        _ => machine,
    };
    if machine != own {
        return Err(format!("it is a library for another processor than this machine's {}", std::env::consts::ARCH));
    }
    let segments = header.program_headers(endian, &data).map_err(|_| none("its table of segments is damaged or missing"))?;
    let loaded: Vec<_> = segments.iter().filter(|s| s.p_type(endian) == PT_LOAD).collect();
    if loaded.is_empty() {
        return Err(none("nothing of it would be loaded"));
    }
    let end = |s: &&object::elf::ProgramHeader64<LittleEndian>| s.p_offset(endian).checked_add(s.p_filesz(endian));
    if loaded.iter().any(|s| end(s).is_none_or(|end| end > size)) {
        return Err(format!("it ends early, after {size} bytes: it was cut off on its way here. Get it again"));
    }
    // What a linker writes for others than the loader, such as names for debuggers, stands in sections.
    let table = header.section_headers(endian, &data).unwrap_or_default();
    let sections =
        table.iter().filter(|s| s.sh_type(endian) != SHT_NOBITS).filter_map(|s| s.sh_offset(endian).checked_add(s.sh_size(endian)));
    let headers = header.e_shoff(endian).saturating_add(size_of_val(table) as u64);
    let known = loaded.iter().filter_map(end).chain(sections).chain([headers]).max().unwrap_or(0);
    if size.saturating_sub(known) > MOST_BEHIND {
        return Err(format!("its library has {known} bytes, and the file {size}: something else hangs on it"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A library that is there wherever tests run: the one that this program needs itself.
    #[cfg(target_os = "linux")]
    fn some_library() -> std::path::PathBuf {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("libc.so")).unwrap().into()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_that_was_cut_off_is_told_from_a_whole_one() {
        let path = some_library();
        check_format(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let cut = dir.path().join("libonnxruntime.so");
        for keep in [0, 3, 40, 63, 64, 100, 1000, whole.len() / 4, whole.len() / 2] {
            std::fs::write(&cut, &whole[..keep]).unwrap();
            assert!(check_format(&cut).is_err(), "{keep} of {} bytes", whole.len());
        }
        // A file that would take hours to hash, and one with a signature.
        for (length, good) in [(1 << 36, false), (whole.len() as u64 + (64 << 10), true)] {
            std::fs::write(&cut, &whole).unwrap();
            std::fs::File::options().append(true).open(&cut).unwrap().set_len(length).unwrap();
            assert_eq!(check_format(&cut).is_ok(), good, "{length}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_library_for_another_processor_is_named_as_such() {
        let mut other = std::fs::read(some_library()).unwrap();
        // e_machine: SPARC.
        other[18..20].copy_from_slice(&43u16.to_le_bytes());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libonnxruntime.so");
        std::fs::write(&path, &other).unwrap();
        assert!(check_format(&path).unwrap_err().contains("another processor"));
    }

    #[test]
    #[cfg(unix)]
    fn what_everybody_may_change_is_not_trusted() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libonnxruntime.so");
        std::fs::write(&path, "").unwrap();
        assert_eq!(Owner::of(&path).unwrap().distrust(), None);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(Owner::of(&path).unwrap().distrust().unwrap().contains("everybody"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Owner::of(&path).unwrap().distrust().is_some());
        assert!(Owner { uid: u32::MAX - 7, writable_by_all: false }.distrust().unwrap().contains("another user"));
    }
}
