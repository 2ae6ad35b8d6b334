//! Image files. A panic of a decoder is caught in the library and costs one image, so only panics of wgrad's own code count.
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: {
        std::panic::set_hook(Box::new(|panic| {
            if panic.location().is_none_or(|place| place.file().contains("trainer")) {
                eprintln!("{panic}");
                std::process::abort();
            }
        }));
    },
    |bytes: &[u8]| wgrad_fuzz::image(bytes)
);
