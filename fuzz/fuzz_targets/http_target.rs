#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (replat_fuzz::target("http_target").expect("it is listed").run)(bytes));
