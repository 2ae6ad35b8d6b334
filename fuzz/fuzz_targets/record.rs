//! Record files: header, JSON, index, records.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgrad_fuzz::record(bytes));
