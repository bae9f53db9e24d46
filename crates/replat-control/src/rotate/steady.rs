//! Until when a catalogue that stays as it is has nothing to do.

use replat_model::lifecycle::draft::Wish;
use replat_model::lifecycle::facts::{Facts, Micros};

/// See the module.
pub fn until(_facts: &Facts, _wish: &Wish) -> Option<Micros> {
    None
}
