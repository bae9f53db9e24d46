//! `adopt`.
use crate::cli::{AdoptArgs, Global};
use crate::failure::{Exit, Failure};
use crate::render::Style;

pub async fn adopt(_global: &Global, _style: Style, _args: &AdoptArgs) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
