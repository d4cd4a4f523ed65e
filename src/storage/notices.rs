//! What the library has to tell and is no error, from places that nobody watches. Each text is kept once, until it is taken.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

static SAID: Mutex<Option<HashSet<String>>> = Mutex::new(None);
static WAITING: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Leaves a notice, unless it was left before.
pub fn leave(text: impl Into<String>) {
    let text = text.into();
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.get_or_insert_default().insert(text.clone()) {
        WAITING.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

/// The notices since the last time, for who shows them.
pub fn take() -> Vec<String> {
    std::mem::take(&mut WAITING.lock().unwrap_or_else(PoisonError::into_inner))
}
