//! Which instructions the kernels use. A value is the proof that this processor has them: only their detection makes one.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, unused_mut))]

#[cfg(target_arch = "x86_64")]
use super::amx;

/// Proof that the processor has AVX2 and FMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx2(());

/// Proof that the processor has AVX-512F, AVX-512BW and AVX-512VL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512(());

/// Proof that it also has AVX512_BF16, which multiplies pairs of bfloat16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Avx512Bf16(());

/// Proof that it also has AMX-TILE and AMX-BF16, which multiply matrices of such pairs, and that the system lets this process use them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amx(());

/// How pairs of bfloat16 are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairs {
    pub vectors: Avx512Bf16,
    pub matrices: Option<Amx>,
}

/// Instructions that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain code, which a compiler may put into vectors (as for NEON); products by the `gemm` crate, which has NEON itself.
    Portable,
    /// AVX2 and FMA; own tiles of 6×16.
    Avx2(Avx2),
    /// Own tiles of 14×32 in AVX-512 registers, of pairs of bfloat16 where those can be multiplied.
    Avx512(Avx512, Option<Pairs>),
}

impl Isa {
    /// What this processor has, the best last.
    pub fn available() -> Vec<Isa> {
        let mut all = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            let pairs = Pairs { vectors: Avx512Bf16(()), matrices: None };
            let known = [
                ("avx2", Isa::Avx2(Avx2(()))),
                ("avx512", Isa::Avx512(Avx512(()), None)),
                ("avx512_bf16", Isa::Avx512(Avx512(()), Some(pairs))),
                ("amx", Isa::Avx512(Avx512(()), Some(Pairs { matrices: Some(Amx(())), ..pairs }))),
            ];
            all.extend(known.into_iter().filter(|(keyword, _)| Isa::missing(keyword).is_some_and(|m| m.is_empty())).map(|(_, isa)| isa));
        }
        all
    }

    /// What is available, and matrices where they can be emulated.
    #[cfg(test)]
    pub fn tested() -> Vec<Isa> {
        let mut all = Isa::available();
        #[cfg(target_arch = "x86_64")]
        if let Some(Isa::Avx512(proof, Some(pairs @ Pairs { matrices: None, .. }))) = all.last().copied()
            && super::matrix_emulator::install()
        {
            all.push(Isa::Avx512(proof, Some(Pairs { matrices: Some(Amx(())), ..pairs })));
        }
        all
    }

    /// The best that this processor has.
    pub fn best() -> Isa {
        Isa::available().pop().unwrap_or(Isa::Portable)
    }

    /// For settings: `portable`, `avx2`, `avx512`, `avx512_bf16`, `amx`.
    pub fn keyword(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2(_) => "avx2",
            Isa::Avx512(_, None) => "avx512",
            Isa::Avx512(_, Some(Pairs { matrices: None, .. })) => "avx512_bf16",
            Isa::Avx512(_, Some(Pairs { matrices: Some(_), .. })) => "amx",
        }
    }

    /// What a setting asks for that this processor or system lacks; `None` for words that are no setting.
    pub fn missing(keyword: &str) -> Option<String> {
        let needs: &[&str] = match keyword {
            "avx2" => &["AVX2", "FMA"],
            "avx512" => &["AVX-512F", "AVX-512BW", "AVX-512VL"],
            "avx512_bf16" => &["AVX-512F", "AVX-512BW", "AVX-512VL", "AVX512_BF16"],
            "amx" => &["AVX-512F", "AVX-512BW", "AVX-512VL", "AVX512_BF16", "AMX-TILE", "AMX-BF16", "the system's permission for them"],
            _ => return None,
        };
        #[cfg(target_arch = "x86_64")]
        let has = |name: &&&str| match **name {
            "AVX2" => std::is_x86_feature_detected!("avx2"),
            "FMA" => std::is_x86_feature_detected!("fma"),
            "AVX-512F" => std::is_x86_feature_detected!("avx512f"),
            "AVX-512BW" => std::is_x86_feature_detected!("avx512bw"),
            "AVX-512VL" => std::is_x86_feature_detected!("avx512vl"),
            "AVX512_BF16" => std::is_x86_feature_detected!("avx512bf16"),
            "AMX-TILE" => amx::has_tiles(),
            "AMX-BF16" => amx::has_bf16(),
            _ => amx::usable(),
        };
        #[cfg(not(target_arch = "x86_64"))]
        let has = |_: &&&str| false;
        let missing: Vec<&str> = needs.iter().filter(|name| !has(name)).copied().collect();
        Some(missing.join(", "))
    }

    /// How pairs of bfloat16 are multiplied, where there are instructions for it. Elsewhere they are multiplied as float32, which gives the
    /// same products.
    pub fn pairs(self) -> Option<Pairs> {
        match self {
            Isa::Avx512(_, pairs) => pairs,
            _ => None,
        }
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
