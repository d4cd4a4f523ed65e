//! Functions that are compiled once for each instruction set.

/// A function over [`Lanes`](super::lanes::Lanes) `V` (and kinds of [`Element`](super::Element)), compiled for AVX-512, for AVX2, for NEON and for every
/// processor. Its first argument, without a type, is an [`Isa`](super::Isa), which chooses; inside it is the proof for `V`.
macro_rules! for_isa {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident<$V:ident $(, $E:ident)*>($isa:ident, $($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $visibility fn $name<$($E: $crate::engine::native::compute::Element),*>($isa: $crate::engine::native::compute::Isa, $($arg: $ty),*) {
            use $crate::engine::native::compute::{Isa, lanes};
            #[inline(always)]
            fn body<$V: lanes::Lanes $(, $E: $crate::engine::native::compute::Element)*>($isa: $V::Proof, $($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
            fn fast<$($E: $crate::engine::native::compute::Element),*>(proof: <lanes::Register as lanes::Lanes>::Proof, $($arg: $ty),*) {
                body::<lanes::Register $(, $E)*>(proof, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn wide<$($E: $crate::engine::native::compute::Element),*>(proof: <lanes::Pair as lanes::Lanes>::Proof, $($arg: $ty),*) {
                body::<lanes::Pair $(, $E)*>(proof, $($arg),*)
            }
            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            fn quads<$($E: $crate::engine::native::compute::Element),*>(proof: <lanes::Quad as lanes::Lanes>::Proof, $($arg: $ty),*) {
                body::<lanes::Quad $(, $E)*>(proof, $($arg),*)
            }
            match $isa {
                // SAFETY: the proof says that the processor has it.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512(proof, _) => unsafe { fast::<$($E),*>(proof, $($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2(proof) => unsafe { wide::<$($E),*>(proof, $($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "aarch64")]
                Isa::Neon(proof) => unsafe { quads::<$($E),*>(proof, $($arg),*) },
                _ => body::<lanes::Plain $(, $E)*>((), $($arg),*),
            }
        }
    };
}
pub(super) use for_isa;
