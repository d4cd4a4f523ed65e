//! For people: what one file does, and the smallest file with the same fault.

use super::child::{STACK, variable};
use super::fault::{self, outline};
use super::mutate;
use super::targets::{self, Target};

pub fn main() {
    let (Some(name), Some(path)) = (variable("FUZZ_TARGET"), variable("FUZZ_INPUT")) else {
        panic!("give FUZZ_TARGET and FUZZ_INPUT");
    };
    let work = move || {
        let target = targets::all().into_iter().find(|t| t.name == name).expect("FUZZ_TARGET is a target");
        let bytes = std::fs::read(&path).unwrap();
        fault::watch_panics();
        let seen = fault::read(&target, &bytes);
        println!("{:?}\nfault: {:?}\n{} bytes of memory, {:?}", seen.result, seen.fault, seen.peak, seen.took);
        if let (Some(to), Some(fault)) = (variable("FUZZ_SMALLER"), seen.fault) {
            let small = smallest(&target, bytes, &outline(&fault));
            println!("{} bytes", small.len());
            std::fs::write(to, small).unwrap();
        }
    };
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap();
}

/// Takes parts away as long as the fault stays.
fn smallest(target: &Target, mut bytes: Vec<u8>, wanted: &str) -> Vec<u8> {
    let same = |bytes: &[u8]| fault::read(target, bytes).fault.is_some_and(|f| outline(&f) == wanted);
    loop {
        let less = mutate::parts_less(&bytes).find(|less| less.len() < bytes.len() && same(less));
        match less {
            Some(less) => bytes = less,
            None => return bytes,
        }
    }
}
