//! Whether there is AMX: whether the processor has it, and the system lets this process use it.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Bits of CPUID's leaf 7, in EDX.
const BF16: u32 = 1 << 22;
const TILE: u32 = 1 << 24;
/// Linux's number for asking for the tiles' place among a thread's saved registers, and that place.
const REQUEST_PERMISSION: libc::c_long = 0x1023;
const TILE_DATA: libc::c_long = 18;
/// That place, and the one of their configuration, in XCR0.
const SAVED: u64 = 0b11 << 17;

/// Whether the processor has tiles.
pub fn has_tiles() -> bool {
    // A leaf that does not exist is zeros, or the last one's; AVX2 has this leaf.
    std::is_x86_feature_detected!("avx2") && __cpuid_count(7, 0).edx & TILE != 0
}

/// Whether the processor multiplies bfloat16 in tiles.
pub fn has_bf16() -> bool {
    has_tiles() && __cpuid_count(7, 0).edx & BF16 != 0
}

/// Whether the processor has both, and the system lets this process use them. Asked for once.
pub fn usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        if !has_bf16() || !cfg!(target_os = "linux") {
            return false;
        }
        let (low, high): (u32, u32);
        // SAFETY: a processor with AVX2, as `has_bf16` says, has this instruction, and systems let it be used; it reads a register.
        unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) };
        if (u64::from(high) << 32 | u64::from(low)) & SAVED != SAVED {
            return false;
        }
        // SAFETY: the call asks for a larger place for a thread's registers and touches no memory of ours.
        #[cfg(target_os = "linux")]
        return unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) } == 0;
        #[cfg(not(target_os = "linux"))]
        false
    })
}
