//! How much memory and time a list of many files takes. A program of its own, since it counts all memory.

use spgraph::data::ImageSet;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts bytes in use, and the most there were.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(USED.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// 200,000 files may take 200 MB while they are listed, which is 1000 bytes each: less than half of it is demanded.
#[test]
fn a_file_takes_few_bytes() {
    const FILES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    for class in 0..10 {
        let folder = dir.path().join(format!("class-number-{class}"));
        std::fs::create_dir(&folder).unwrap();
        (0..FILES / 10).for_each(|i| drop(std::fs::File::create(folder.join(format!("ILSVRC2012_val_{i:08}.JPEG.jpg"))).unwrap()));
    }
    let before = USED.load(Relaxed);
    MOST.store(before, Relaxed);
    let set = ImageSet::open(dir.path(), None).unwrap();
    let (most, kept) = ((MOST.load(Relaxed) - before) / FILES, (USED.load(Relaxed) - before) / FILES);
    assert_eq!(set.len(), FILES);
    assert!(most < 500 && kept < 100, "{most} bytes a file while it is listed, {kept} afterwards");
}
