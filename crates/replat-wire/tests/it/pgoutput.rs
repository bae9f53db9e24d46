use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use replat_model::ids::Lsn;
use replat_wire::pgoutput::*;
use replat_wire::{PgTimestamp, Problem};

use crate::encoder::encode;

fn lsn() -> impl Strategy<Value = Lsn> {
    any::<u64>().prop_map(Lsn)
}

fn time() -> impl Strategy<Value = PgTimestamp> {
    any::<i64>().prop_map(PgTimestamp)
}

fn name() -> impl Strategy<Value = String> {
    "[^\\x00]{0,12}"
}

fn content() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn tuple() -> impl Strategy<Value = Tuple> {
    let value = prop_oneof![
        Just(TupleValue::Null),
        Just(TupleValue::Unchanged),
        content().prop_map(TupleValue::Text),
        content().prop_map(TupleValue::Binary),
    ];
    vec(value, 0..6).prop_map(Tuple)
}

fn old_row() -> impl Strategy<Value = OldRow> {
    prop_oneof![tuple().prop_map(OldRow::Key), tuple().prop_map(OldRow::Full)]
}

fn relation() -> impl Strategy<Value = Relation> {
    let identity = prop_oneof![
        Just(ReplicaIdentity::Default),
        Just(ReplicaIdentity::Nothing),
        Just(ReplicaIdentity::Full),
        Just(ReplicaIdentity::Index),
    ];
    let column = (any::<bool>(), name(), any::<u32>(), any::<i32>())
        .prop_map(|(key, name, type_oid, typmod)| Column { key, name, type_oid, typmod });
    (any::<u32>(), name(), name(), identity, vec(column, 0..5)).prop_map(
        |(id, namespace, name, replica_identity, columns)| Relation {
            id,
            namespace,
            name,
            replica_identity,
            columns,
        },
    )
}

fn of_a_transaction() -> impl Strategy<Value = Message> {
    prop_oneof![
        (lsn(), time(), any::<u32>()).prop_map(|(final_lsn, commit_time, xid)| Message::Begin(Begin {
            final_lsn,
            commit_time,
            xid
        })),
        (lsn(), lsn(), time()).prop_map(|(lsn, end_lsn, time)| Message::Commit(Commit {
            lsn,
            end_lsn,
            time
        })),
        (lsn(), name()).prop_map(|(commit_lsn, name)| Message::Origin(Origin { commit_lsn, name })),
        (any::<bool>(), lsn(), name(), content()).prop_map(|(transactional, lsn, prefix, content)| {
            Message::Message(LogicalMessage { transactional, lsn, prefix, content })
        }),
    ]
}

fn of_a_table() -> impl Strategy<Value = Message> {
    prop_oneof![
        relation().prop_map(Message::Relation),
        (any::<u32>(), name(), name()).prop_map(|(id, namespace, name)| Message::Type(TypeName {
            id,
            namespace,
            name
        })),
        (any::<u32>(), tuple()).prop_map(|(relation, new)| Message::Insert(Insert { relation, new })),
        (any::<u32>(), option::of(old_row()), tuple())
            .prop_map(|(relation, old, new)| Message::Update(Update { relation, old, new })),
        (any::<u32>(), old_row()).prop_map(|(relation, old)| Message::Delete(Delete { relation, old })),
        (vec(any::<u32>(), 0..5), any::<bool>(), any::<bool>()).prop_map(
            |(relations, cascade, restart_identity)| {
                Message::Truncate(Truncate { relations, cascade, restart_identity })
            }
        ),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![of_a_transaction(), of_a_table()]
}

proptest! {
    #[test]
    fn a_message_is_decoded_as_it_was_encoded(message in message()) {
        prop_assert_eq!(decode(encode(&message)), Ok(message));
    }

    #[test]
    fn a_message_that_was_cut_short_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
        let whole = encode(&message);
        let cut = cut.index(whole.len());
        let error = decode(whole.slice(..cut)).expect_err("every field is needed");
        prop_assert!(error.at <= cut, "{error}");
    }

    #[test]
    fn a_message_with_something_behind_it_is_refused(message in message(), behind in 1usize..4) {
        let whole = encode(&message);
        let longer = [&whole[..], &[b'n'; 3][..behind]].concat();
        let error = decode(longer.into()).expect_err("nobody claims the rest");
        prop_assert_eq!(error.problem, Problem::Trailing { count: behind });
        prop_assert_eq!(error.at, whole.len());
    }

    #[test]
    fn no_bytes_whatever_make_the_decoder_panic(
        tag in prop::sample::select(b"BCORYIUDTMSEcAbPKrp\0x".to_vec()),
        rest in vec(any::<u8>(), 0..60),
    ) {
        let bytes = [&[tag][..], &rest].concat();
        if let Err(error) = decode(bytes.into()) {
            prop_assert!(error.at <= rest.len() + 1, "{error}");
        }
    }

    #[test]
    fn one_changed_byte_does_not_make_the_decoder_panic(
        message in message(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&message).to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        // Whatever it has become: decoded or refused, and again the same.
        prop_assert_eq!(decode(bytes.clone().into()), decode(bytes.into()));
    }
}

