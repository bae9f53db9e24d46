use bytes::BytesMut;
use proptest::prelude::*;
use replat_wire::backend::{self, Authentication, Complaint, TxStatus};
use replat_wire::frame::{BadFrame, HEAD_BYTES, head};
use replat_wire::frontend::{self, Bind, Object, Parse, Value};
use replat_wire::startup::CancelKey;

/// The body of the one message that `write` appends, and its tag.
fn written(write: impl FnOnce(&mut BytesMut)) -> (u8, Vec<u8>) {
    let mut out = BytesMut::new();
    write(&mut out);
    let head = head(&out, 10_000).expect("a length that can be").expect("a whole head");
    assert_eq!(head.total(), out.len(), "one message and nothing else");
    (head.tag, out[HEAD_BYTES..].to_vec())
}

#[test]
fn a_length_that_no_message_has_is_refused() {
    let with = |length: i32| [&b"Q"[..], &length.to_be_bytes()].concat();
    for length in [0, 1, 3, -1, i32::MIN] {
        assert_eq!(head(&with(length), 100), Err(BadFrame::Length { tag: b'Q', length }));
    }
    for length in [105, i32::MAX] {
        assert!(matches!(head(&with(length), 100), Err(BadFrame::TooLong { max: 104, .. })), "{length}");
    }
    for (length, body) in [(4, 0), (104, 100)] {
        assert_eq!(head(&with(length), 100).expect("fine").expect("whole").body, body);
    }
    assert_eq!(head(b"Q\0\0\0", 100), Ok(None));
}

#[test]
fn what_is_said_in_a_servers_place_is_read_again() {
    let complaint = Complaint::fatal("3D000", "no such partition").detail("It was dropped.").hint("Ask.");
    let (tag, body) = written(|out| complaint.put(out));
    assert_eq!((tag, Complaint::read(&body)), (b'E', complaint));
    let plain = Complaint::error("57014", "stopped");
    let (_, body) = written(|out| plain.put(out));
    assert_eq!(Complaint::read(&body), plain);
    for (status, letter) in [(TxStatus::Idle, b"I"), (TxStatus::Open, b"T"), (TxStatus::Failed, b"E")] {
        assert_eq!(written(|out| backend::put_ready(out, status)), (b'Z', letter.to_vec()));
        assert_eq!(TxStatus::read(letter), Some(status));
    }
    let key = CancelKey { pid: 12, secret: i32::MIN };
    assert_eq!(backend::key_data(&written(|out| backend::put_key_data(out, key)).1), Some(key));
    let (_, body) = written(|out| backend::put_parameter(out, "TimeZone", "UTC"));
    assert_eq!(backend::parameter(&body), Some(("TimeZone", "UTC")));
    let (_, body) = written(|out| backend::put_sasl_offer(out, &["SCRAM-SHA-256", "X"]));
    assert_eq!(Authentication::read(&body), Some(Authentication::Sasl(vec![b"SCRAM-SHA-256", b"X"])));
    let (_, body) = written(backend::put_authenticated);
    assert_eq!(Authentication::read(&body), Some(Authentication::Ok));
    let (_, body) = written(|out| backend::put_negotiate(out, ["_pq_.x"]));
    assert_eq!(body, [&[0, 3, 0, 0, 0, 0, 0, 1][..], b"_pq_.x\0"].concat());
}

#[test]
fn an_error_without_an_sqlstate_is_an_internal_one() {
    assert_eq!(Complaint::read(b"MOops\0\0").sqlstate, "XX000");
    assert_eq!(Complaint::read(b"C1\0\0").sqlstate, "XX000");
    assert_eq!(Complaint::read(b"").sqlstate, "XX000");
}

