//! Conversations as a line of messages: a client's with `>`, a server's with `<`.

use bytes::BytesMut;
use proptest::prelude::*;
use replat_wire::conversation::{Conversation, Fate};
use replat_wire::frame::HEAD_BYTES;

/// A client's message: its tag, and for those that name a statement the name.
fn frame(tag: u8, name: &str) -> Vec<u8> {
    let body = match tag {
        b'P' => format!("{name}\0select 1\0\0\0"),
        b'B' => format!("\0{name}\0\0\0\0\0\0\0"),
        b'D' | b'C' => format!("S{name}\0"),
        _ => String::new(),
    };
    let length = u32::try_from(body.len() + 4).expect("short");
    [&[tag][..], &length.to_be_bytes(), body.as_bytes()].concat()
}

fn ask(conversation: &mut Conversation, tag: u8, name: &str) {
    let frame = frame(tag, name);
    conversation.ask(tag, &frame, true);
}

/// Follows messages such as `>Q <ZI`: what the client asks and the server answers. `Z` has its status behind it,
/// `P`, `B`, `D` and `C` of a client a statement's name; a server's `C` its words with `_` for spaces.
fn follow(conversation: &mut Conversation, story: &str) {
    for word in story.split_whitespace() {
        let (side, rest) = word.split_at(1);
        let (tag, more) = rest.split_at(1);
        let tag = tag.as_bytes()[0];
        match side {
            ">" => ask(conversation, tag, more),
            _ => {
                let fate = conversation.hear(tag, more.replace('_', " ").as_bytes());
                assert_eq!(fate, Ok(Fate::Pass), "{word} in {story}");
            }
        }
    }
}

#[test]
fn a_boundary_is_where_nothing_is_open_and_nothing_unanswered() {
    let rows = [
        ("nothing yet", "", true),
        ("a query without an answer", ">Q", false),
        ("an answered one", ">Q <C <ZI", true),
        ("in a transaction", ">Q <C <ZT", false),
        ("in a failed one", ">Q <E <ZE", false),
        ("two queries, one answer", ">Q >Q <C <ZI", false),
        ("two queries, two answers", ">Q >Q <C <ZI <C <ZI", true),
        ("a parse", ">P", false),
        ("a parse that is answered, without its Sync", ">P >H <1", false),
        ("a whole series", ">P >B >D >E >S <1 <2 <T <D <C <ZI", true),
        ("a series with its Sync under way", ">P >B >E >S <1 <2 <C", false),
        ("an error skips to the Sync", ">P >B >E >P >B >E >S <E <ZI", true),
        ("the series behind an error is still to come", ">P >S >P >S <E <ZI", false),
        ("and then it comes", ">P >S >P >S <E <ZI <1 <ZI", true),
        ("a Sync alone", ">S", false),
        ("a Flush means nothing", ">H", true),
        ("a function", ">F <V <ZI", true),
        ("COPY of a query", ">Q <G >d >d", false),
        ("the end of its rows", ">Q <G >d >c", false),
        ("and its answer", ">Q <G >d >c <C <ZI", true),
        ("COPY that the client gives up", ">Q <G >d >f <E <ZI", true),
        ("COPY that the server gives up", ">Q <G >d <E >d >c <ZI", true),
        ("rows sent ahead for a COPY that fails", ">P >B >E >S >d >c >S <E <ZI <ZI", true),
        ("the same, half answered", ">P >B >E >S >d >c >S <E <ZI", false),
        ("a Sync before COPY's rows is ignored", ">P >B >E >S <1 <2 <G", false),
        ("so another one must follow", ">P >B >E >S <1 <2 <G >d >c <C", false),
        ("and is answered", ">P >B >E >S <1 <2 <G >d >c >S <C <ZI", true),
        ("Syncs among the rows are ignored", ">P >B >E >S <1 <2 <G >d >S >d >S >c >S <C <ZI", true),
        ("all rows sent ahead", ">P >B >E >d >c >S <1 <2 <G <C <ZI", true),
        ("all rows sent ahead with a Sync too early", ">P >B >E >S >d >c >S <1 <2 <G <C <ZI", true),
        ("rows that nobody wants", ">d >c", true),
        ("a notice at rest", "<N <A <S", true),
    ];
    for (case, story, want) in rows {
        let mut conversation = Conversation::new(1000);
        follow(&mut conversation, story);
        assert_eq!(conversation.at_boundary(), want, "{case}: {story}");
    }
}

#[test]
fn a_server_that_answers_what_nobody_asked_is_found_out() {
    for (story, tag) in [("", b'1'), ("", b'3'), (">Q", b'1'), (">P", b'3'), (">C", b'1')] {
        let mut conversation = Conversation::new(1000);
        follow(&mut conversation, story);
        assert!(conversation.hear(tag, b"").is_err(), "{story} {}", char::from(tag));
    }
    assert!(Conversation::new(1000).hear(b'Z', b"X").is_err(), "a status that is none");
}

/// Whether a Bind of `name` would need a Parse before it.
fn needs(conversation: &mut Conversation, name: &str) -> bool {
    conversation.prepare_for(b'B', &frame(b'B', name)[HEAD_BYTES..]).is_some()
}

