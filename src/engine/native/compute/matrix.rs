//! Products of matrices of bfloat16 by AMX: eight registers ("tiles") of 16 rows with 64 bytes.
//!
//! The instructions are written as assembly, since their intrinsics are not in stable Rust. A thread sets the tiles up before it uses them and
//! gives them back ([`Tiles`]); the system saves them with the thread's other registers.
//!
//! `tdpbf16ps` multiplies pairs of bfloat16 and adds both products to a float32; factors, products and sums below 2⁻¹²⁶ are 0.

use super::isa::Amx;
use super::pack::{MATRIX, PANEL};
use std::arch::asm;
use std::marker::PhantomData;

/// Rows of a block: two tiles.
pub const ROWS: usize = 32;
/// Words (pairs of bfloat16) of a row that are multiplied at once.
pub const STEP: usize = MATRIX / 2;

/// As `ldtilecfg` reads it: eight tiles of 16 rows with 64 bytes.
#[repr(C, align(64))]
struct Layout {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

static LAYOUT: Layout = {
    let (mut bytes, mut rows) = ([0; 16], [0; 16]);
    let mut tile = 0;
    while tile < 8 {
        (bytes[tile], rows[tile]) = (64, 16);
        tile += 1;
    }
    Layout { palette: 1, start_row: 0, reserved: [0; 14], bytes, rows }
};

/// That this thread's tiles are set up. They are given back at the end.
pub struct Tiles {
    /// They are one thread's.
    _thread: PhantomData<*const ()>,
}

impl Tiles {
    pub fn new(_: Amx) -> Tiles {
        // SAFETY: the processor has the instruction, as the proof says, and reads 64 bytes of a valid layout.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &LAYOUT, out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(readonly, nostack, preserves_flags));
        }
        Tiles { _thread: PhantomData }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: there is a value, so that the processor has the instruction.
        unsafe {
            asm!("tilerelease", out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _, options(nomem, nostack, preserves_flags));
        }
    }
}

/// Part of a sum: 32 rows on the left at equal distances, and a panel on the right.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Term {
    /// The first row's words.
    pub left: *const f32,
    /// Bytes from one row to the next.
    pub distance: usize,
    /// A row of 32 words for every word of the left rows.
    pub right: *const f32,
    /// Words of a row, in [`STEP`]s; at least one.
    pub steps: usize,
}

/// The four sums' tiles come from somewhere, terms are added, and they go to `out`, 32 rows of 32 floats at `stride` bytes.
macro_rules! multiplied {
    ($terms:ident, $out:ident, $stride:ident, $($begin:literal),*) => {
        asm!(
            $($begin,)*
            "test {count}, {count}",
            "jz 4f",
            "2:",
            "mov {a}, [{term}]",
            "mov {distance}, [{term} + 8]",
            "mov {b}, [{term} + 16]",
            "mov {steps}, [{term} + 24]",
            // The second sixteen rows.
            "mov {a2}, {distance}",
            "shl {a2}, 4",
            "add {a2}, {a}",
            "3:",
            "tileloadd tmm4, [{a} + {distance}*1]",
            "tileloadd tmm6, [{b} + {panel}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{b} + {panel}*1 + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a2} + {distance}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a}, 64",
            "add {a2}, 64",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "add {term}, 32",
            "dec {count}",
            "jnz 2b",
            "4:",
            "tilestored [{out} + {stride}*1], tmm0",
            "tilestored [{out} + {stride}*1 + 64], tmm1",
            "tilestored [{out2} + {stride}*1], tmm2",
            "tilestored [{out2} + {stride}*1 + 64], tmm3",
            term = inout(reg) $terms.as_ptr() => _,
            count = inout(reg) $terms.len() => _,
            out = in(reg) $out,
            out2 = in(reg) $out.byte_add(16 * $stride),
            stride = in(reg) $stride,
            panel = in(reg) PANEL * size_of::<f32>(),
            a = out(reg) _,
            a2 = out(reg) _,
            b = out(reg) _,
            distance = out(reg) _,
            steps = out(reg) _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        )
    };
}

impl Tiles {
    /// `out[r][c] = Σ_term Σ_k left[r][k]·right[k][c]` over pairs of bfloat16, for 32 rows and 32 columns; rows of `out` at `stride` bytes.
    ///
    /// # Safety
    /// Each term's rows have `steps·STEP` words, and its panel as many rows of 32 words; `out` has 32 rows of 32 elements.
    pub unsafe fn product(&self, terms: &[Term], out: *mut f32, stride: usize) {
        const { assert!(size_of::<Term>() == 32 && PANEL * size_of::<f32>() * STEP == 2048) };
        // SAFETY: the tiles are set up, as `self` says; the rest is the caller's promise.
        unsafe { multiplied!(terms, out, stride, "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3") };
    }

    /// [`Tiles::product`], added to what is in `out`.
    ///
    /// # Safety
    /// That of [`Tiles::product`].
    pub unsafe fn add_product(&self, terms: &[Term], out: *mut f32, stride: usize) {
        // SAFETY: as above; what is in `out` is read.
        unsafe {
            multiplied!(
                terms,
                out,
                stride,
                "tileloadd tmm0, [{out} + {stride}*1]",
                "tileloadd tmm1, [{out} + {stride}*1 + 64]",
                "tileloadd tmm2, [{out2} + {stride}*1]",
                "tileloadd tmm3, [{out2} + {stride}*1 + 64]"
            )
        };
    }
}
