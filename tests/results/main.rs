//! What comes out of a run and of an evaluation, in numbers, files and pages.

mod measures;
mod page;
mod ten_crop;
