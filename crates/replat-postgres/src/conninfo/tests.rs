use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Surroundings with a user `ann`, her home and these variables and files (path, mode, text).
fn surroundings(vars: &[(&str, &str)], files: &[(&str, u32, &str)]) -> Environment {
    let seen = |(path, mode, text): &(&str, u32, &str)| {
        (PathBuf::from(path), FileSeen { text: (*text).to_owned(), plain: true, mode: *mode })
    };
    let files: BTreeMap<PathBuf, FileSeen> = files.iter().map(seen).collect();
    Environment {
        vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        home: Some("/home/ann".into()),
        user: Some("ann".to_owned()),
        socket_directory: Some("/var/run/postgresql".into()),
        read_file: Box::new(move |path: &Path| {
            files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }),
    }
}

fn plain(text: &str) -> ConnInfo {
    ConnInfo::resolve(Some(text), &surroundings(&[], &[])).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn passwords(info: &ConnInfo) -> Vec<Option<&str>> {
    info.hosts.iter().map(|host| host.password.as_ref().map(Secret::expose)).collect()
}

#[test]
fn every_way_to_write_a_place_says_the_same_as_in_libpq() {
    let rows = [
        ("", "postgres://ann@%2Fvar%2Frun%2Fpostgresql:5432/ann"),
        ("postgres://", "postgres://ann@%2Fvar%2Frun%2Fpostgresql:5432/ann"),
        ("postgresql://localhost", "postgres://ann@localhost:5432/ann"),
        ("postgresql://localhost:5433", "postgres://ann@localhost:5433/ann"),
        ("postgres:///shop", "postgres://ann@%2Fvar%2Frun%2Fpostgresql:5432/shop"),
        ("postgres://bob@localhost", "postgres://bob@localhost:5432/bob"),
        ("postgres://bob:x@h/shop", "postgres://bob@h:5432/shop"),
        ("postgres://bob:p%40%2F%3Ax@h/shop", "postgres://bob@h:5432/shop"),
        ("postgres://h1:1,h2:2/shop", "postgres://ann@h1:1,h2:2/shop"),
        ("postgres://h1,h2:2/shop", "postgres://ann@h1:5432,h2:2/shop"),
        ("postgres://[::1]:6/shop", "postgres://ann@[::1]:6/shop"),
        ("postgres://[2001:db8::1]/shop?user=bob", "postgres://bob@[2001:db8::1]:5432/shop"),
        ("postgres://%2Fvar%2Flib:7/shop", "postgres://ann@%2Fvar%2Flib:7/shop"),
        ("postgres:///shop?host=/tmp&port=8", "postgres://ann@%2Ftmp:8/shop"),
        ("postgres://h/a%20b%2Fc", "postgres://ann@h:5432/a%20b%2Fc"),
        ("postgres://h1/shop?host=h2", "postgres://ann@h2:5432/shop"),
        ("postgres://h?dbname=shop", "postgres://ann@h:5432/shop"),
        ("host=h port=9 dbname=shop user=bob", "postgres://bob@h:9/shop"),
        ("  host = h\n dbname='my shop'", "postgres://ann@h:5432/my%20shop"),
        ("host=h1,h2 port=1,2", "postgres://ann@h1:1,h2:2/ann"),
        ("host=h1,h2 port=3", "postgres://ann@h1:3,h2:3/ann"),
        ("host=h1,,h3", "postgres://ann@h1:5432,%2Fvar%2Frun%2Fpostgresql:5432,h3:5432/ann"),
        ("hostaddr=10.0.0.1,::1", "postgres://ann@10.0.0.1:5432,[::1]:5432/ann"),
        ("host=h hostaddr=10.0.0.1", "postgres://ann@h:5432/ann"),
        (r"dbname='it\'s \\' user=a\ b", r"postgres://a%20b@%2Fvar%2Frun%2Fpostgresql:5432/it%27s%20%5C"),
        ("dbname='' user=", "postgres://ann@%2Fvar%2Frun%2Fpostgresql:5432/ann"),
        ("dbname=a dbname=b", "postgres://ann@%2Fvar%2Frun%2Fpostgresql:5432/b"),
    ];
    for (text, want) in rows {
        assert_eq!(plain(text).to_string(), want, "{text}");
    }
}

#[test]
fn without_a_socket_directory_the_host_is_localhost() {
    let mut nowhere = Environment::empty();
    nowhere.user = Some("ann".to_owned());
    let info = ConnInfo::resolve(None, &nowhere).expect("all defaults");
    assert_eq!(info.to_string(), "postgres://ann@localhost:5432/ann");
    nowhere.user = None;
    assert!(matches!(ConnInfo::resolve(None, &nowhere), Err(ConnInfoError::NoUser)));
}

#[test]
fn what_cannot_be_obeyed_is_refused_with_the_reason() {
    let rows = [
        ("shop", "byte 0 of the connection string: a word without =; expected postgres://… or name=value"),
        ("host=h shop", "byte 7 of the connection string: a word without ="),
        ("dbname='shop", "byte 7 of the connection string: a quoted value without its closing quote"),
        ("hots=h", "unknown parameter \"hots\"; did you mean host?"),
        ("postgres://h/d?sslmod=require", "unknown parameter \"sslmod\"; did you mean sslmode?"),
        ("database=d", "did you mean dbname?"),
        ("zzzzzz=1", "the connection string has the unknown parameter \"zzzzzz\""),
        ("postgres://h/d?sslmode", "byte 15 of the connection string: a parameter without ="),
        ("postgres://h/d?options=-c a=b", "a second = in a parameter; in a value write it as %3D"),
        ("postgres://h/%zz", "byte 13 of the connection string: a % without two hexadecimal digits"),
        ("postgres://h/a%00b", "byte 14 of the connection string: %00"),
        ("postgres://h/%ff", "percent-encoded bytes that are not UTF-8"),
        ("postgres://[::1/d", "an IPv6 address without its closing ]"),
        ("postgres://[]/d", "an empty IPv6 address"),
        ("postgres://[::1]x/d", "something else than a port follows an IPv6 address"),
        ("port=0", "port in the connection string must be a number from 1 to 65535"),
        ("port=65536", "port in the connection string must be a number from 1 to 65535"),
        ("host=a,b port=1,2,3", "port has 3 entries for 2 hosts"),
        ("host=a,b hostaddr=10.0.0.1", "hostaddr has 1 entries for 2 hosts"),
        ("hostaddr=localhost", "hostaddr in the connection string must be an IP address"),
        ("host=@abstract", "not an abstract socket"),
        ("sslmode=on", "sslmode in the connection string must be disable, allow, prefer"),
        ("sslrootcert=system sslmode=require", "sslrootcert=system needs sslmode=verify-full"),
        ("target_session_attrs=master", "must be any, read-write, read-only, primary"),
        ("connect_timeout=soon", "must be a whole number of seconds"),
        ("keepalives_idle=-1", "must be a whole number that is not negative"),
        ("require_auth=scram-sha-256", "sets require_auth, which is not supported"),
        ("gssencmode=require", "sets gssencmode, which is not supported (except as disable or prefer)"),
        ("replication=database", "sets replication, which is not supported"),
        ("service=nowhere", "the service \"nowhere\" is not in /home/ann/.pg_service.conf"),
    ];
    for (text, want) in rows {
        let error = ConnInfo::resolve(Some(text), &surroundings(&[], &[])).expect_err(text);
        assert!(error.to_string().contains(want), "{text}: {error}");
    }
}

#[test]
fn a_password_that_was_not_encoded_is_not_repeated() {
    for text in [
        "postgres://bob:hunter@2@h/d",
        "postgres://bob:hunter/2@h/d",
        "postgres://bob:hunter%2@h/d",
        "postgres://bob:hunter2@h:port/d",
        "password=hunter2 port=none",
        "password='hunter2",
    ] {
        let error = ConnInfo::resolve(Some(text), &surroundings(&[], &[])).expect_err(text);
        assert!(!format!("{error} {error:?}").contains("hunter"), "{text}: {error:?}");
    }
    let info = plain("postgres://bob:hunter2@h/d");
    assert_eq!(passwords(&info), [Some("hunter2")]);
    assert!(!format!("{info} {info:?}").contains("hunter"), "{info:?}");
}

#[test]
fn the_stronger_source_wins() {
    let service =
        "# ours\n[other]\nhost=wrong\n\n[shop]\nhost=service\nport=1\nsslmode=require\n[after]\nhost=x\n";
    let files =
        [("/home/ann/.pg_service.conf", 0o644, service), ("/etc/pg/pg_service.conf", 0o644, "[sys]\nport=7")];
    type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);
    let rows: [Case; 7] = [
        ("", &[("PGHOST", "env"), ("PGPORT", "2")], "postgres://ann@env:2/ann"),
        ("host=string", &[("PGHOST", "env"), ("PGPORT", "2")], "postgres://ann@string:2/ann"),
        ("service=shop", &[("PGHOST", "env"), ("PGUSER", "eve")], "postgres://eve@service:1/eve"),
        ("host=string service=shop", &[], "postgres://ann@string:1/ann"),
        ("", &[("PGSERVICE", "shop"), ("PGPORT", "2")], "postgres://ann@service:1/ann"),
        ("host=h", &[("PGSERVICE", "sys"), ("PGSYSCONFDIR", "/etc/pg")], "postgres://ann@h:7/ann"),
        ("host=", &[("PGHOST", "env")], "postgres://ann@%2Fvar%2Frun%2Fpostgresql:5432/ann"),
    ];
    for (text, vars, want) in rows {
        let info = ConnInfo::resolve(Some(text), &surroundings(vars, &files)).expect(text);
        assert_eq!(info.to_string(), want, "{text} {vars:?}");
    }
}

