//! Which instructions the kernels use. A value is the proof that this processor has them: only their detection makes one.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_mut))]

/// Proof that the processor has AVX2 and FMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

/// Proof that the processor has AVX-512F, AVX-512BW and AVX-512VL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

/// Proof that it also has AVX512_BF16, which multiplies pairs of bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512Bf16(());

/// Instructions that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain code, which a compiler may put into vectors (as for NEON); products by the `gemm` crate, which has NEON itself.
    Portable,
    /// AVX2 and FMA; products by the `gemm` crate.
    Avx2(Avx2),
    /// Own tiles of 14×32 in AVX-512 registers, of pairs of bfloat16 where there is AVX512_BF16.
    Avx512(Avx512, Option<Avx512Bf16>),
}

impl Isa {
    /// What this processor has, the best last.
    pub fn available() -> Vec<Isa> {
        let mut all = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                all.push(Isa::Avx2(Avx2(())));
            }
            if std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512vl")
            {
                all.push(Isa::Avx512(Avx512(()), None));
                if std::is_x86_feature_detected!("avx512bf16") {
                    all.push(Isa::Avx512(Avx512(()), Some(Avx512Bf16(()))));
                }
            }
        }
        all
    }

    /// The best that this processor has.
    pub fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Portable)
    }

    /// For settings: `portable`, `avx2`, `avx512`, `avx512_bf16`.
    pub fn keyword(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2(_) => "avx2",
            Isa::Avx512(_, None) => "avx512",
            Isa::Avx512(_, Some(_)) => "avx512_bf16",
        }
    }

    /// Whether pairs of bfloat16 are multiplied by instructions of their own. Elsewhere they are multiplied as float32, which gives the same
    /// products.
    pub fn multiplies_pairs(self) -> bool {
        matches!(self, Isa::Avx512(_, Some(_)))
    }

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2(_) => "AVX2",
            Isa::Avx512(..) => "AVX-512",
        }
    }
}
