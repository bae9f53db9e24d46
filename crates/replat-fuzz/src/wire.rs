//! Start-up packets, frames of clients and servers, SCRAM, and the stream of changes.

use bytes::{Bytes, BytesMut};
use replat_wire::backend::{self, Authentication, Complaint, TxStatus};
use replat_wire::conversation::Conversation;
use replat_wire::frame::{BODY_MAX_BEFORE_LOGIN, HEAD_BYTES, head};
use replat_wire::frontend::{self, Bind, Object, Parse};
use replat_wire::pgoutput;
use replat_wire::scram::{Challenge, Credential, Hello, Password, Verifier};
use replat_wire::startup::{CancelKey, Opening, opening, put_cancel, put_startup};
use replat_wire::stream::Frame;

use crate::Target;

/// What `write` appends.
fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

/// What a message of this tag has in it.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("seeds are short").to_be_bytes();
    [&[tag], &length[..], body].concat()
}

pub(crate) const OPENING: Target = Target {
    name: "opening",
    reads: "the message that a client's connection begins with: start-up, TLS, cancel",
    run: read_opening,
    seeds: || {
        let options = [("user", "app"), ("database", "shop"), ("options", "-c replat.partition=acme")];
        vec![
            vec![0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f],
            vec![0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30],
            written(|out| put_cancel(out, CancelKey { pid: 7, secret: -1 })),
            written(|out| put_startup(out, options)),
            written(|out| put_startup(out, [("user", "u"), ("_pq_.x", "1")])),
        ]
    },
    words: &["user\0", "database\0", "options\0", "_pq_.\0", "replication\0true\0"],
};

fn read_opening(bytes: &[u8]) {
    let Ok(Some((found, length))) = opening(bytes) else { return };
    assert!((8..=bytes.len()).contains(&length), "no more is taken than there is");
    assert_eq!(opening(&bytes[..length]), Ok(Some((found.clone(), length))), "what follows does not matter");
    assert!(!matches!(opening(&bytes[..length - 1]), Ok(Some(_))), "a part is not the whole");
    let again = match &found {
        Opening::Ssl | Opening::Gss => return,
        Opening::Cancel(key) => written(|out| put_cancel(out, *key)),
        Opening::Startup(startup) => {
            let pairs = startup.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            assert!(startup.get("user").is_some(), "a session is somebody's");
            written(|out| put_startup(out, pairs))
        }
    };
    match (opening(&again), found) {
        (Ok(Some((Opening::Startup(read), _))), Opening::Startup(startup)) => {
            assert_eq!(read.parameters, startup.parameters, "written again, it says the same");
        }
        (Ok(Some((read, _))), found) => assert_eq!(read, found, "written again, it says the same"),
        (other, found) => panic!("{found:?} was written and not read: {other:?}"),
    }
}

/// Each message that `bytes` begin with, and its tag; what is cut off is not one.
fn messages(bytes: &[u8], body_max: usize) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let head = head(rest, body_max).ok()??;
        let body = rest.get(HEAD_BYTES..head.total())?;
        rest = &rest[head.total()..];
        Some((head.tag, body))
    })
}

pub(crate) const CLIENT_FRAMES: Target = Target {
    name: "client_frames",
    reads: "messages of a client that has logged in, or is about to",
    run: |bytes| {
        for (tag, body) in messages(bytes, BODY_MAX_BEFORE_LOGIN.max(1 << 20)) {
            match tag {
                frontend::tag::QUERY => assert!(frontend::query(body).len() <= body.len()),
                frontend::tag::PARSE => {
                    if let Some(parse) = Parse::read(body) {
                        assert!(parse.name.len() + parse.sql.len() <= body.len());
                        assert!(parse.type_oids().count() * 4 <= body.len());
                    }
                }
                frontend::tag::BIND => {
                    let values = Bind::read(body).and_then(|bind| bind.values()).unwrap_or_default();
                    assert!(
                        values.iter().filter_map(|value| value.bytes).map(<[u8]>::len).sum::<usize>()
                            <= body.len()
                    );
                }
                frontend::tag::DESCRIBE | frontend::tag::CLOSE => drop(Object::read(body)),
                frontend::tag::PASSWORD => {
                    if let Some((mechanism, first)) = frontend::sasl_initial(body) {
                        assert!(mechanism.len() + first.len() <= body.len());
                    }
                }
                _ => {}
            }
        }
    },
    seeds: client_seeds,
    words: &["select 1\0", "S1\0", "\0\0\0\0", "SCRAM-SHA-256\0"],
};

