//! That every check of the preflight can be seen to fail: each is provoked by one change to a sound world.

use replat_model::draft::{Beside, Crossing, Misfit, Unfit};
use replat_model::facts::{
    ForeignKeyFacts, Identity, ReferenceFacts, ReplicaIdentity, SequenceFacts, TableKind, TriggerEnabled,
    TriggerFacts,
};
use replat_model::key::KeyType;
use replat_model::preflight::{Check, Severity};
use replat_model::spec::{NewTable, PathWish, Reversible, Rows, TableMode};

use crate::world::*;

/// What makes the check fail. The match is exhaustive, so a check without a provocation does not compile.
fn provoke(check: Check, w: &mut World) {
    match check {
        Check::UnknownContext => w.ask.context = "shp".into(),
        Check::NoRollout => w.context().rollout = None,
        Check::UnknownTable => w.add_table("ordres", TableMode::Slice),
        Check::UnknownColumn => w.map("orders", "notes", "note", None),
        Check::VersionGap => {
            w.context().versions = ["v1", "v1b", "v2"].map(str::to_owned).to_vec();
            w.ask.version = Some("v1".into());
        }
        Check::SameHome => {
            w.green = w.blue.clone();
            w.rollout().to = w.ask.home.clone();
            w.ask.beside = Some(Beside::default());
        }
        Check::PathNotOpen => w.rollout().path = PathWish::Views,
        Check::DownTwice => {
            add_column(orders(&mut w.green), "other", "text");
            w.map("orders", "note", "note", Some(("note", "note")));
            w.map("orders", "other", "note", Some(("note", "other")));
        }
        Check::ServerVersion => w.blue.major = 13,
        Check::ServerBug => w.green.version_num = 150_012,
        Check::Encoding => w.green.encoding = "LATIN1".into(),
        Check::WalLevel => w.blue.wal_level = "replica".into(),
        Check::NoSlot => w.green.slots_used = 10,
        Check::NoSender => w.green.senders_used = 10,
        Check::SlotTimeout => w.blue.slot_idle_max_s = 3_600,
        Check::SlotFailover => w.blue.standbys = 1,
        Check::PreparedTransactions => w.blue.prepared_transactions = 1,
        Check::Privilege => w.blue.can_replicate = false,
        Check::NotOwner => orders(&mut w.blue).owned = false,
        Check::RowsHidden => orders(&mut w.blue).rows_hidden = true,
        Check::NotATable => orders(&mut w.blue).kind = TableKind::View,
        Check::PartitionLeaf => orders(&mut w.blue).partition_root = Some("all_orders".into()),
        Check::Inheritance => orders(&mut w.blue).inherits = true,
        Check::Unlogged => orders(&mut w.blue).unlogged = true,
        Check::GreenNotEmpty => w.ask.occupied.push("orders".into()),
        Check::ReservedName => w.both(|table| add_column(table, "replat_k0", "text")),
        Check::CatalogueNumbers => w.both(|table| add_column(table, "source", "regclass")),
        Check::RowsStay => {
            let rows = Rows { up: Some("amount > 0".into()), down: Some("true".into()) };
            w.rollout().reversible = Reversible::AcceptLossy;
            w.rollout().tables.insert("orders".into(), NewTable { rows: Some(rows), ..NewTable::default() });
        }
        Check::LargeObjects => w.both(|table| add_column(table, "scan", "oid")),
        Check::NoKey => w.both(|table| {
            table.primary_key.clear();
            table.replica_identity = ReplicaIdentity::Full;
        }),
        Check::KeyNotUnique => orders(&mut w.green).indexes.clear(),
        Check::KeyChanges => w.map("orders", "id", "id + 1", Some(("id", "id - 1"))),
        Check::NoDimension => w.context().dimensions[0].column = "tenantid".into(),
        Check::DimensionType => w.context().dimensions[0].key_type = KeyType::Uuid,
        Check::DimensionGenerated => {
            w.both(|table| column(table, "tenant_id").generated = Some("id % 7".into()));
        }
        Check::UniqueAcross => orders(&mut w.blue).indexes.push(index("orders_note_key", &["note"])),
        Check::NullKeys => w.both(|table| {
            table.primary_key = vec!["id".into()];
            table.indexes = vec![index("orders_pkey", &["id"])];
            table.replica_identity = ReplicaIdentity::Full;
            column(table, "tenant_id").not_null = false;
        }),
        Check::ReplicaIdentity => orders(&mut w.blue).replica_identity = ReplicaIdentity::Nothing,
        Check::GeneratedIdentity => {
            w.blue.major = 18;
            let table = orders(&mut w.blue);
            table.replica_identity = ReplicaIdentity::Full;
            add_column(table, "doubled", "numeric");
            column(table, "doubled").generated = Some("(amount * 2)".into());
        }
        Check::Expression => w.map("orders", "note", "now()::text", Some(("note", "note"))),
        Check::NoSource => {
            add_column(orders(&mut w.green), "kind", "text");
            column(orders(&mut w.green), "kind").not_null = true;
        }
        Check::TypeDiffers => column(orders(&mut w.green), "amount").type_name = "numeric(14,1)".into(),
        Check::GeneratedTarget => {
            column(orders(&mut w.green), "amount").generated = Some("1".into());
            w.map("orders", "amount", "amount", None);
        }
        Check::IdentityAlways => {
            w.both(|table| add_column(table, "number", "bigint"));
            column(orders(&mut w.green), "number").identity = Some(Identity::Always);
        }
        Check::UnsaidPart => w.map("orders", "note", "note || amount", Some(("note", "note"))),
        Check::NotNull => column(orders(&mut w.green), "note").not_null = true,
        Check::PartNotNull => {
            let mut notes = orders(&mut w.green).clone();
            notes.name = "notes".into();
            drop_column(&mut notes, "amount");
            w.green.relations.push("notes".into());
            w.green.tables.push(notes);
            drop_column(orders(&mut w.green), "note");
            column(orders(&mut w.blue), "note").not_null = true;
            let part = NewTable {
                from: Some("orders".into()),
                part_of: Some("orders".into()),
                ..NewTable::default()
            };
            w.rollout().tables.insert("notes".into(), part);
        }
        Check::NullValues => misfit(w, Unfit::Null { column: "note".into() }),
        Check::ValueUnfit => {
            misfit(w, Unfit::Valueless { column: Some("note".into()), why: "division by zero".into() });
        }
        Check::CheckViolated => misfit(
            w,
            Unfit::Violates { constraint: "positive".into(), definition: "CHECK ((amount > 0))".into() },
        ),
        Check::Duplicates => {
            misfit(w, Unfit::Twice { index: "orders_note_key".into(), over: "note".into() });
        }
        Check::GoesTwice => misfit(w, Unfit::GoesTwice { other: "old_orders".into() }),
        Check::RowsUnseen => misfit(w, Unfit::Unseen { why: "it took too long".into() }),
        Check::DerivedOnly => {
            add_column(orders(&mut w.green), "length", "integer");
            w.map("orders", "length", "length(note)", None);
        }
        Check::Irreversible => {
            w.rollout().reversible = Reversible::Preferred;
            column(orders(&mut w.blue), "note").not_null = true;
            drop_column(orders(&mut w.green), "note");
        }
        Check::LossyRollback => drop_column(orders(&mut w.green), "note"),
        Check::FkOutside => orders(&mut w.blue).foreign_keys.push(to_elsewhere()),
        Check::FkInto => orders(&mut w.blue).referenced_by.push(from_elsewhere()),
        Check::FkLeaves => {
            let parent =
                ForeignKeyFacts { ref_schema: "public".into(), ref_table: "orders".into(), ..to_elsewhere() };
            orders(&mut w.blue).foreign_keys.push(parent.clone());
            orders(&mut w.green).foreign_keys.push(ForeignKeyFacts { ref_schema: "shop".into(), ..parent });
            w.ask.crossings.push(crossing(true));
        }
        Check::FkEnters => w.ask.crossings.push(crossing(false)),
        Check::FkUnsettled => w.ask.unsettled_keys.push("orders_author".into()),
        Check::Triggers => orders(&mut w.green).triggers.push(trigger(TriggerEnabled::Origin)),
        Check::TriggersFire => orders(&mut w.green).triggers.push(trigger(TriggerEnabled::Always)),
        Check::Subscribed => orders(&mut w.blue).subscribed = true,
        Check::RowSecurityGone => orders(&mut w.blue).row_security = true,
        Check::RowsShared => w.beside(),
        Check::GrantsGone => {
            orders(&mut w.blue).grants.insert("app".into(), vec!["INSERT".into(), "SELECT".into()]);
            orders(&mut w.green).grants.insert("app".into(), vec!["SELECT".into()]);
        }
        Check::SequenceNew => column(orders(&mut w.blue), "id").sequence = None,
        Check::SequenceUnknown => {
            w.both(|table| add_column(table, "number", "bigint"));
            column(orders(&mut w.green), "number").default = Some("nextval(next_name())".into());
        }
        Check::SequenceMissing => {
            w.blue.free_sequences.push(SequenceFacts {
                name: "tickets".into(),
                qualified: "public.tickets".into(),
                max: i64::MAX,
            });
        }
        Check::SequenceRoom => w.spec.policy.sequence_room = u64::MAX,
    }
}