#[test]
fn a_service_file_that_says_nonsense_is_refused() {
    let rows = [
        ("[s]\nservice=t\n", "line 2 of /s.conf: a service cannot name another service"),
        ("[s]\n\nhost\n", "line 3 of /s.conf: expected name=value"),
        ("[s]\nldap://h/x\n", "line 2 of /s.conf: services from LDAP are not supported"),
        ("[s]\nhots=h\n", "the service file has the unknown parameter \"hots\"; did you mean host?"),
        ("[t]\nhost=h\n", "the service \"s\" is not in /s.conf"),
    ];
    for (text, want) in rows {
        let around = surroundings(&[("PGSERVICEFILE", "/s.conf")], &[("/s.conf", 0o644, text)]);
        let error = ConnInfo::resolve(Some("service=s"), &around).expect_err(text);
        assert_eq!(error.to_string(), want);
    }
    let missing = surroundings(&[("PGSERVICEFILE", "/none")], &[]);
    let error = ConnInfo::resolve(Some("service=s"), &missing).expect_err("no file");
    assert_eq!(error.to_string(), "cannot read /none");
}

#[test]
fn every_variable_is_heard() {
    let vars = [
        ("PGHOST", "h"),
        ("PGHOSTADDR", "10.0.0.1"),
        ("PGPORT", "1"),
        ("PGDATABASE", "d"),
        ("PGUSER", "u"),
        ("PGPASSWORD", "p"),
        ("PGSSLMODE", "verify-ca"),
        ("PGSSLROOTCERT", "/root.crt"),
        ("PGSSLCERT", "/c.crt"),
        ("PGSSLKEY", "/c.key"),
        ("PGTARGETSESSIONATTRS", "prefer-standby"),
        ("PGCONNECT_TIMEOUT", "3"),
        ("PGOPTIONS", "-c geqo=off"),
        ("PGAPPNAME", "tests"),
        ("PGCHANNELBINDING", "disable"),
    ];
    let info = ConnInfo::resolve(None, &surroundings(&vars, &[])).expect("all good");
    let want = ConnInfo {
        hosts: vec![Host {
            place: Place::Address { name: Some("h".to_owned()), ip: [10, 0, 0, 1].into() },
            port: 1,
            password: Some(Secret::new("p")),
        }],
        dbname: "d".to_owned(),
        user: "u".to_owned(),
        password_source: PasswordSource::Environment,
        sslmode: SslMode::VerifyCa,
        sslrootcert: RootCertificates::File("/root.crt".into()),
        sslcert: Some("/c.crt".into()),
        sslkey: Some("/c.key".into()),
        channel_binding: ChannelBinding::Disable,
        target_session_attrs: TargetSessionAttrs::PreferStandby,
        options: Some("-c geqo=off".to_owned()),
        application_name: Some("tests".to_owned()),
        connect_timeout: Some(Duration::from_secs(3)),
        keepalive: Keepalive::USUAL,
        warnings: vec![],
    };
    assert_eq!(info, want);
}

