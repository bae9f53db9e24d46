#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (replat_fuzz::target("schema_sql").expect("it is listed").run)(bytes));