fn misfit(w: &mut World, what: Unfit) {
    let (table, blue) = ("orders".to_owned(), "orders".to_owned());
    w.ask.misfits.push(Misfit { table, blue, what, rows: 2, example: "42, 7".into() });
}

fn to_elsewhere() -> ForeignKeyFacts {
    ForeignKeyFacts {
        name: "orders_author".into(),
        columns: vec!["id".into()],
        ref_schema: "auth".into(),
        ref_table: "authors".into(),
        ref_columns: vec!["id".into()],
        on_delete_cascade: false,
        on_update_cascade: false,
    }
}

fn crossing(leaves: bool) -> Crossing {
    Crossing {
        key: "orders_author".into(),
        child: "public.orders".into(),
        parent: "public.orders".into(),
        columns: vec!["id".into()],
        leaves,
        example: "7".into(),
    }
}

fn from_elsewhere() -> ReferenceFacts {
    ReferenceFacts { name: "invoice_order".into(), schema: "billing".into(), table: "invoices".into() }
}

fn trigger(enabled: TriggerEnabled) -> TriggerFacts {
    TriggerFacts { name: "audit".into(), enabled, definition: "…".into() }
}

#[test]
fn every_check_can_fail_and_is_as_grave_as_it_says() {
    for check in Check::ALL.iter().copied() {
        let mut world = World::new();
        provoke(check, &mut world);
        match (world.draft(), check.severity()) {
            (Err(findings), Severity::Refusal) => {
                assert!(findings.iter().any(|finding| finding.code == check), "{check}: {findings:?}");
                for finding in findings {
                    assert_eq!(finding.code.severity(), Severity::Refusal, "{finding:?}");
                    assert!(!finding.remedy.is_empty(), "{finding:?}");
                }
            }
            (Ok(plan), severity @ (Severity::Allow | Severity::Note)) => {
                let of_it: Vec<_> = plan.hazards.iter().filter(|hazard| hazard.name == check).collect();
                assert!(!of_it.is_empty(), "{check}: {:?}", plan.hazards);
                assert!(
                    of_it.iter().all(|hazard| hazard.must_allow == (severity == Severity::Allow)),
                    "{of_it:?}"
                );
            }
            (drafted, severity) => panic!("{check} should be {severity:?}: {drafted:?}"),
        }
    }
}
