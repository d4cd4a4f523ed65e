//! What a program may tell the caches. Processors without such hints do without.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm_sfence};

/// Asks for the line of memory with an address, which may be any, into the cache of that level: the first, or the second.
#[inline(always)]
pub fn fetch<const LEVEL: usize, T>(at: *const T) {
    const { assert!(LEVEL == 1 || LEVEL == 2) };
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing.
    unsafe {
        match LEVEL {
            1 => _mm_prefetch::<_MM_HINT_T0>(at.cast()),
            _ => _mm_prefetch::<_MM_HINT_T1>(at.cast()),
        }
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; it changes neither registers nor flags. The intrinsic for it is not stable.
    unsafe {
        match LEVEL {
            1 => std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at.addr(), options(nomem, nostack, preserves_flags)),
            _ => std::arch::asm!("prfm pldl2keep, [{}]", in(reg) at.addr(), options(nomem, nostack, preserves_flags)),
        }
    }
    let _ = at;
}

/// Makes what this thread wrote past the caches visible to other threads before what it writes from now on.
pub fn settle() {
    // SAFETY: every x86-64 processor has it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        _mm_sfence();
    }
    // Elsewhere nothing is written past the caches.
}
