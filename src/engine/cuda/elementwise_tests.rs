use super::*;

/// The element of a tensor that a place of a larger one reads, by both shapes.
fn read(shape: &[usize], whole: &[usize], place: usize) -> usize {
    let (mut rest, mut at, mut stride) = (place, 0, 1);
    for (axis, &size) in whole.iter().enumerate().rev() {
        let own = (axis + shape.len()).checked_sub(whole.len()).map_or(1, |a| shape[a]);
        at += if own == 1 { 0 } else { rest % size * stride };
        (rest, stride) = (rest / size, stride * own);
    }
    at
}

#[test]
fn what_is_spread_is_read_as_shapes_say() {
    let wholes: [&[usize]; 5] = [&[2, 3, 4, 5], &[1, 3, 2, 1], &[4, 1, 3], &[6], &[2, 3]];
    let mut seen = [0, 0];
    for whole in wholes {
        let total: usize = whole.iter().product();
        for rank in 0..=whole.len() {
            for kept in 0..1u32 << rank {
                let shape: Vec<usize> = (0..rank).map(|i| if kept >> i & 1 == 1 { whole[whole.len() - rank + i] } else { 1 }).collect();
                let inside: Vec<usize> = (0..rank).filter(|i| shape[*i] > 1).collect();
                let axes = (0..rank).filter(|i| whole[whole.len() - rank + i] > 1);
                let dense =
                    inside.first().is_none_or(|first| axes.filter(|a| a >= first && a <= inside.last().unwrap()).all(|a| shape[a] > 1));
                match spread(&shape, whole, 1) {
                    Some((inner, run)) => {
                        let size = |axes: std::ops::Range<usize>| whole[axes].iter().product::<usize>();
                        let (inner, run) = (size(inner), size(run));
                        assert!(dense && (0..total).all(|i| i / inner % run == read(&shape, whole, i)), "{shape:?} in {whole:?}");
                        seen[0] += 1;
                    }
                    None => {
                        assert!(!dense, "{shape:?} in {whole:?}");
                        seen[1] += 1;
                    }
                }
            }
        }
    }
    assert!(seen[0] > 30 && seen[1] > 3, "{seen:?}");
    assert!(spread(&[2], &[3], 1).is_none() && spread(&[1, 1, 3], &[3], 1).is_none());
}

/// What is let into an expression over images with their channels last is read there as it would be over those that ONNX has.
#[test]
fn numbers_for_channels_are_read_where_channels_are_last() {
    let dims = |sizes: &[usize]| TensorType::new(DType::F32, sizes.iter().copied());
    let mut let_in = 0;
    for [n, c, h, w] in [[2, 3, 4, 5], [1, 3, 4, 5], [2, 3, 1, 1], [1, 1, 4, 5], [3, 3, 3, 3], [4, 4, 4, 1], [2, 1, 1, 1]] {
        let lies = [n, h, w, c];
        for gate in [vec![c, 1, 1], vec![1, c, 1, 1], vec![n, c, 1, 1], vec![n, 1, 1, 1], vec![1, 1, h, w], vec![c]] {
            if !(ELEMENTS.spreads)(&dims(&gate), &dims(&[n, c, h, w]), Layout::ChannelsLast) {
                continue;
            }
            let_in += 1;
            let mut pairs = vec![];
            let reading = reading(&lying(&gate, Some(c)), &lies, None, &mut pairs).unwrap();
            for i in 0..n * c * h * w {
                let (channel, image) = (i % c, i / (h * w * c));
                let found = match reading {
                    Reading::Whole => i,
                    Reading::One => 0,
                    Reading::Spread(pair) => i / pairs[pair].0 % pairs[pair].1,
                    Reading::Channel => panic!("nothing is summed"),
                };
                let own = if gate.len() == 4 && gate[0] > 1 { image * c + channel } else { channel };
                assert_eq!(found, own, "{gate:?} in {lies:?}");
            }
        }
    }
    assert!(let_in > 14, "{let_in}");
}
