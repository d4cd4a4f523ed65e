//! Kinks and ties.
