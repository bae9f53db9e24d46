//! Whether the rollout is the partition's next step: the order of versions has no gap.

use super::{Finding, Ground, Notes};
use crate::preflight::Check;

/// A rollout's expressions are written for one version, so a partition that is at another is not moved by it. One that
/// has the rollout's version already only gets another place.
pub(super) fn check(ground: &Ground, notes: &mut Notes) {
    let (versions, rollout) = (&ground.context.versions, ground.rollout);
    if versions.is_empty() && rollout.after.is_none() {
        return;
    }
    let (partition, to) = (&ground.ask.partition, &rollout.version);
    let Some(at) = &ground.ask.version else {
        notes.find(Finding::new(
            Check::VersionGap,
            format!("which version {partition} is at was never recorded"),
            "Say it: replat route set PARTITION --schema-version VERSION",
        ));
        return;
    };
    let wanted = rollout.comes_after(versions);
    if at == to || wanted == Some(at.as_str()) {
        return;
    }
    let place = |name: &str| versions.iter().position(|version| version == name);
    let (what, remedy) = match (place(at), place(to), wanted) {
        (Some(is), Some(will_be), _) if is > will_be => (
            format!("{partition} is at {at}, which comes after {to}"),
            "Roll back the deployment that brought it there, or roll out a version that comes later."
                .to_owned(),
        ),
        (_, _, Some(wanted)) => (
            format!("{partition} is at {at}, and {to} comes after {wanted}"),
            format!(
                "Bring it to {wanted} first; or, if the rollout's expressions are written for {at}, say after = \"{at}\" \
                 in the rollout."
            ),
        ),
        (_, _, None) => (
            format!("{partition} is at {at}, and {to} comes after no other version"),
            format!("Put {at} before {to} in versions, or say after = \"{at}\" in the rollout."),
        ),
    };
    notes.find(Finding::new(Check::VersionGap, what, remedy));
}