#[test]
fn a_variable_that_cannot_be_obeyed_is_not_ignored() {
    let around = surroundings(&[("PGREQUIREAUTH", "scram-sha-256")], &[]);
    let error = ConnInfo::resolve(None, &around).expect_err("not supported");
    assert_eq!(error.to_string(), "the environment sets require_auth, which is not supported");
}

#[test]
fn defaults_are_those_of_the_manual() {
    let info = plain("");
    assert_eq!((info.sslmode, info.connect_timeout), (SslMode::Prefer, Some(CONNECT_TIMEOUT)));
    assert_eq!(info.sslrootcert, RootCertificates::File("/home/ann/.postgresql/root.crt".into()));
    assert_eq!(info.sslcert, Some("/home/ann/.postgresql/postgresql.crt".into()));
    assert_eq!(plain("connect_timeout=0").connect_timeout, None);
    assert_eq!(plain("sslrootcert=system").sslmode, SslMode::VerifyFull);
    assert_eq!(plain("postgres://h?ssl=true").sslmode, SslMode::Require);
    assert!(!plain("keepalives=0").keepalive.enabled);
    assert_eq!(plain("fallback_application_name=x").application_name.as_deref(), Some("x"));
}

#[test]
fn the_first_line_of_the_pass_file_that_fits_gives_the_password() {
    let file = "# h:1:d:u:comment\nh:1:d:u:exact\nh:*:*:u:any\\:port\\\\\r\n*:2:*:*:by port:ignored\n\
                localhost:*:*:*:socket\n/other:*:*:*:dir\nh\\:h:*:*:*:colon\n10.0.0.1:*:*:*:address\nbroken\nh2:9:*:*:\n";
    let rows = [
        ("host=h port=1 dbname=d user=u", Some("exact")),
        ("host=h port=3 dbname=d user=u", Some("any:port\\")),
        ("host=x port=2 dbname=d user=u", Some("by port")),
        ("dbname=d user=u", Some("socket")),
        ("host=/other user=u", Some("dir")),
        ("host=h:h user=v", Some("colon")),
        ("hostaddr=10.0.0.1 user=v", Some("address")),
        ("host=x user=v", None),
        ("host=h2 port=9 user=v", None),
        ("host=h port=1 dbname=d user=u password=given", Some("given")),
    ];
    for (text, want) in rows {
        let around = surroundings(&[], &[("/home/ann/.pgpass", 0o600, file)]);
        let info = ConnInfo::resolve(Some(text), &around).expect(text);
        assert_eq!(passwords(&info), [want], "{text}");
        assert_eq!(info.warnings, [""; 0], "{text}");
    }
}

