//! What a program may tell the caches. Processors without such hints do without.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm_sfence};

/// Asks for the line of memory with an address, which may be any, into the first-level cache.
#[inline(always)]
pub fn fetch_near<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; it changes neither registers nor flags. The intrinsic for it is not stable.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at.addr(), options(nomem, nostack, preserves_flags));
    }
    let _ = at;
}

/// The same, into the second-level cache.
#[inline(always)]
pub fn fetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing.
    unsafe {
        _mm_prefetch::<_MM_HINT_T1>(at.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{}]", in(reg) at.addr(), options(nomem, nostack, preserves_flags));
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
