//! Advice for people. What is said is decided once, in `story`, and written in three ways: for a terminal, as Markdown, and
//! as a page with pictures.

mod columns;
mod difference;
mod drawing;
mod markdown;
mod page;
mod story;
mod terminal;

pub use difference::difference;
pub use markdown::markdown;
pub use page::page;
pub use terminal::{layout, terminal};