#[allow(clippy::type_complexity, reason = "a table of cases is a list of tuples")]
#[test]
fn values_are_read_in_either_format() {
    let body = |formats: &[u8], values: &[u8]| [b"portal\0stmt\0", formats, values].concat();
    let two: &[u8] = &[0, 2, 0, 0, 0, 1, b'7', 0xff, 0xff, 0xff, 0xff];
    let value = |binary, bytes: Option<&'static [u8]>| Value { binary, bytes };
    let rows: [(&str, Vec<u8>, Option<Vec<Value<'_>>>); 6] = [
        ("all text", body(&[0, 0], two), Some(vec![value(false, Some(b"7")), value(false, None)])),
        ("one for all", body(&[0, 1, 0, 1], two), Some(vec![value(true, Some(b"7")), value(true, None)])),
        (
            "each its own",
            body(&[0, 2, 0, 0, 0, 1], two),
            Some(vec![value(false, Some(b"7")), value(true, None)]),
        ),
        ("cut short", body(&[0, 0], &two[..6]), None),
        ("a negative length", body(&[0, 0], &[0, 1, 0xff, 0xff, 0xff, 0xfe]), None),
        ("a negative count", body(&[0xff, 0xff], &[]), None),
    ];
    for (case, body, want) in rows {
        let bind = Bind::read(&body).expect(case);
        assert_eq!((bind.portal, bind.statement), (&b"portal"[..], &b"stmt"[..]));
        assert_eq!(bind.values(), want, "{case}");
    }
    let parse = Parse::read(b"name\0select $1\0\0\x01\0\0\0\x17").expect("a Parse");
    assert_eq!((parse.name, parse.sql), (&b"name"[..], &b"select $1"[..]));
    assert_eq!(parse.type_oids().collect::<Vec<_>>(), [23]);
    assert_eq!(Parse::read(b"name\0select").expect("the beginning of one").sql, b"select");
    assert_eq!(Object::read(b"Sname\0"), Some(Object::Statement(b"name")));
    assert_eq!(Object::read(b"P\0"), Some(Object::Portal(b"")));
    assert_eq!(Object::read(b"Xname\0"), None);
}

#[test]
fn a_sasl_message_that_lies_about_its_length_is_none() {
    let (_, body) = written(|out| frontend::put_sasl_initial(out, "SCRAM-SHA-256", b"n,,"));
    assert_eq!(frontend::sasl_initial(&body), Some((&b"SCRAM-SHA-256"[..], &b"n,,"[..])));
    for length in [-1, 0, 2, 4, i32::MAX] {
        let mut lie = body.clone();
        lie[14..18].copy_from_slice(&length.to_be_bytes());
        assert_eq!(frontend::sasl_initial(&lie), None, "{length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_upset_a_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(frontend::query(&bytes).len() <= bytes.len());
        prop_assert!(head(&bytes, 1000).is_err() || bytes.len() < 5 || bytes[1..3] == [0, 0]);
        prop_assert!(frontend::sasl_initial(&bytes).is_none_or(|(_, data)| data.len() < bytes.len()));
        if let Some(parse) = Parse::read(&bytes) {
            prop_assert!(parse.type_oids().count() <= bytes.len() / 4);
        }
        if let Some(values) = Bind::read(&bytes).and_then(|bind| bind.values()) {
            prop_assert!(values.len() <= bytes.len() / 4);
        }
        drop((Object::read(&bytes), Authentication::read(&bytes), Complaint::read(&bytes), TxStatus::read(&bytes)));
        drop((backend::key_data(&bytes), backend::parameter(&bytes), backend::command(&bytes), backend::row(&bytes)));
    }

    #[test]
    fn a_complaint_survives_any_text(message in ".*", detail in ".*") {
        let complaint = Complaint::error("XX000", message.clone()).detail(detail.clone());
        let (_, body) = written(|out| complaint.put(out));
        let read = Complaint::read(&body);
        let until_zero = |text: &str| text.split('\0').next().unwrap_or_default().to_owned();
        prop_assert_eq!(read.message, until_zero(&message));
        prop_assert_eq!(read.detail, Some(until_zero(&detail)));
    }
}
