#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (replat_fuzz::target("analysis").expect("it is listed").run)(bytes));
