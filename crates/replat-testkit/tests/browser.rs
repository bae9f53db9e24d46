//! What a browser says of a page.

use replat_testkit::browser::see;

#[tokio::test]
async fn what_a_reader_would_trip_over_is_seen() {
    let picture = |inside: &str| {
        format!("<body><svg viewBox='0 0 400 100' width='400' height='100'>{inside}</svg></body>")
    };
    let cases = [
        (picture("<text x='10' y='50'>one</text><text x='200' y='50'>two</text>"), ""),
        (picture("<text x='10' y='50'>one</text><text x='12' y='52'>two</text>"), "text over two: one"),
        (picture("<text x='390' y='50'>a long word</text>"), "text outside its picture: a long word"),
        (picture("<rect x='NaN' y='2'/>"), "x is no number: "),
        ("<div style='width:3000px'>wide</div>".to_owned(), "the page is "),
        ("<a href='#there'>here</a>".to_owned(), "a link to nothing: here"),
        (
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'\"><p>none</p>".into(),
            "",
        ),
    ];
    for (number, (page, fault)) in cases.into_iter().enumerate() {
        let folder = std::env::temp_dir().join(format!("replat-browser-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let seen = see(&format!("<!doctype html>{page}"), 1000, &folder).await;
        drop(std::fs::remove_dir_all(&folder));
        let seen = seen.unwrap_or_else(|error| panic!("{error}"));
        match fault {
            "" => assert!(seen.faults.is_empty(), "{page}: {seen:?}"),
            fault => assert!(seen.faults.iter().any(|said| said.starts_with(fault)), "{page}: {seen:?}"),
        }
    }
}
