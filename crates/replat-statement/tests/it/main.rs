//! What is read from statements, and that it is true.

mod cases;
mod cases_of_several;
mod effects;
mod hostile;
mod parameters;
mod schema;
mod soundness;
mod unsettled;