#[test]
fn a_statement_is_prepared_again_where_it_is_not_known_and_only_there() {
    let rows = [
        ("the unnamed one never", ">P >S <1 <ZI", "", false),
        ("one that was never there", ">S <ZI", "a", false),
        ("one that is confirmed", ">Pa >S <1 <ZI", "a", true),
        ("one that failed", ">Pa >S <E <ZI", "a", false),
        ("one that was skipped", ">P >Pa >S <E <ZI", "a", false),
        ("one in a transaction that failed later", ">Pa >B >E >S <1 <2 <E <ZI", "a", true),
        ("a closed one", ">Pa >S <1 <ZI >Ca >S <3 <ZI", "a", false),
        ("one whose Close was skipped", ">Pa >S <1 <ZI >P >Ca >S <E <ZI", "a", true),
        ("one that SQL took away", ">Pa >S <1 <ZI >Q <CDEALLOCATE_ALL <ZI", "a", false),
        ("with everything else", ">Pa >S <1 <ZI >Q <CDISCARD_ALL <ZI", "a", false),
    ];
    for (case, story, name, want) in rows {
        let mut conversation = Conversation::new(1000);
        follow(&mut conversation, story);
        assert!(!needs(&mut conversation, name), "{case}: the server that was asked has it");
        conversation.moved();
        assert_eq!(needs(&mut conversation, name), want, "{case}: {story}");
        assert!(!needs(&mut conversation, name), "{case}: once is enough");
    }
}

#[test]
fn the_client_does_not_see_what_the_relay_asked() {
    let mut conversation = Conversation::new(1000);
    follow(&mut conversation, ">Pa >S <1 <ZI >Pb >S <1 <ZI");
    conversation.moved();
    assert!(needs(&mut conversation, "a"));
    follow(&mut conversation, ">Ba >E");
    assert!(needs(&mut conversation, "b"));
    follow(&mut conversation, ">Bb >E >Pc >S");
    assert_eq!(conversation.hear(b'1', b""), Ok(Fate::Swallow), "for a");
    follow(&mut conversation, "<2 <C");
    assert_eq!(conversation.hear(b'1', b""), Ok(Fate::Swallow), "for b");
    follow(&mut conversation, "<2 <C <1 <ZI");
    assert!(conversation.at_boundary());
}

#[test]
fn what_could_not_be_prepared_again_is_tried_once_more() {
    let mut conversation = Conversation::new(1000);
    follow(&mut conversation, ">Pa >S <1 <ZI");
    conversation.moved();
    assert!(needs(&mut conversation, "a"));
    follow(&mut conversation, ">Ba >E >S <E <ZI");
    assert!(needs(&mut conversation, "a"), "the error was its own, and its client's to know");
}

#[test]
fn sql_that_names_statements_finds_them_all() {
    let mut conversation = Conversation::new(1000);
    follow(&mut conversation, ">Pa >S <1 <ZI >Pb >S <1 <ZI");
    assert!(conversation.prepare_all(true).is_empty());
    conversation.moved();
    assert_eq!(conversation.prepare_all(true).len(), 2);
    follow(&mut conversation, ">Q");
    for (tag, body) in [(b'1', &b""[..]), (b'1', b""), (b'Z', b"I")] {
        assert_eq!(conversation.hear(tag, body), Ok(Fate::Swallow));
    }
    assert!(!conversation.at_boundary(), "the query itself is unanswered");
    follow(&mut conversation, "<CDEALLOCATE <ZI");
    assert!(conversation.at_boundary());
}

#[test]
fn statements_that_are_too_large_are_not_kept_but_known_of() {
    let mut conversation = Conversation::new(30);
    follow(&mut conversation, ">Pa >S <1 <ZI");
    assert!(!conversation.is_forgetful());
    follow(&mut conversation, ">Pb >S <1 <ZI");
    assert!(conversation.is_forgetful());
    follow(&mut conversation, ">Q <CDISCARD_ALL <ZI");
    assert!(!conversation.is_forgetful());
    let long = frame(b'P', "a");
    let mut cut = BytesMut::from(&long[..]);
    cut.truncate(12);
    conversation.ask(b'P', &cut, false);
    assert!(conversation.is_forgetful(), "one that was not read to its end");
}

proptest! {
    #[test]
    fn no_conversation_is_too_strange(
        words in proptest::collection::vec((any::<bool>(), 0..20usize, "[ab]?", any::<bool>()), 0..60),
    ) {
        let mut conversation = Conversation::new(60);
        for (client, at, name, whole) in words {
            let tag = b"PBDECSHQFcdfXZ123CGE"[at];
            match client {
                true => {
                    let frame = frame(tag, &name);
                    drop(conversation.prepare_for(tag, &frame[HEAD_BYTES..]));
                    conversation.ask(tag, &frame, whole);
                }
                false => drop(conversation.hear(tag, if whole { b"I" } else { b"T" })),
            }
        }
        conversation.moved();
        prop_assert!(conversation.at_boundary());
    }

    /// Whatever the client asks, a server that answers each Sync and Query leads to a boundary.
    #[test]
    fn every_series_comes_to_its_end(series in proptest::collection::vec(("[PBDE]{0,5}", any::<bool>()), 1..10)) {
        let mut conversation = Conversation::new(1000);
        for (series, _) in &series {
            series.bytes().for_each(|tag| ask(&mut conversation, tag, ""));
            ask(&mut conversation, b'S', "");
        }
        for (at, (messages, fails)) in series.iter().enumerate() {
            prop_assert!(!conversation.at_boundary(), "series {} is unanswered", at);
            match fails {
                true => drop(conversation.hear(b'E', b"")),
                false => {
                    for _ in messages.bytes().filter(|tag| *tag == b'P') {
                        prop_assert_eq!(conversation.hear(b'1', b""), Ok(Fate::Pass));
                    }
                }
            }
            prop_assert_eq!(conversation.hear(b'Z', b"I"), Ok(Fate::Pass));
        }
        prop_assert!(conversation.at_boundary());
    }
}