fn client_seeds() -> Vec<Vec<u8>> {
    let parse = message(frontend::tag::PARSE, b"s\0select $1\0\0\x01\0\0\0\x17");
    let bind =
        message(frontend::tag::BIND, b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\0");
    let run = message(frontend::tag::EXECUTE, b"p\0\0\0\0\0");
    let sync = written(frontend::put_sync);
    vec![
        written(|out| frontend::put_query(out, "select 1")),
        [parse, message(frontend::tag::DESCRIBE, b"Ss\0"), bind, run, sync].concat(),
        [message(frontend::tag::CLOSE, b"Ss\0"), message(frontend::tag::FLUSH, b"")].concat(),
        written(|out| frontend::put_sasl_initial(out, "SCRAM-SHA-256", b"n,,n=,r=abc")),
        [message(frontend::tag::COPY_DATA, b"1\t2\n"), message(frontend::tag::COPY_DONE, b"")].concat(),
        written(frontend::put_terminate),
    ]
}

pub(crate) const SERVER_FRAMES: Target = Target {
    name: "server_frames",
    reads: "messages of a server",
    run: |bytes| {
        for (tag, body) in messages(bytes, 1 << 20) {
            match tag {
                backend::tag::AUTHENTICATION => drop(Authentication::read(body)),
                backend::tag::KEY_DATA => drop(backend::key_data(body)),
                backend::tag::PARAMETER => drop(backend::parameter(body)),
                backend::tag::COMMAND_COMPLETE => drop(backend::command(body)),
                backend::tag::READY => drop(TxStatus::read(body)),
                backend::tag::DATA_ROW => drop(backend::row(body)),
                backend::tag::ERROR | backend::tag::NOTICE => {
                    let said = Complaint::read(body);
                    assert_eq!(said.sqlstate.len(), 5, "an SQLSTATE has five letters");
                    let again = written(|out| said.put(out));
                    let (_, body) = messages(&again, 1 << 21).next().expect("it was written");
                    assert_eq!(Complaint::read(body), said, "written again, it says the same");
                }
                _ => {}
            }
        }
    },
    seeds: server_seeds,
    words: &["SERROR\0", "VFATAL\0", "C25006\0", "SELECT 1\0", "\u{1}"],
};

fn server_seeds() -> Vec<Vec<u8>> {
    let complaint = Complaint::error("25006", "no").detail("{}").hint("Ask.");
    let login = [
        written(|out| backend::put_sasl_offer(out, &["SCRAM-SHA-256"])),
        written(backend::put_authenticated),
        written(|out| backend::put_parameter(out, "TimeZone", "UTC")),
        written(|out| backend::put_key_data(out, CancelKey { pid: 1, secret: 2 })),
        written(|out| backend::put_ready(out, TxStatus::Idle)),
    ];
    let row = message(backend::tag::DATA_ROW, b"\0\x02\0\0\0\x01x\xff\xff\xff\xff");
    let done = message(backend::tag::COMMAND_COMPLETE, b"SELECT 1\0");
    vec![login.concat(), [row, done].concat(), written(|out| complaint.put(out))]
}

pub(crate) const CONVERSATION: Target = Target {
    name: "conversation",
    reads: "both sides of a session in turns: a byte that says whose, then a message",
    run: |bytes| {
        let mut conversation = Conversation::new(4096);
        let mut rest = bytes;
        while let Some((side, more)) = rest.split_first() {
            let Ok(Some(head)) = head(more, 1 << 16) else { return };
            let Some(frame) = more.get(..head.total()) else { return };
            rest = &more[head.total()..];
            let body = &frame[HEAD_BYTES..];
            match side % 4 {
                0 => {
                    drop(conversation.prepare_for(head.tag, body));
                    conversation.ask(head.tag, frame, true);
                }
                1 if conversation.hear(head.tag, body).is_err() => return,
                1 => {}
                2 if conversation.at_boundary() => conversation.moved(),
                _ => drop(conversation.prepare_all(side & 4 == 0)),
            }
            if conversation.at_boundary() {
                assert!(
                    !conversation.is_waiting()
                        && !conversation.is_unsynced()
                        && !conversation.is_copying_in()
                );
            }
        }
    },
    seeds: || {
        let said = |side: u8, messages: &[Vec<u8>]| -> Vec<u8> {
            messages.iter().flat_map(|message| [&[side][..], message].concat()).collect()
        };
        let query = written(|out| frontend::put_query(out, "select 1"));
        let done = message(backend::tag::COMMAND_COMPLETE, b"SELECT 1\0");
        let ready = written(|out| backend::put_ready(out, TxStatus::Idle));
        let parse = message(frontend::tag::PARSE, b"s\0select 1\0\0\0");
        let bind = message(frontend::tag::BIND, b"\0s\0\0\0\0\0\0\0");
        let sync = written(frontend::put_sync);
        let parsed = message(backend::tag::PARSE_COMPLETE, b"");
        let bound = message(backend::tag::BIND_COMPLETE, b"");
        vec![
            [said(0, std::slice::from_ref(&query)), said(1, &[done, ready.clone()])].concat(),
            [
                said(0, &[parse, bind.clone(), sync.clone()]),
                said(1, &[parsed, bound, ready.clone()]),
                said(2, std::slice::from_ref(&query)),
                said(0, &[bind, sync]),
            ]
            .concat(),
            [said(0, &[query]), said(1, &[message(backend::tag::COPY_IN, b"\0\0\0")])].concat(),
        ]
    },
    words: &[
        "S\0\0\0\u{4}",
        "Z\0\0\0\u{5}I",
        "Z\0\0\0\u{5}T",
        "Z\0\0\0\u{5}E",
        "1\0\0\0\u{4}",
        "3\0\0\0\u{4}",
    ],
};

const SALT: &[u8] = b"0123456789abcdef";
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";

pub(crate) const SCRAM_SERVER: Target = Target {
    name: "scram_server",
    reads: "what a client says to prove who it is: two messages with a zero byte between them",
    run: |bytes| {
        let mut parts = bytes.splitn(2, |byte| *byte == 0);
        let (first, last) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // One round, so that a run costs little.
        let verifier = Verifier::of_password("pencil", SALT, 1);
        let Ok(challenge) = Challenge::to(verifier, first, NONCE) else { return };
        let nonce = challenge.message().strip_prefix("r=").expect("a challenge begins with the nonce");
        assert!(nonce.contains(NONCE), "our part of the nonce is in it");
        assert!(challenge.accept(last).is_err(), "nobody who has not the password can prove it");
    },
    seeds: || {
        let hello = Hello::new("user", "clientnonce");
        let first = hello.message();
        let verifier = Verifier::of_password("crayon", SALT, 1);
        let challenge = Challenge::to(verifier, first.as_bytes(), NONCE).expect("a good beginning");
        let proof = hello.answer(challenge.message().as_bytes(), Credential::Password(Password("crayon")));
        let last = proof.expect("a good challenge").message().to_owned();
        vec![format!("{first}\0{last}").into_bytes(), b"y,,n=,r=x\0c=eSws,r=x,p=AAAA".to_vec()]
    },
    words: &[
        "n,,",
        "y,,",
        "p=tls-server-end-point,,",
        "n=",
        ",r=",
        ",c=",
        ",p=",
        "biws",
        "=2C",
        "=3D",
        ",m=",
    ],
};

pub(crate) const SCRAM_CLIENT: Target = Target {
    name: "scram_client",
    reads: "what a server says while we prove who we are: two messages with a zero byte between them",
    run: |bytes| {
        let mut parts = bytes.splitn(2, |byte| *byte == 0);
        let (first, last) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        // Whatever number of rounds the server asks for: there must be a limit.
        let answer =
            Hello::new("user", "clientnonce").answer(first, Credential::Password(Password("pencil")));
        let Ok(proof) = answer else { return };
        assert!(proof.check(last).is_err(), "nobody who has not the verifier can say so");
    },
    seeds: || {
        vec![b"r=clientnonceXYZ,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2\0v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec()]
    },
    words: &["r=clientnonce", ",s=", ",i=", ",m=", "v=", "e=other-error", "4096", "4294967295"],
};

pub(crate) const VERIFIER: Target = Target {
    name: "verifier",
    reads: "a role's password as PostgreSQL keeps it",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(verifier) = text.parse::<Verifier>() {
            let again = verifier.expose().parse::<Verifier>().expect("written again, it is read");
            assert_eq!(again, verifier);
        }
    },
    seeds: || vec![Verifier::of_password("pencil", SALT, 4096).expose().into_bytes(), b"md5abc".to_vec()],
    words: &["SCRAM-SHA-256$", "$", ":", "4096", "="],
};

pub(crate) const PGOUTPUT: Target = Target {
    name: "pgoutput",
    reads: "a frame of the replication stream, or one message of the output plugin",
    run: |bytes| {
        let bytes = Bytes::copy_from_slice(bytes);
        if let Ok(Frame::XLogData(log)) = Frame::decode(bytes.clone()) {
            drop(pgoutput::decode(log.data));
        }
        drop(pgoutput::decode(bytes));
    },
    seeds: || {
        let zeros = [0_u8; 24];
        let relation = b"R\0\0\x40\x01public\0orders\0d\0\x02\x01id\0\0\0\0\x17\xff\xff\xff\xff\0note\0\0\0\0\x19\xff\xff\xff\xff";
        let insert = b"I\0\0\x40\x01N\0\x02t\0\0\0\x0212n";
        let update = b"U\0\0\x40\x01O\0\x02t\0\0\0\x0212nN\0\x02t\0\0\0\x0213u";
        let delete = b"D\0\0\x40\x01K\0\x02t\0\0\0\x0212n";
        let message = b"M\x01\0\0\0\0\0\0\0\x01replat\0\0\0\0\x02{}";
        let mut seeds: Vec<Vec<u8>> =
            [&relation[..], insert, update, delete, message, b"T\0\0\0\x01\x01\0\0\x40\x01"]
                .iter()
                .map(|seed| seed.to_vec())
                .collect();
        seeds.push([b"B", &zeros[..20]].concat());
        seeds.push([&b"C\0"[..], &zeros].concat());
        seeds.push([&b"w"[..], &zeros, insert].concat());
        seeds.push([&b"k"[..], &zeros[..17]].concat());
        seeds
    },
    words: &["R", "I", "U", "D", "N", "K", "O", "t\0\0\0", "u", "n", "b\0\0\0"],
};
