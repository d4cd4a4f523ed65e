//! Windows of a pooling as a source has them: its sizes are numbers there, so that divisions by them are none.

use super::super::native::Window;
use std::fmt::Write;

/// Of a pooling of images that lie `[N, H, W, C]`, from `[C, H, W]` of what is pooled and of the result.
pub fn defined(window: &Window, [channels, height, width]: [usize; 3], behind: [usize; 2]) -> String {
    let mut text = String::new();
    let numbers = [
        ("CHANNELS", channels),
        ("HEIGHT", height),
        ("WIDTH", width),
        ("ROWS", behind[0]),
        ("COLUMNS", behind[1]),
        ("KERNEL_H", window.kernel[0]),
        ("KERNEL_W", window.kernel[1]),
        ("STRIDE_H", window.strides[0]),
        ("STRIDE_W", window.strides[1]),
        ("DILATION_H", window.dilations[0]),
        ("DILATION_W", window.dilations[1]),
        ("TOP", window.pads[0]),
        ("LEFT", window.pads[1]),
    ];
    for (name, number) in numbers {
        let _ = writeln!(text, "#define {name} {number}");
    }
    text
}
