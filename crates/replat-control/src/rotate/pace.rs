//! x
use replat_model::lifecycle::facts::{Facts, SetFacts};
use replat_model::lifecycle::runway::Runway;

pub fn runway(set: &SetFacts, _facts: &Facts) -> Runway {
    Runway { set: set.table.clone(), seconds: None, until: None, because: String::new(), unknown: None }
}
