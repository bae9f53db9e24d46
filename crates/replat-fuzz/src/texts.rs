//! Texts: a project's spec, answers of HAProxy, addresses in HTTP requests.

use replat_model::spec;
use replat_server::haproxy::parse_map;
use replat_server::query;

use crate::Target;

pub(crate) const SPEC: Target = Target {
    name: "spec",
    reads: "a project's spec",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Err(errors) = spec::parse(text) {
            assert!(!errors.is_empty(), "a refusal has a reason");
            errors.iter().for_each(|error| drop(error.to_string()));
        }
    },
    seeds: || {
        vec![
            include_bytes!("../../../examples/saas/replat.toml").to_vec(),
            b"[project]\nname = \"shop\"\n".to_vec(),
        ]
    },
    words: &[
        "[",
        "]",
        " = ",
        "\"",
        "\n",
        "[[",
        "{ ",
        " }",
        "true",
        "4294967295",
        "-1",
        "1e9",
        "'''",
        "hash = ",
        "list = ",
        "range = ",
        "env:",
        "file:",
        "1d",
        "24 hours",
        "2024-01-01",
    ],
};

pub(crate) const HAPROXY: Target = Target {
    name: "haproxy",
    reads: "what HAProxy answers to `show map`",
    run: |bytes| drop(parse_map(&String::from_utf8_lossy(bytes))),
    seeds: || {
        vec![b"0x55d0c0 acme blue\n0x55d0d0 zeta green\n\n".to_vec(), b"Unknown map identifier.\n".to_vec()]
    },
    words: &["0x", " ", "\n", "acme"],
};

pub(crate) const HTTP_TARGET: Target = Target {
    name: "http_target",
    reads: "path and parameters of an HTTP request",
    run: |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if let Ok(parts) = query::parts(path) {
            assert!(parts.iter().map(String::len).sum::<usize>() <= path.len());
        }
        drop(query::parameters(query));
    },
    seeds: || vec![b"/v1/contexts/tenants/routes?after=3&wait=5&key=a%2Fb+c".to_vec()],
    words: &["%", "%2F", "%ff", "+", "&", "=", "/", "?"],
};
