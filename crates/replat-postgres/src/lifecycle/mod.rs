//! The life of partitions on PostgreSQL.
//!
//! | what | where |
//! |---|---|
//! | what is there | [`look`], [`bounds`], [`adopted`] |
//! | what replat keeps about it | [`ledger`] |
//! | hearing when a run is wanted | [`listen`] |
//! | a unit as statements with their locks | [`script`] |
//! | bringing it about without anybody noticing | [`act`], [`quiet`], [`archive`] |
//! | what runs leave for each other | [`memory`] |
//! | whether queries touch few partitions | [`prune`] |
//! | while rows move | [`mirror`], [`reshape`] |
//! | all of it behind the boundary | [`engine`] |

pub mod act;
pub mod adopted;
pub mod archive;
pub mod bounds;
pub mod engine;
pub mod ledger;
pub mod listen;
pub mod look;
pub mod memory;
pub mod mirror;
pub mod prune;
pub mod quiet;
pub mod reshape;
pub mod script;
pub mod wanted;
