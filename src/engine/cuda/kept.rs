//! What is made for tensors of some sizes, and kept for as long as those that come have them.

use ort::Result;

/// What was made last, with the sizes that it is for.
pub struct Kept<S, T>(Option<(S, T)>);

impl<S, T> Kept<S, T> {
    /// Nothing was made yet.
    pub const NONE: Kept<S, T> = Kept(None);

    /// What is kept, where it is for the same sizes; else what is made now. That which is kept goes first: it may hold what the device has little of.
    pub fn get_if(&mut self, same: impl FnOnce(&S) -> bool, make: impl FnOnce() -> Result<(S, T)>) -> Result<&T> {
        let kept = match self.0.take().filter(|(sizes, _)| same(sizes)) {
            Some(kept) => kept,
            None => make()?,
        };
        Ok(&self.0.insert(kept).1)
    }
}

impl<S: PartialEq + Copy, T> Kept<S, T> {
    /// What is made for these sizes.
    pub fn get(&mut self, sizes: S, make: impl FnOnce() -> Result<T>) -> Result<&T> {
        self.get_if(|kept| *kept == sizes, || Ok((sizes, make()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    #[test]
    fn it_is_made_once_for_each_size_in_turn_and_what_fails_is_made_again() {
        let (alive, made) = (Rc::new(()), Cell::new(0));
        let mut kept: Kept<[usize; 2], Rc<()>> = Kept::NONE;
        let mut get = |sizes, fails: bool| {
            let make = || {
                made.set(made.get() + 1);
                // What was kept for other sizes is gone by now.
                assert_eq!(Rc::strong_count(&alive), 1);
                if fails { Err(ort::Error::new("no")) } else { Ok(Rc::clone(&alive)) }
            };
            kept.get(sizes, make).is_ok()
        };
        assert!(get([1, 2], false) && get([1, 2], false) && get([2, 1], false) && get([1, 2], false));
        assert_eq!(made.get(), 3);
        assert!(!get([3, 3], true) && get([3, 3], false) && get([3, 3], true));
        assert_eq!(made.get(), 5);
    }
}
