//! Epochs in which every class comes equally often.

use super::random::{Purpose, Random};

/// As many samples as the classes have together. Each class has the same number of them, or one more: all of its samples in turn, in a new order
/// each time, so that of a large class another part is seen in each epoch and those of a small one come several times. The seed and the epoch
/// decide, and nothing else.
pub(super) fn balanced(classes: &[Vec<usize>], seed: u64, epoch: u64) -> Vec<usize> {
    let mut present: Vec<(usize, &Vec<usize>)> = classes.iter().enumerate().filter(|(_, members)| !members.is_empty()).collect();
    let total: usize = classes.iter().map(Vec::len).sum();
    // Those that have one more are others each time.
    Random::new(Purpose::Balance, seed, epoch, u64::MAX).shuffle(&mut present);
    let each = total.checked_div(present.len()).unwrap_or(0);
    let more = total.checked_rem(present.len()).unwrap_or(0);
    let mut order = vec![];
    for (place, &(label, members)) in present.iter().enumerate() {
        let wanted = each.saturating_add(usize::from(place < more));
        let mut random = Random::new(Purpose::Balance, seed, epoch, label as u64);
        let mut members = members.clone();
        let mut left = wanted;
        while left > 0 {
            random.shuffle(&mut members);
            order.extend(members.iter().take(left));
            left = left.saturating_sub(members.len());
        }
    }
    Random::new(Purpose::Shuffle, seed, epoch, 0).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_comes_equally_often() {
        let classes = [(0..90).collect::<Vec<_>>(), vec![], (90..97).collect(), vec![97, 98, 99]];
        let mut seen = std::collections::HashSet::new();
        for epoch in 0..6 {
            let order = balanced(&classes, 3, epoch);
            assert_eq!(order.len(), 100);
            let count = |class: &[usize]| order.iter().filter(|i| class.contains(i)).count();
            let counts: Vec<usize> = classes.iter().map(|c| count(c)).collect();
            assert!(counts[1] == 0 && [0, 2, 3].iter().all(|&c| (33..=34).contains(&counts[c])), "{counts:?}");
            // None comes a second time more often than another a first.
            for (class, &all) in classes.iter().zip(&counts) {
                let times: Vec<usize> = class.iter().map(|i| order.iter().filter(|o| *o == i).count()).collect();
                assert!(times.iter().all(|&t| t == all / class.len() || t == all / class.len() + 1), "{times:?}");
            }
            assert_eq!(order, balanced(&classes, 3, epoch));
            assert!(order != balanced(&classes, 3, epoch + 1) && order != balanced(&classes, 4, epoch));
            seen.extend(order);
        }
        assert!(seen.len() > 85, "of a large class another part comes each time: {}", seen.len());
    }
}
