//! Records of CIFAR-10 and CIFAR-100.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wgrad_fuzz::cifar(bytes));
