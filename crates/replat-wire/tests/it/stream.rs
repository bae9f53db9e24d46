use bytes::{Buf, BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use replat_model::ids::Lsn;
use replat_wire::PgTimestamp;
use replat_wire::stream::{Frame, Keepalive, StandbyStatusUpdate, XLogData};

fn encode(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    match frame {
        Frame::XLogData(log) => {
            out.put_u8(b'w');
            out.put_u64(log.start.0);
            out.put_u64(log.end.0);
            out.put_i64(log.time.0);
            out.put_slice(&log.data);
        }
        Frame::Keepalive(keepalive) => {
            out.put_u8(b'k');
            out.put_u64(keepalive.wal_end.0);
            out.put_i64(keepalive.time.0);
            out.put_u8(keepalive.reply_requested.into());
        }
    }
    out.freeze()
}

fn frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        (any::<u64>(), any::<u64>(), any::<i64>(), vec(any::<u8>(), 0..30)).prop_map(
            |(start, end, time, data)| Frame::XLogData(XLogData {
                start: Lsn(start),
                end: Lsn(end),
                time: PgTimestamp(time),
                data: data.into(),
            })
        ),
        (any::<u64>(), any::<i64>(), any::<bool>()).prop_map(|(end, time, reply_requested)| {
            Frame::Keepalive(Keepalive { wal_end: Lsn(end), time: PgTimestamp(time), reply_requested })
        }),
    ]
}

proptest! {
    #[test]
    fn a_frame_is_decoded_as_it_was_encoded(frame in frame()) {
        prop_assert_eq!(Frame::decode(encode(&frame)), Ok(frame));
    }

    #[test]
    fn no_bytes_whatever_make_the_frame_decoder_panic(bytes in vec(any::<u8>(), 0..40)) {
        let length = bytes.len();
        if let Err(error) = Frame::decode(bytes.into()) {
            prop_assert!(error.at <= length, "{error}");
        }
    }

    #[test]
    fn a_status_says_all_three_positions(
        written: u64, flushed: u64, applied: u64, time: i64, reply: bool,
    ) {
        let mut out = BytesMut::new();
        let status = StandbyStatusUpdate {
            written: Lsn(written),
            flushed: Lsn(flushed),
            applied: Lsn(applied),
            time: PgTimestamp(time),
            reply,
        };
        status.encode(&mut out);
        prop_assert_eq!(out.get_u8(), b'r');
        prop_assert_eq!([out.get_u64(), out.get_u64(), out.get_u64()], [written, flushed, applied]);
        prop_assert_eq!((out.get_i64(), out.get_u8()), (time, u8::from(reply)));
        prop_assert!(out.is_empty());
    }
}

#[test]
fn a_frame_of_another_kind_is_refused() {
    let error = Frame::decode(Bytes::from_static(b"p123")).expect_err("no such frame");
    assert_eq!(error.to_string(), "byte 0 of replication frame: 0x70 is no tag of a replication frame");
}

#[test]
fn moments_are_counted_from_two_thousand() {
    assert_eq!(PgTimestamp(0).unix_micros(), 946_684_800_000_000);
    assert_eq!(PgTimestamp::from_unix_micros(946_684_800_000_001), PgTimestamp(1));
}
