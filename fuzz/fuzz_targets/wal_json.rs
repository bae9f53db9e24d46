#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (replat_fuzz::target("wal_json").expect("it is listed").run)(bytes));
