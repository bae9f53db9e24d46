use bytes::{BufMut, BytesMut};
use proptest::prelude::*;
use replat_wire::startup::{BadOpening, CancelKey, Opening, opening, put_cancel, put_startup};

/// A first message with this code and body, whose length is right.
fn first(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + body.len()).expect("short");
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

const V3: u32 = 3 << 16;

#[test]
fn every_kind_of_first_message_is_told_apart() {
    let key = CancelKey { pid: 7, secret: -1 };
    let mut cancel = BytesMut::new();
    put_cancel(&mut cancel, key);
    let rows: [(&[u8], Opening); 3] = [
        (&first(80_877_103, b""), Opening::Ssl),
        (&first(80_877_104, b""), Opening::Gss),
        (&cancel, Opening::Cancel(key)),
    ];
    for (bytes, want) in rows {
        assert_eq!(opening(bytes), Ok(Some((want, bytes.len()))));
    }
    let startup = first(V3 | 2, b"user\0app\0options\0-c a.b=c\0_pq_.x\0on\0\0");
    let Ok(Some((Opening::Startup(startup), _))) = opening(&startup) else { panic!("a start-up") };
    assert_eq!(startup.minor, 2);
    assert_eq!((startup.get("user"), startup.get("options")), (Some("app"), Some("-c a.b=c")));
    assert_eq!(startup.extensions().collect::<Vec<_>>(), ["_pq_.x"]);
}

#[test]
fn what_is_no_first_message_has_a_name() {
    let with_length = |length: i32| [&length.to_be_bytes()[..], &V3.to_be_bytes(), &[0; 8]].concat();
    let rows: [(&str, Vec<u8>, BadOpening); 17] = [
        ("no length", with_length(0), BadOpening::Length(0)),
        ("three", with_length(3), BadOpening::Length(3)),
        ("four", with_length(4), BadOpening::Length(4)),
        ("seven", with_length(7), BadOpening::Length(7)),
        ("too long", with_length(10_001), BadOpening::Length(10_001)),
        ("the longest", with_length(i32::MAX), BadOpening::Length(i32::MAX)),
        ("negative", with_length(i32::MIN), BadOpening::Length(i32::MIN)),
        ("minus one", with_length(-1), BadOpening::Length(-1)),
        ("protocol 2", first(2 << 16, b"\0"), BadOpening::Version { major: 2, minor: 0 }),
        ("HTTP", b"GET / HTTP/1.1\r\n".to_vec(), BadOpening::Length(0x4745_5420)),
        ("TLS at length", first(80_877_103, b"x"), BadOpening::Request(9)),
        ("a short key", first(80_877_102, &[0; 7]), BadOpening::Request(15)),
        ("no end", first(V3, b"user\0app\0"), BadOpening::Layout),
        ("a name without a value", first(V3, b"user\0app\0x\0"), BadOpening::Layout),
        ("bytes behind the end", first(V3, b"user\0app\0\0x"), BadOpening::Nameless),
        ("nobody", first(V3, b"database\0app\0\0"), BadOpening::NoUser),
        ("two users", first(V3, b"user\0a\0user\0b\0\0"), BadOpening::Twice("user")),
    ];
    for (case, bytes, want) in rows {
        assert_eq!(opening(&bytes), Err(want), "{case}");
    }
    assert_eq!(opening(&first(V3, b"user\0\xff\0\0")), Err(BadOpening::NotUtf8));
    assert_eq!(opening(&first(V3, b"user\0\0\0")), Err(BadOpening::NoUser), "an empty name is nobody");
}

proptest! {
    #[test]
    fn no_bytes_upset_the_first_message(bytes in proptest::collection::vec(any::<u8>(), 0..300), code in any::<u16>()) {
        drop(opening(&bytes));
        drop(opening(&first(V3 | u32::from(code), &bytes)));
    }

    #[test]
    fn what_was_cut_short_waits_and_what_is_whole_is_read(
        pairs in proptest::collection::btree_map("[a-z_.]{1,12}", "\\PC{0,20}", 0..8),
    ) {
        let pairs: Vec<_> = pairs.into_iter().filter(|(name, _)| name != "user").collect();
        let own = [("user", "app")];
        let all = own.into_iter().chain(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let mut bytes = BytesMut::new();
        put_startup(&mut bytes, all.clone());
        let length = bytes.len();
        bytes.put_slice(b"more");
        let Ok(Some((Opening::Startup(startup), used))) = opening(&bytes) else {
            return Err(TestCaseError::fail("a start-up"));
        };
        prop_assert_eq!(used, length);
        let all: Vec<_> = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        prop_assert_eq!(startup.parameters, all);
        for cut in 0..length {
            prop_assert_eq!(opening(&bytes[..cut]), Ok(None), "cut at {}", cut);
        }
    }
}
