use super::super::host;
use super::*;
use std::ffi::c_void;

#[test]
fn channels_go_to_the_end_and_back() {
    for (n, channels, places) in [(2u32, 3u32, 10u32), (1, 5, 1), (4, 1, 9), (3, 7, 8)] {
        for (element, long) in [(Element::F32, false), (Element::F16, false), (Element::Bool, true)] {
            let compiled = host::compile(&[&element.alias(), SOURCE].concat(), &["transpose"], long);
            let bytes = element.bytes();
            let count = (n * channels * places) as usize;
            let x: Vec<u8> = (0..count * bytes).map(|i| (i * 37 % 251) as u8).collect();
            let there = |image: usize, c: usize, p: usize| ((image * channels as usize + c) * places as usize + p) * bytes;
            let run = |from: &[u8], rows: u32, columns: u32| {
                let (mut from, mut to) = (from.to_vec(), vec![0u8; count * bytes]);
                let mut numbers = [u64::from(rows), u64::from(columns), count as u64];
                let mut list: Vec<*mut c_void> = vec![from.as_mut_ptr().cast()];
                list.extend(numbers.iter_mut().map(|n| std::ptr::from_mut(n).cast::<c_void>()));
                list.push(to.as_mut_ptr().cast());
                compiled.call("transpose", &mut list, [3, 1]);
                to
            };
            let last = run(&x, channels, places);
            for (image, c, p) in
                (0..n as usize).flat_map(|i| (0..channels as usize).flat_map(move |c| (0..places as usize).map(move |p| (i, c, p))))
            {
                let here = ((image * places as usize + p) * channels as usize + c) * bytes;
                assert_eq!(last[here..here + bytes], x[there(image, c, p)..there(image, c, p) + bytes]);
            }
            assert_eq!(run(&last, places, channels), x);
        }
    }
}
