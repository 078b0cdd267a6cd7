#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| packstone_fuzz::pack_reopen::run(data));