#[test]
fn each_host_has_its_own_password() {
    let around = surroundings(&[("PGPASSFILE", "/p")], &[("/p", 0o600, "a:*:*:*:one\nb:*:*:*:two\n")]);
    let info = ConnInfo::resolve(Some("host=a,b,c"), &around).expect("three hosts");
    assert_eq!(passwords(&info), [Some("one"), Some("two"), None]);
    assert_eq!(info.password_source, PasswordSource::PassFile);
}

#[test]
fn a_pass_file_that_others_can_read_is_ignored_and_named() {
    for mode in [0o640, 0o604, 0o666] {
        let around = surroundings(&[], &[("/home/ann/.pgpass", mode, "*:*:*:*:p")]);
        let info = ConnInfo::resolve(None, &around).expect("a warning only");
        assert_eq!(passwords(&info), [None]);
        let [warning] = &info.warnings[..] else { panic!("{:?}", info.warnings) };
        assert!(
            warning.contains(&format!("(mode {mode:04o}); run: chmod 0600 /home/ann/.pgpass")),
            "{warning}"
        );
    }
}

/// Any text that a parameter can hold.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof!["[^\\x00]{1,12}", "[ '\\\\=@:/?#%&,a]{1,8}"]
}

fn any_host() -> impl Strategy<Value = Host> {
    let place = prop_oneof![
        // Commas separate hosts, space around them is dropped, and `/` and `@` begin something else.
        "[a-zA-Z0-9_.é%:-]{1,12}".prop_map(Place::Name),
        any::<std::net::Ipv6Addr>().prop_map(|ip| Place::Name(ip.to_string())),
        "/[a-z0-9 /@=]{0,8}[a-z]".prop_map(|path| Place::UnixDirectory(path.into())),
    ];
    (place, 1u16..).prop_map(|(place, port)| Host { place, port, password: None })
}