#[test]
fn what_nobody_asked_for_is_refused_by_name() {
    let rows = [
        (b'S', "Stream Start"),
        (b'E', "Stream Stop"),
        (b'c', "Stream Commit"),
        (b'A', "Stream Abort"),
        (b'p', "Stream Prepare"),
        (b'b', "Begin Prepare"),
        (b'P', "Prepare"),
        (b'K', "Commit Prepared"),
        (b'r', "Rollback Prepared"),
    ];
    for (tag, name) in rows {
        let error = decode(vec![tag, 0, 0].into()).expect_err(name);
        assert!(error.to_string().contains(&format!("{name} belongs to")), "{error}");
    }
}

#[test]
fn an_error_says_what_is_wrong_and_where() {
    let rows: [(&[u8], &str); 8] = [
        (b"", "byte 0 of pgoutput message: the message ends 1 bytes too early for its tag"),
        (b"?", "byte 0 of pgoutput message: 0x3f is no tag of a pgoutput message"),
        (b"B\0\0", "byte 1 of Begin: the message ends 6 bytes too early for its final position"),
        (b"Y\0\0\0\x01pub", "byte 5 of Type: the schema has no end"),
        (b"Y\0\0\0\x01\xff\0", "byte 5 of Type: the schema is not UTF-8"),
        (b"I\0\0\0\x01X", "byte 6 of Insert: 0x58 is no kind of row"),
        (b"I\0\0\0\x01N\xff\xff", "byte 6 of Insert: the number of values is negative (-1)"),
        (
            b"I\0\0\0\x01N\0\x01t\0\0\0\x05abc",
            "byte 13 of Insert: the message ends 2 bytes too early for its value",
        ),
    ];
    for (bytes, want) in rows {
        let error = decode(Bytes::copy_from_slice(bytes)).expect_err(want);
        assert_eq!(error.to_string(), want);
    }
}

#[test]
fn a_huge_count_in_a_small_message_allocates_nothing_huge() {
    let error =
        decode(Bytes::from_static(b"T\x7f\xff\xff\xff\0\0\0\0\x01")).expect_err("one relation of many");
    assert!(matches!(error.problem, Problem::EndsEarly { field: "relation id", .. }), "{error}");
}

#[test]
fn values_are_slices_of_the_message() {
    let message = Bytes::from_static(b"I\0\0\0\x01N\0\x01t\0\0\0\x03abc");
    let range = message.as_ptr_range();
    let Ok(Message::Insert(insert)) = decode(message) else { panic!("an insert") };
    let [TupleValue::Text(value)] = &insert.new.0[..] else { panic!("one text") };
    assert!(range.contains(&value.as_ptr()));
}
