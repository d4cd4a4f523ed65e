//! Of JSON: a value somewhere in it becomes another, goes, or comes twice. JSON within strings is JSON as well.

use super::{Random, bytes, text};
use serde_json::{Value, json};

pub fn json(seed: &[u8], random: &mut Random) -> Vec<u8> {
    match serde_json::from_slice::<Value>(seed) {
        Ok(mut value) if random.below(4) > 0 => {
            change(&mut value, random);
            if random.below(2) == 0 { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap_or_default()
        }
        _ if random.below(3) == 0 => bytes(seed, random),
        _ => text(seed, random),
    }
}

fn other(random: &mut Random) -> Value {
    match random.below(10) {
        0 => Value::Null,
        1 => json!([]),
        2 => json!({}),
        3 => json!(""),
        4 => json!(1e300),
        5 => json!(-0.5),
        6 => json!(u64::MAX),
        7 => json!(["a", 1, null]),
        _ => json!(random.extreme()),
    }
}

fn change(value: &mut Value, random: &mut Random) {
    let deeper = random.below(8) > 0;
    match value {
        Value::Object(fields) if deeper && !fields.is_empty() => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let Some(key) = random.pick(&keys) else { return };
            match random.below(16) {
                0 => drop(fields.remove(key)),
                1 => {
                    let moved = fields.remove(key).unwrap_or_default();
                    fields.insert(format!("{key}_"), moved);
                }
                2 => {
                    let from = random.pick(&keys).and_then(|k| fields.get(k).cloned()).unwrap_or_default();
                    fields.insert(key.clone(), from);
                }
                _ => fields.get_mut(key).into_iter().for_each(|v| change(v, random)),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = random.below(items.len());
            match random.below(8) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.swap(0, at),
                _ => change(&mut items[at], random),
            }
        }
        Value::String(inner) if inner.starts_with('{') => {
            *inner = String::from_utf8_lossy(&json(inner.as_bytes(), random)).into_owned();
        }
        Value::Number(number) if random.below(2) == 0 => {
            let near = number.as_i64().unwrap_or(1);
            *value = json!([near.wrapping_add(1), near.wrapping_sub(1), near.wrapping_neg(), near.wrapping_mul(1000)][random.below(4)]);
        }
        Value::String(text) if random.below(2) == 0 => match random.below(3) {
            0 => text.push('é'),
            1 => text.insert_str(0, "../"),
            _ => drop(text.pop()),
        },
        _ => *value = other(random),
    }
}
