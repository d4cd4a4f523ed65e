//! Whole files in memory.

use bytes::Bytes;
use std::fs::File;
use std::io::Read;

/// Reads `length` bytes.
pub(super) fn read(file: &mut File, length: u64) -> std::io::Result<Bytes> {
    let mut data = buffer(length)?;
    file.read_exact(&mut data)?;
    Ok(data.into())
}

/// Zeroed memory for a file: the system hands out zeroed pages when they are touched, so this costs nothing by itself.
pub(super) fn buffer(length: u64) -> std::io::Result<Vec<u8>> {
    let too_large = |_| std::io::Error::new(std::io::ErrorKind::OutOfMemory, "the file is larger than the memory");
    let length = usize::try_from(length).map_err(|_| std::io::Error::from(std::io::ErrorKind::FileTooLarge))?;
    Vec::<u8>::new().try_reserve_exact(length).map_err(too_large)?;
    let data = vec![0; length];
    ask_for_large_pages(&data);
    Ok(data)
}

/// Asks for pages of 2 MB: touching a large buffer for the first time takes a third of the time with them.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(data: &[u8]) {
    const LARGE: usize = 1 << 21;
    let whole = data.as_ptr_range();
    let (start, end) = ((whole.start as usize).next_multiple_of(LARGE), whole.end as usize & !(LARGE - 1));
    if let Some(length) = end.checked_sub(start).filter(|&length| length > 0) {
        // SAFETY: the pages lie inside a buffer of ours; the advice changes no content, and where the system does not take it, nothing
        // is lost.
        unsafe { libc::madvise(start as *mut libc::c_void, length, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: &[u8]) {}
