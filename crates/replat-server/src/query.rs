//! What a request's target says: the path in parts, and the parameters.

/// A target that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request's address is not written right: % needs two hexadecimal digits, and all of it UTF-8")]
pub struct BadTarget;

/// The parts of a path between its slashes, decoded: `/a/b%2Fc` is `a` and `b/c`.
pub fn parts(path: &str) -> Result<Vec<String>, BadTarget> {
    path.split('/').skip(1).map(|part| decoded(part, false)).collect()
}

/// The parameters in their order, decoded.
pub fn parameters(query: &str) -> Result<Vec<(String, String)>, BadTarget> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name, true)?, decoded(value, true)?))
        })
        .collect()
}

/// `plus`: a plus stands for a blank, as in forms.
fn decoded(text: &str, plus: bool) -> Result<String, BadTarget> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let (Some(high), Some(low)) = (high, low) else { return Err(BadTarget) };
                u8::try_from(high * 16 + low).map_err(|_| BadTarget)?
            }
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| BadTarget)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02X}")).collect()
    }

    proptest! {
        #[test]
        fn any_text_comes_through(texts in proptest::collection::vec(any::<String>(), 1..4)) {
            let path: String = texts.iter().map(|text| format!("/{}", encoded(text))).collect();
            prop_assert_eq!(parts(&path), Ok(texts.clone()));
            let query: Vec<String> = texts.iter().map(|text| format!("k{}={0}", encoded(text))).collect();
            let pairs = texts.iter().map(|text| (format!("k{text}"), text.clone())).collect();
            prop_assert_eq!(parameters(&query.join("&")), Ok(pairs));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            drop(parts(&text));
            drop(parameters(&text));
        }
    }

    #[test]
    fn signs_mean_what_they_mean_in_addresses() {
        assert_eq!(parts("/a+b/c%2fd/"), Ok(vec!["a+b".into(), "c/d".into(), String::new()]));
        assert_eq!(
            parameters("a=b+c&d&&e=f=g"),
            Ok(vec![("a".into(), "b c".into()), ("d".into(), String::new()), ("e".into(), "f=g".into()),])
        );
        for bad in ["/%", "/%4", "/%4g", "/%ff"] {
            assert_eq!(parts(bad), Err(BadTarget), "{bad}");
        }
    }
}
