//! Under which keys what is kept.

/// Digits of a version in a key, so that keys sort by version.
const DIGITS: usize = 20;

/// The keys of one context.
pub(super) struct Keys {
    context: String,
}

impl Keys {
    pub(super) fn of(context: &str) -> Keys {
        Keys { context: segment(context) }
    }

    /// What followers watch: the head and the holds.
    pub(super) fn followed(&self) -> String {
        format!("{}/follow/", self.context)
    }

    pub(super) fn head(&self) -> String {
        format!("{}/follow/head", self.context)
    }

    pub(super) fn holds(&self) -> String {
        format!("{}/follow/hold/", self.context)
    }

    pub(super) fn hold(&self, partition: &str) -> String {
        format!("{}/follow/hold/{}", self.context, segment(partition))
    }

    /// Who follows: what a deployment watches while it waits for answers.
    pub(super) fn attendances(&self) -> String {
        format!("{}/attend/", self.context)
    }

    pub(super) fn attendance(&self, id: &str) -> String {
        format!("{}/attend/{}", self.context, segment(id))
    }

    /// How far hooks were told.
    pub(super) fn hooks(&self) -> String {
        format!("{}/hook/", self.context)
    }

    pub(super) fn hook(&self, name: &str) -> String {
        format!("{}/hook/{}", self.context, segment(name))
    }

    pub(super) fn wholes(&self) -> String {
        format!("{}/whole/", self.context)
    }

    pub(super) fn whole(&self, version: u64) -> String {
        format!("{}/whole/{version:0DIGITS$}", self.context)
    }

    pub(super) fn deltas(&self) -> String {
        format!("{}/delta/", self.context)
    }

    pub(super) fn delta(&self, version: u64) -> String {
        format!("{}/delta/{version:0DIGITS$}", self.context)
    }

    pub(super) fn pieces(&self) -> String {
        format!("{}/piece/", self.context)
    }

    /// Named after what they add up to, so that two publishers' pieces never mix.
    pub(super) fn piece(&self, version: u64, sha256: &str, number: usize) -> String {
        format!("{}/piece/{version:0DIGITS$}-{sha256}/{number:06}", self.context)
    }
}

/// The context that has a head under this key.
pub(super) fn context_of_head(key: &str) -> Option<String> {
    unsegment(key.strip_suffix("/follow/head")?)
}

/// The name in a key below `prefix`.
pub(super) fn name_after(key: &str, prefix: &str) -> Option<String> {
    unsegment(key.strip_prefix(prefix)?)
}

/// The version in a key of a whole, a delta or a piece.
pub(super) fn version(key: &str, prefix: &str) -> Option<u64> {
    key.strip_prefix(prefix)?.get(..DIGITS)?.parse().ok()
}

/// `name` as one part of a key: all but letters, digits, `_` and `-` by its bytes, as `=2F`.
fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let written = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("={byte:02X}") };
    name.bytes().map(written).collect()
}

fn unsegment(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.split('=');
    bytes.extend_from_slice(rest.next()?.as_bytes());
    for part in rest {
        let (digits, plain) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(plain.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_sort_as_versions_do_and_tell_them() {
        let keys = Keys::of("tenants");
        assert!(keys.delta(9) < keys.delta(10));
        assert_eq!(version(&keys.delta(10), &keys.deltas()), Some(10));
        assert_eq!(version(&keys.piece(7, "ab", 3), &keys.pieces()), Some(7));
    }

    proptest! {
        #[test]
        fn a_context_of_any_name_has_keys_of_its_own(name in ".{1,12}") {
            let keys = Keys::of(&name);
            prop_assert!(keys.head().bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(keys.head().matches('/').count(), 2);
            prop_assert_eq!(context_of_head(&keys.head()), Some(name));
        }
    }
}
