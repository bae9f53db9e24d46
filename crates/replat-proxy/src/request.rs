//! A request that is all there: it can be run elsewhere, or once more.

use bytes::Bytes;
use replat_wire::conversation::Conversation;
use replat_wire::frame::{BODY_MAX, HEAD_BYTES, head};
use replat_wire::frontend::{Bind, Object, Parse, tag};

/// The longest request that is kept. Unit: bytes.
const REQUEST_MAX: usize = 64 * 1024;

/// One Query; or messages of the extended protocol up to their Sync, that leave nothing behind but prepared statements.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// How much of the client's input it is. Unit: bytes.
    pub(crate) length: usize,
    /// Its messages, but for those that prepare a statement under a name.
    frames: Vec<Bytes>,
    /// The statements that it prepares under names.
    prepares: Vec<(Box<[u8]>, Bytes)>,
    /// The statements that it takes and does not prepare itself, as Parse frames.
    needs: Vec<(Box<[u8]>, Bytes)>,
    /// The Parse of the unnamed statement in it.
    pub(crate) unnamed: Option<Bytes>,
}

impl Request {
    /// The request that `input` begins with; `None` if it is not all there, or not of that kind.
    pub(crate) fn at_front(input: &[u8], conversation: &Conversation) -> Option<Request> {
        let mut request =
            Request { length: 0, frames: Vec::new(), prepares: Vec::new(), needs: Vec::new(), unnamed: None };
        loop {
            let rest = &input[request.length..];
            let head = head(rest, BODY_MAX).ok()??;
            if request.length + head.total() > REQUEST_MAX {
                return None;
            }
            let frame = rest.get(..head.total())?;
            let body = &frame[HEAD_BYTES..];
            let kept = || Bytes::copy_from_slice(frame);
            match head.tag {
                tag::QUERY if request.length == 0 => {}
                tag::PARSE => {
                    let name = Parse::read(body)?.name;
                    if name.is_empty() {
                        request.unnamed = Some(kept());
                    } else {
                        request.prepares.push((name.into(), kept()));
                    }
                }
                tag::BIND => request.takes(Bind::read(body)?.statement, conversation)?,
                tag::DESCRIBE => match Object::read(body)? {
                    Object::Statement(name) => request.takes(name, conversation)?,
                    Object::Portal(_) => {}
                },
                tag::EXECUTE | tag::SYNC => {}
                _ => return None,
            }
            request.length += head.total();
            let is_named = head.tag == tag::PARSE && request.unnamed.as_deref() != Some(frame);
            if !is_named {
                request.frames.push(kept());
            }
            if matches!(head.tag, tag::QUERY | tag::SYNC) {
                return Some(request);
            }
        }
    }

    /// A statement is taken that must be there by then.
    fn takes(&mut self, name: &[u8], conversation: &Conversation) -> Option<()> {
        let is_own = match name.is_empty() {
            true => self.unnamed.is_some(),
            false => self.prepares.iter().any(|(own, _)| **own == *name),
        };
        if !is_own && !self.needs.iter().any(|(known, _)| **known == *name) {
            self.needs.push((name.into(), conversation.statement(name)?.clone()));
        }
        Some(())
    }

    /// Whether it leaves prepared statements behind.
    pub(crate) fn prepares_by_name(&self) -> bool {
        !self.prepares.is_empty()
    }

    /// Whether it may put rows into tables, by the words in it.
    pub(crate) fn may_insert(&self) -> bool {
        let all = self.needs.iter().chain(&self.prepares).map(|(_, frame)| frame).chain(&self.frames);
        all.into_iter().any(|frame| [&b"insert"[..], b"update", b"merge"].iter().any(|word| has(frame, word)))
    }

    /// How many statements it prepares under names.
    pub(crate) fn prepared(&self) -> usize {
        self.prepares.len()
    }

    /// The statements that must be there, but for its own.
    pub(crate) fn needs(&self) -> &[(Box<[u8]>, Bytes)] {
        &self.needs
    }

    /// What is sent where all that it names is prepared already.
    pub(crate) fn frames(&self) -> &[Bytes] {
        &self.frames
    }
}

fn has(frame: &[u8], word: &[u8]) -> bool {
    frame.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;

    /// A case, its messages, and how many frames and needs there are, and whether names are left.
    type Row<'a> = (&'a str, &'a [(u8, &'a [u8])], Option<(usize, usize, bool)>);

    fn frame(out: &mut BytesMut, tag: u8, body: &[u8]) {
        out.put_u8(tag);
        out.put_i32(i32::try_from(body.len() + 4).expect("a short body"));
        out.put_slice(body);
    }

    fn input(messages: &[(u8, &[u8])]) -> BytesMut {
        let mut out = BytesMut::new();
        messages.iter().for_each(|(tag, body)| frame(&mut out, *tag, body));
        out
    }

    #[test]
    fn what_is_whole_and_leaves_nothing_behind_can_be_run_elsewhere() {
        let mut conversation = Conversation::new(1 << 20);
        let parse = input(&[(b'P', b"known\0select 1\0\0\0")]);
        conversation.ask(b'P', &parse, true);
        conversation.hear(b'1', b"").expect("in step");
        let rows: [Row<'_>; 9] = [
            ("a query", &[(b'Q', b"select 1\0")], Some((1, 0, false))),
            ("only what comes first", &[(b'Q', b"select 1\0"), (b'Q', b"select 2\0")], Some((1, 0, false))),
            (
                "unnamed",
                &[
                    (b'P', b"\0select 1\0\0\0"),
                    (b'B', b"\0\0\0\0\0\0\0\0"),
                    (b'E', b"\0\0\0\0\0"),
                    (b'S', b""),
                ],
                Some((4, 0, false)),
            ),
            ("by a known name", &[(b'B', b"\0known\0\0\0\0\0\0\0"), (b'S', b"")], Some((2, 1, false))),
            ("by an unknown name", &[(b'B', b"\0other\0\0\0\0\0\0\0"), (b'S', b"")], None),
            (
                "by a name of its own",
                &[(b'P', b"new\0select 1\0\0\0"), (b'B', b"\0new\0\0\0\0\0\0\0"), (b'S', b"")],
                Some((2, 0, true)),
            ),
            ("without its end", &[(b'B', b"\0known\0\0\0\0\0\0\0")], None),
            ("with a flush", &[(b'B', b"\0known\0\0\0\0\0\0\0"), (b'H', b""), (b'S', b"")], None),
            ("a close", &[(b'C', b"Sknown\0"), (b'S', b"")], None),
        ];
        for (case, messages, want) in rows {
            let found = Request::at_front(&input(messages), &conversation);
            let found = found.map(|one| (one.frames().len(), one.needs().len(), one.prepares_by_name()));
            assert_eq!(found, want, "{case}");
        }
    }
}
