//! Weights of PyTorch 1.6 and later.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgrad_fuzz::pth_zip(bytes));
