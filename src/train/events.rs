//! TensorBoard's event files: TensorFlow's record framing around `Event` messages. Only what scalars need of `event.proto` and `summary.proto`.

use prost::Message;

#[derive(Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// CRC-32C, turned and shifted: a checksum of data that holds its own checksum would be worth little.
fn masked(data: &[u8]) -> [u8; 4] {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Length, its checksum, data, their checksum.
fn framed(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked(&length), &data, &masked(&data)].concat()
}

/// What a file begins with.
pub(super) fn version(time: f64) -> Vec<u8> {
    framed(&Event { wall_time: time, step: 0, file_version: Some("brain.Event:2".into()), summary: None })
}

/// Numbers at a step.
pub(super) fn scalars(time: f64, step: i64, values: &[(String, f64)]) -> Vec<u8> {
    let value = values.iter().map(|(tag, value)| Scalar { tag: tag.clone(), simple_value: Some(*value as f32) }).collect();
    framed(&Event { wall_time: time, step, file_version: None, summary: Some(Summary { value }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_tensorflow_s() {
        // RFC 3720: 32 bytes of zeros have the CRC-32C 0x8a9136aa; by hand, turned right by 15 bits and shifted.
        assert_eq!(masked(&[0; 32]), 0x0fd7_fffau32.to_le_bytes());
    }
}
