//! One buffer that several tasks write at once, each its own part.

use super::Cores;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A mutable slice whose disjoint parts go to different tasks.
///
/// The unsafe part of every kernel that runs in parallel is here: whoever calls [`DisjointSlice::part`] promises that no other task
/// touches the same elements.
#[derive(Clone, Copy)]
pub struct DisjointSlice<'a, T = f32> {
    start: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer is that of a `&mut [T]`, which may go to other threads; that parts do not overlap is `part`'s condition.
unsafe impl<T: Send> Send for DisjointSlice<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for DisjointSlice<'_, T> {}

impl<'a, T> DisjointSlice<'a, T> {
    pub fn new(slice: &'a mut [T]) -> Self {
        DisjointSlice { start: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }

    /// Elements `at..at + len`.
    ///
    /// # Safety
    /// No other task holds a part with one of these elements at the same time.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, at: usize, len: usize) -> &'a mut [T] {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.len), "a task's part ends outside the buffer");
        // SAFETY: in bounds by the assertion; not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), len) }
    }

    /// The elements from `at` on.
    pub fn from(&self, at: usize) -> DisjointSlice<'a, T> {
        assert!(at <= self.len);
        // SAFETY: inside the buffer, or just behind it.
        DisjointSlice { start: unsafe { self.start.add(at) }, len: self.len - at, life: PhantomData }
    }

    /// The first element; for tiles that address rows themselves.
    pub fn as_ptr(&self) -> *mut T {
        self.start
    }

    pub fn len(&self) -> usize {
        self.len
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Vec<f32>>> = const { RefCell::new(vec![]) };
}

/// Calls `work` with a buffer of `len` elements of any value, which this thread keeps for the next call.
pub fn with_scratch<T>(len: usize, work: impl FnOnce(&mut [f32]) -> T) -> T {
    let mut scratch = Scratch::new(len);
    work(&mut scratch)
}

/// A buffer of elements of any value, which its thread keeps for the next one.
pub struct Scratch {
    buffer: Vec<f32>,
    len: usize,
}

impl Scratch {
    pub fn new(len: usize) -> Scratch {
        let mut buffer = SCRATCH.with_borrow_mut(|list| list.pop()).unwrap_or_default();
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        Scratch { buffer, len }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.with_borrow_mut(|list| list.push(std::mem::take(&mut self.buffer)));
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

/// `out = Σ parts`, in their order; they lie one after the other.
pub fn add_parts(cores: &Cores, parts: &[f32], count: usize, out: &mut [f32]) {
    const CHUNK: usize = 1 << 12;
    let len = out.len();
    assert!(count > 0 && parts.len() >= count * len);
    let out = DisjointSlice::new(out);
    cores.run(len.div_ceil(CHUNK), &|task| {
        let at = task * CHUNK;
        // SAFETY: every task has its own elements.
        let to = unsafe { out.part(at, CHUNK.min(len - at)) };
        to.copy_from_slice(&parts[at..at + to.len()]);
        for part in 1..count {
            to.iter_mut().zip(&parts[part * len + at..]).for_each(|(to, v)| *to += v);
        }
    });
}
