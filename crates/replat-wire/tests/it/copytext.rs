use bytes::BytesMut;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use replat_wire::copytext::encode_row;

type Row = Vec<Option<Vec<u8>>>;
type Case = (&'static [Option<&'static [u8]>], &'static [u8]);

fn encoded(row: &Row) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_row(row.iter().map(|value| value.as_deref()), &mut out);
    out.to_vec()
}

/// Reads rows as COPY FROM does: lines, then values between tabs, then escapes.
fn decoded(text: &[u8]) -> Vec<Row> {
    let lines = text.split(|byte| *byte == b'\n');
    let mut rows: Vec<Row> =
        lines.map(|line| line.split(|byte| *byte == b'\t').map(value).collect()).collect();
    assert_eq!(rows.pop(), Some(vec![Some(vec![])]), "the last row ends with a newline");
    rows
}

fn value(text: &[u8]) -> Option<Vec<u8>> {
    if text == b"\\N" {
        return None;
    }
    let mut bytes = text.iter();
    let mut value = Vec::new();
    while let Some(byte) = bytes.next() {
        value.push(match byte {
            b'\\' => match bytes.next().expect("something after a backslash") {
                b't' => b'\t',
                b'n' => b'\n',
                b'r' => b'\r',
                other => *other,
            },
            b'\r' => panic!("a bare carriage return"),
            other => *other,
        });
    }
    Some(value)
}

proptest! {
    #[test]
    fn rows_are_read_as_they_were_written(
        rows in vec(vec(option::of(vec(prop_oneof![any::<u8>(), prop::sample::select(b"\\\t\n\rN.".to_vec())], 0..12)), 1..6), 0..4),
    ) {
        let text: Vec<u8> = rows.iter().flat_map(encoded).collect();
        prop_assert_eq!(decoded(&text), rows);
    }
}

#[test]
fn a_row_looks_as_copy_writes_it() {
    let rows: [Case; 5] = [
        (&[Some(b"1"), None, Some(b"")], b"1\t\\N\t\n"),
        (&[Some(b"a\tb")], b"a\\tb\n"),
        (&[Some(b"\r\n")], b"\\r\\n\n"),
        (&[Some(b"\\N"), Some(b"\\.")], b"\\\\N\t\\\\.\n"),
        (&[Some(b"\xc3\xa9")], b"\xc3\xa9\n"),
    ];
    for (row, want) in rows {
        let mut out = BytesMut::new();
        encode_row(row.iter().copied(), &mut out);
        assert_eq!(out, want, "{row:?}");
    }
}
