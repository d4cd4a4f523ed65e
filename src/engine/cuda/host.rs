//! Sources as C for the processor.

use super::source::before;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What makes a source C: one thread in every block, so that nothing is shared.
const HOST: &str = r#"
#include <math.h>
#define DEVICE static inline
#define KERNEL static void
#define RESTRICT restrict
#define ALIGNED(n) __attribute__((aligned(n)))
#define UNROLL
#define SHARED static
#define SYNCHRONIZE() (void)0
struct dim { unsigned x, y; };
static struct dim blockIdx, gridDim; static const struct dim blockDim = {1, 1}, threadIdx = {0, 0};
static float from_f16(unsigned short x) {
  int e = (x >> 10) & 31, m = x & 1023; float s = x >> 15 ? -1.0f : 1.0f;
  return e == 31 ? (m ? NAN : s * INFINITY) : e ? s * ldexpf((float)(m + 1024), e - 25) : s * ldexpf((float)m, -24);
}
static unsigned short to_f16(float x) {
  unsigned short s = signbit(x) ? 0x8000 : 0; float a = fabsf(x); int e;
  if (isnan(x)) return 0x7e00;
  if (a >= 65520.0f) return s | 0x7c00;
  if (a < 6.103515625e-05f) return s | (unsigned short)nearbyintf(ldexpf(a, 24));
  frexpf(a, &e);
  return s + (unsigned short)(((e + 13) << 10) + (int)nearbyintf(ldexpf(a, 11 - e)));
}
"#;

/// A source that was compiled for the processor, and is called with addresses of its parameters.
pub struct Compiled {
    library: libloading::Library,
    _folder: tempfile::TempDir,
}

/// Types of the parameters of a kernel as the source declares them, in order.
fn declared(source: &str, kernel: &str) -> Vec<String> {
    let from = source.find(&format!("KERNEL {kernel}(")).unwrap();
    let list = &source[from..][source[from..].find('(').unwrap() + 1..];
    let list = &list[..list.find(')').unwrap()];
    list.split(',').map(|p| p.trim().rsplit_once([' ', '*']).map(|_| p.trim().to_string()).unwrap()).collect()
}

/// Kernels of a source, for as many places.
pub fn compile(source: &str, kernels: &[&str], long: bool) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    let mut text = format!("{HOST}{}{source}", before(long));
    for kernel in kernels {
        let call: Vec<String> = declared(&text, kernel)
            .iter()
            .enumerate()
            .map(|(at, parameter)| {
                let (ty, _) = parameter.rsplit_once([' ', '*']).unwrap();
                match parameter.contains('*') {
                    true => format!("({} *)p[{at}]", ty.replace("*RESTRICT", "").trim_end_matches('*').trim()),
                    false => format!("*({ty} *)p[{at}]"),
                }
            })
            .collect();
        text.push_str(&format!(
            "void call_{kernel}(void **p, unsigned x, unsigned y) {{\n  gridDim.x = x; gridDim.y = y;\n  \
             for (blockIdx.y = 0; blockIdx.y < y; ++blockIdx.y) for (blockIdx.x = 0; blockIdx.x < x; ++blockIdx.x) {kernel}({});\n}}\n",
            call.join(", ")
        ));
    }
    let (from, to): (PathBuf, PathBuf) = (folder.path().join("k.c"), folder.path().join("k.so"));
    std::fs::write(&from, &text).unwrap();
    let done = Command::new("cc")
        .args(["-O1", "-ffp-contract=off", "-w", "-shared", "-fPIC", "-o"])
        .args([&to, &from])
        .arg("-lm")
        .output()
        .unwrap();
    assert!(done.status.success(), "{}\n{text}", String::from_utf8_lossy(&done.stderr));
    // SAFETY: it was made just now, and has no initializers.
    Compiled { library: unsafe { libloading::Library::new(Path::new(&to)) }.unwrap(), _folder: folder }
}

impl Compiled {
    pub fn call(&self, kernel: &str, parameters: &mut [*mut c_void], blocks: [u32; 2]) {
        // SAFETY: the function was written above, and the caller gives what the source declares.
        unsafe {
            let name = format!("call_{kernel}\0");
            let function = self.library.get::<unsafe extern "C" fn(*mut *mut c_void, u32, u32)>(name.as_bytes()).unwrap();
            function(parameters.as_mut_ptr(), blocks[0], blocks[1]);
        }
    }
}
