//! The partitions of a hash get another modulus.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::{level, part, refuse};
use super::{Namer, old, recut, whole};
use crate::lifecycle::draft::Names;
use crate::lifecycle::draft::cut::missing_remainders;
use crate::lifecycle::facts::{Bound, Facts, Method, Part, TableName};
use crate::lifecycle::health::Finding;
use crate::lifecycle::plan::Unit;

/// The largest modulus.
const MODULUS_MAX: u32 = 4096;

/// Another modulus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modulus {
    /// The table that is cut by a hash.
    pub parent: TableName,
    /// The modulus it is to have.
    pub modulus: u32,
    /// Only these partitions now; empty for all.
    pub only: Vec<TableName>,
}

/// The units of another modulus: one for each partition that is cut, or for each group that becomes one.
pub(in super::super) fn modulus(
    facts: &Facts,
    wanted: &Modulus,
    names: &mut Names,
) -> Result<Vec<Unit>, Finding> {
    let parent = &wanted.parent;
    let (set, level) = level(facts, parent)?;
    if level.method != Method::Hash {
        let what = format!("{parent} is not cut by a hash");
        return Err(refuse(
            &set.table,
            what,
            "Name a table that is, or split its partitions: replat rotate split",
        ));
    }
    let target = wanted.modulus;
    if !(1..=MODULUS_MAX).contains(&target) {
        let what = format!("{target} is no modulus");
        return Err(refuse(&set.table, what, format!("Choose one from 1 to {MODULUS_MAX}.")));
    }
    let bounds: Vec<Bound> = level.parts.iter().map(|part| part.bound.clone()).collect();
    if !missing_remainders(&bounds).is_empty() {
        let what = format!("{parent} lacks a partition for some remainders");
        return Err(refuse(&set.table, what, "Let runs fill the gap first: replat rotate"));
    }
    let mut groups: BTreeMap<u32, Vec<&Part>> = BTreeMap::new();
    let mut cut: Vec<&Part> = Vec::new();
    for part in &level.parts {
        let Bound::Hash { modulus, remainder } = part.bound else { continue };
        match (modulus, target) {
            (now, then) if now == then => {}
            (now, then) if then % now == 0 => cut.push(part),
            (now, then) if now % then == 0 => groups.entry(remainder % then).or_default().push(part),
            (now, then) => {
                let (down, up) =
                    (gcd(now, then), u64::from(now) / u64::from(gcd(now, then)) * u64::from(then));
                let what = format!(
                    "{} has modulus {now}, and {then} is neither a multiple nor a divisor of it",
                    part.table
                );
                let remedy = format!("Go by way of {down} or {up}; or choose {}.", u64::from(now) * 2);
                return Err(refuse(&set.table, what, remedy));
            }
        }
    }
    let is_wanted = |part: &Part| wanted.only.is_empty() || wanted.only.contains(&part.table);
    if let Some(stranger) =
        wanted.only.iter().find(|table| !level.parts.iter().any(|part| part.table == **table))
    {
        return Err(refuse(
            &set.table,
            format!("{stranger} is no partition of {parent}"),
            "Name one of its own.",
        ));
    }
    let mut units = Vec::new();
    for source in cut.into_iter().filter(|part| is_wanted(part)) {
        let Bound::Hash { modulus, remainder } = source.bound else { continue };
        let found = part(facts, &source.table)?;
        whole(found)?;
        let mut namer = Namer::new(found, None, names);
        let mut new = Vec::new();
        for more in 0..target / modulus {
            new.push(
                namer.part(Bound::Hash { modulus: target, remainder: remainder + more * modulus }, None)?,
            );
        }
        units.push(recut(found, vec![old(source)], new));
    }
    for (remainder, group) in groups {
        if !group.iter().any(|part| is_wanted(part)) {
            continue;
        }
        let found = part(facts, &group[0].table)?;
        for source in &group {
            whole(part(facts, &source.table)?)?;
        }
        let mut namer = Namer::new(found, None, names);
        let new = namer.part(Bound::Hash { modulus: target, remainder }, None)?;
        units.push(recut(found, group.into_iter().map(old).collect(), vec![new]));
    }
    Ok(units)
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
