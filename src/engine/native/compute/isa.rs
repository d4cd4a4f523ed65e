//! Which instructions the kernels use. A value is the proof that this processor has them: only their detection makes one.

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

/// Proof that the processor has NEON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon(());

/// How pairs of bfloat16 are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pairs {
    pub vectors: Avx512Bf16,
    pub matrices: Option<Amx>,
}

/// Instructions that this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain code, which a compiler may put into vectors; products by the `gemm` crate.
    Portable,
    /// NEON of 64-bit ARM; own tiles of 6×16.
    Neon(Neon),
    /// AVX2 and FMA; own tiles of 6×16.
    Avx2(Avx2),
    /// Own tiles of 14×32 in AVX-512 registers, of pairs of bfloat16 where those can be multiplied.
    Avx512(Avx512, Option<Pairs>),
}

impl Isa {
    /// What this processor has, the best last.
    pub fn available() -> Vec<Isa> {
        let pairs = Pairs { vectors: Avx512Bf16(()), matrices: None };
        let known = [
            ("neon", Isa::Neon(Neon(()))),
            ("avx2", Isa::Avx2(Avx2(()))),
            ("avx512", Isa::Avx512(Avx512(()), None)),
            ("avx512_bf16", Isa::Avx512(Avx512(()), Some(pairs))),
            ("amx", Isa::Avx512(Avx512(()), Some(Pairs { matrices: Some(Amx(())), ..pairs }))),
        ];
        let there = known.into_iter().filter(|(keyword, _)| Isa::missing(keyword).is_some_and(|m| m.is_empty()));
        std::iter::once(Isa::Portable).chain(there.map(|(_, isa)| isa)).collect()
    }

    /// What is available, and matrices where they can be emulated.
    #[cfg(test)]
    pub fn tested() -> Vec<Isa> {
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
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

    /// For settings: `portable`, `neon`, `avx2`, `avx512`, `avx512_bf16`, `amx`.
    pub fn keyword(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Neon(_) => "neon",
            Isa::Avx2(_) => "avx2",
            Isa::Avx512(_, None) => "avx512",
            Isa::Avx512(_, Some(Pairs { matrices: None, .. })) => "avx512_bf16",
            Isa::Avx512(_, Some(Pairs { matrices: Some(_), .. })) => "amx",
        }
    }

    /// What a setting asks for that this processor or system lacks; `None` for words that are no setting.
    pub fn missing(keyword: &str) -> Option<String> {
        let needs: &[&str] = match keyword {
            "neon" => &["NEON"],
            "avx2" => &["AVX2", "FMA"],
            "avx512" => &["AVX-512F", "AVX-512BW", "AVX-512VL"],
            "avx512_bf16" => &["AVX-512F", "AVX-512BW", "AVX-512VL", "AVX512_BF16"],
            "amx" => &["AVX-512F", "AVX-512BW", "AVX-512VL", "AVX512_BF16", "AMX-TILE", "AMX-BF16", "the system's permission for them"],
            _ => return None,
        };
        let missing: Vec<&str> = needs.iter().filter(|name| !is_there(name)).copied().collect();
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
            Isa::Neon(_) => "NEON",
            Isa::Avx2(_) => "AVX2",
            Isa::Avx512(..) => "AVX-512",
        }
    }
}

/// Whether this processor, and the system on it, has what [`Isa::missing`] calls by that name.
#[cfg(target_arch = "x86_64")]
fn is_there(name: &str) -> bool {
    match name {
        "AVX2" => std::is_x86_feature_detected!("avx2"),
        "FMA" => std::is_x86_feature_detected!("fma"),
        "AVX-512F" => std::is_x86_feature_detected!("avx512f"),
        "AVX-512BW" => std::is_x86_feature_detected!("avx512bw"),
        "AVX-512VL" => std::is_x86_feature_detected!("avx512vl"),
        "AVX512_BF16" => std::is_x86_feature_detected!("avx512bf16"),
        "AMX-TILE" => amx::has_tiles(),
        "AMX-BF16" => amx::has_bf16(),
        "the system's permission for them" => amx::usable(),
        _ => false,
    }
}

#[cfg(target_arch = "aarch64")]
fn is_there(name: &str) -> bool {
    name == "NEON" && std::arch::is_aarch64_feature_detected!("neon")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn is_there(_: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What tests say of all instructions is nothing where those of this kind of processor are not found.
    #[test]
    fn instructions_of_this_processor_are_found() {
        let all = Isa::available();
        assert_eq!(all[0], Isa::Portable);
        assert!(all.iter().all(|isa| *isa == Isa::Portable || Isa::missing(isa.keyword()).is_some_and(|lacks| lacks.is_empty())));
        match cfg!(target_arch = "aarch64") {
            true => assert_eq!(Isa::best().keyword(), "neon"),
            false => assert_eq!(Isa::missing("neon").as_deref(), Some("NEON")),
        }
    }
}
