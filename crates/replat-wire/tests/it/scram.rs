use proptest::prelude::*;
use replat_wire::scram::{Challenge, Credential, Hello, Login, Password, ScramError, Verifier};

const SALT: &[u8] =
    &[0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e, 0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81];

/// The exchange in RFC 7677, section 3.
#[test]
fn the_example_of_the_rfc_comes_out_to_the_letter() {
    let verifier = Verifier::of_password("pencil", SALT, 4096);
    let hello = Hello::new("user", "rOprNGfwEbeRWgbNEkqO");
    assert_eq!(hello.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let challenge =
        Challenge::to(verifier, hello.message().as_bytes(), server_nonce).expect("a good beginning");
    assert_eq!(
        challenge.message(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let password = Credential::Password(Password("pencil"));
    let proof = hello.answer(challenge.message().as_bytes(), password).expect("a good challenge");
    assert_eq!(
        proof.message(),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
         p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let (_, signature) = challenge.accept(proof.message().as_bytes()).expect("the right password");
    assert_eq!(signature, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    proof.check(signature.as_bytes()).expect("the right server");
}

/// One exchange: what the server says, and what the client then says of the server.
fn exchange(verifier: &Verifier, credential: Credential<'_>) -> Result<Login, ScramError> {
    let hello = Hello::new("", "clientnonce");
    let challenge = Challenge::to(verifier.clone(), hello.message().as_bytes(), "servernonce")?;
    let proof = hello.answer(challenge.message().as_bytes(), credential)?;
    let (login, signature) = challenge.accept(proof.message().as_bytes())?;
    proof.check(signature.as_bytes())?;
    Ok(login)
}

#[test]
fn a_login_can_be_passed_on_to_whoever_has_the_same_verifier_and_to_nobody_else() {
    let verifier = Verifier::of_password("pencil", SALT, 4096);
    let login = exchange(&verifier, Credential::Password(Password("pencil"))).expect("the right password");
    let again = exchange(&verifier, Credential::Login(&login)).expect("the same verifier");
    assert_eq!(again, login);
    let rows = [
        ("the same password with another salt", Verifier::of_password("pencil", b"other", 4096)),
        ("with other iterations", Verifier::of_password("pencil", SALT, 4097)),
    ];
    for (case, other) in rows {
        assert_eq!(exchange(&other, Credential::Login(&login)), Err(ScramError::OtherVerifier), "{case}");
    }
    let other = Verifier::of_password("crayon", SALT, 4096);
    assert_eq!(exchange(&other, Credential::Login(&login)), Err(ScramError::WrongProof));
    assert_eq!(exchange(&verifier, Credential::Password(Password("crayon"))), Err(ScramError::WrongProof));
}

#[test]
fn a_stranger_is_challenged_like_anybody_and_never_let_in() {
    let secret = [7; 32];
    let mock = |user: &str| Verifier::mock(&secret, user);
    let challenge = |verifier| {
        let challenge = Challenge::to(verifier, b"n,,n=,r=abc", "def").expect("a good beginning");
        challenge.message().to_owned()
    };
    assert_eq!(challenge(mock("nobody")), challenge(mock("nobody")), "the same every time");
    assert_ne!(challenge(mock("nobody")), challenge(mock("somebody")));
    let known = challenge(Verifier::of_password("pencil", SALT, 4096));
    assert_eq!(challenge(mock("nobody")).len(), known.len(), "of the same form");
    // Even who knows the keys by which it is checked.
    let exposed: Verifier = mock("nobody").expose().parse().expect("the usual form");
    assert_ne!(exposed, mock("nobody"));
    assert_eq!(exchange(&mock("nobody"), Credential::Password(Password(""))), Err(ScramError::WrongProof));
}

#[test]
fn a_server_that_does_not_know_the_verifier_is_found_out() {
    let hello = Hello::new("", "clientnonce");
    let verifier = Verifier::of_password("pencil", SALT, 4096);
    let challenge =
        Challenge::to(verifier, hello.message().as_bytes(), "servernonce").expect("a good beginning");
    let rows: [(&str, ScramError); 4] = [
        ("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", ScramError::WrongSignature),
        ("v=", ScramError::Malformed("signature")),
        ("e=other-error", ScramError::Refused),
        ("", ScramError::Malformed("signature")),
    ];
    for (said, want) in rows {
        let hello = Hello::new("", "clientnonce");
        let proof = hello
            .answer(challenge.message().as_bytes(), Credential::Password(Password("pencil")))
            .expect("a good challenge");
        assert_eq!(proof.check(said.as_bytes()), Err(want), "{said}");
    }
}

#[test]
fn what_a_client_must_not_say_is_refused() {
    let verifier = || Verifier::of_password("pencil", SALT, 1);
    let bad = ScramError::Malformed;
    let rows: [(&str, ScramError); 10] = [
        ("p=tls-server-end-point,,n=,r=abc", ScramError::NotOffered("channel binding")),
        ("n,a=admin,n=,r=abc", ScramError::NotOffered("an authorization identity")),
        ("n,,m=ext,n=,r=abc", ScramError::NotOffered("an extension")),
        ("", bad("channel-binding flag")),
        ("n", bad("authorization identity")),
        ("n,", bad("name")),
        ("n,,", bad("name")),
        ("n,,n=", bad("nonce")),
        ("n,,n=,r=", bad("nonce")),
        ("n,,n=,r=\u{1f980}", bad("nonce")),
    ];
    for (first, want) in rows {
        let error = Challenge::to(verifier(), first.as_bytes(), "def").map(|_| ()).expect_err(first);
        assert_eq!(error, want, "{first}");
    }
    let long = format!("n,,n=,r={}", "a".repeat(600));
    assert!(Challenge::to(verifier(), long.as_bytes(), "def").is_err());
    let proof = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let rows = [
        (format!("c=biws,r=abcdef,{proof}"), ScramError::WrongProof),
        (format!("c=eSws,r=abcdef,{proof}"), bad("channel binding")),
        (format!("r=abcdef,{proof}"), bad("channel binding")),
        (format!("c=biws,r=abcde,{proof}"), bad("nonce")),
        (format!("c=biws,{proof}"), bad("nonce")),
        ("c=biws,r=abcdef".to_owned(), bad("proof")),
        ("c=biws,r=abcdef,p=AAAA".to_owned(), bad("proof")),
        (String::new(), bad("proof")),
    ];
    for (last, want) in rows {
        let challenge = Challenge::to(verifier(), b"n,,n=,r=abc", "def").expect("a good beginning");
        assert_eq!(challenge.accept(last.as_bytes()).map(|_| ()), Err(want), "{last}");
    }
}

#[test]
fn what_a_server_must_not_say_is_refused() {
    let rows = [
        "",
        "r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=clientnonce,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "r=clientnonceX,s=?,i=4096",
        "r=clientnonceX,s=AAAA,i=0",
        "r=clientnonceX,s=AAAA,i=2147483648",
        "r=clientnonceX,s=AAAA,i=-1",
        "r=clientnonceX,i=4096,s=AAAA",
    ];
    for challenge in rows {
        let password = Credential::Password(Password("pencil"));
        assert!(Hello::new("", "clientnonce").answer(challenge.as_bytes(), password).is_err(), "{challenge}");
    }
}

#[test]
fn a_verifier_is_read_as_postgresql_writes_it_and_never_shown() {
    let verifier = Verifier::of_password("pencil", SALT, 4096);
    let text = verifier.expose();
    assert!(text.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"), "{text}");
    assert_eq!(text.parse::<Verifier>().as_ref(), Ok(&verifier));
    for other in [
        "",
        "md5abc",
        "SCRAM-SHA-256$4096",
        "SCRAM-SHA-256$0:AAAA$AAAA:AAAA",
        &format!("{text}$"),
        &text[1..],
    ] {
        assert!(other.parse::<Verifier>().is_err(), "{other}");
    }
    let login = Login::by_password("pencil", SALT, 4096);
    let shown = format!("{verifier:?} {login:?} {:?}", Credential::Password(Password("pencil")));
    assert!(!shown.contains("pencil") && !shown.contains("91"), "{shown}");
}

proptest! {
    #[test]
    fn no_bytes_upset_either_end(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[a-z=,+/0-9]{0,80}") {
        for said in [&bytes[..], text.as_bytes()] {
            let verifier = Verifier::of_password("pencil", SALT, 1);
            drop(Challenge::to(verifier.clone(), said, "def"));
            let challenge = Challenge::to(verifier, b"n,,n=,r=abc", "def").expect("a good beginning");
            prop_assert!(challenge.accept(said).is_err());
            let login = Login::by_password("pencil", SALT, 1);
            prop_assert!(Hello::new("", "abc").answer(said, Credential::Login(&login)).is_err());
        }
        drop(text.parse::<Verifier>());
    }

    #[test]
    fn the_right_password_and_no_other_opens(password in "\\PC{1,20}", other in "\\PC{1,20}", salt in proptest::collection::vec(any::<u8>(), 1..30)) {
        prop_assume!(password != other);
        let verifier = Verifier::of_password(&password, &salt, 2);
        let opens = |password| exchange(&verifier, Credential::Password(Password(password))).is_ok();
        prop_assert!(opens(&password));
        // SASLprep may make two texts one.
        prop_assert_eq!(opens(&other), Verifier::of_password(&other, &salt, 2) == verifier);
    }
}
