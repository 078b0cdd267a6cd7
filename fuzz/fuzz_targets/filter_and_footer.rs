#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| packstone_fuzz::filter_and_footer::run(data));