/// Writes one `key=value` pair so that any value survives.
fn quoted(name: &str, value: &str) -> String {
    format!("{name} = '{}' ", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

proptest! {
    #[test]
    fn what_is_displayed_resolves_to_the_same(
        hosts in vec(any_host(), 1..4), user in any_value(), dbname in any_value(),
    ) {
        let mut info = plain("host=h");
        info.hosts = hosts;
        info.user = user;
        info.dbname = dbname;
        prop_assert_eq!(plain(&info.to_string()), info);
    }

    #[test]
    fn quoted_values_survive(user in any_value(), dbname in any_value(), password in any_value(), options in any_value()) {
        let pairs = [("user", &user), ("dbname", &dbname), ("password", &password), ("options", &options)];
        let text: String = pairs.iter().map(|(name, value)| quoted(name, value)).collect();
        let info = plain(&text);
        prop_assert_eq!(&info.user, &user);
        prop_assert_eq!(&info.dbname, &dbname);
        prop_assert_eq!(info.options.as_deref(), Some(options.as_str()));
        prop_assert_eq!(passwords(&info), [Some(password.as_str())]);
    }

    #[test]
    fn encoded_values_survive_in_a_uri(user in any_value(), password in any_value(), name in any_value()) {
        let encode = syntax::percent_encode;
        let text = format!(
            "postgresql://{}:{}@h/?application_name={}", encode(&user), encode(&password), encode(&name),
        );
        let info = plain(&text);
        prop_assert_eq!(info.user, user);
        prop_assert_eq!(info.application_name, Some(name));
        prop_assert_eq!(info.hosts[0].password.clone(), Some(Secret::new(password)));
    }

    #[test]
    fn no_text_whatever_makes_resolving_panic(
        scheme in prop::sample::select(vec!["", "postgres://", "postgresql://", "host=", "postgres://[", "user='"]),
        text in prop_oneof!["\\PC{0,40}", "[\\[\\]@:/?&=%,'\\\\ a0\\x00]{0,24}"],
    ) {
        let text = format!("{scheme}{text}");
        if let Err(ConnInfoError::Syntax { at, .. }) = ConnInfo::resolve(Some(&text), &surroundings(&[], &[])) {
            prop_assert!(at <= text.len());
        }
    }

    #[test]
    fn no_files_whatever_make_resolving_panic(service in "(\\[s\\]\n)?\\PC{0,40}", pass in "[\\\\:*a\n\\PC]{0,40}") {
        let files = [("/home/ann/.pg_service.conf", 0o644, service.as_str()), ("/home/ann/.pgpass", 0o600, &pass)];
        let around = surroundings(&[], &files);
        let refused = ConnInfo::resolve(Some("service=s"), &around).is_err();
        prop_assert!(refused || service.contains("[s]"));
        prop_assert!(ConnInfo::resolve(None, &around).is_ok());
    }
}
