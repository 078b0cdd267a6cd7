#![allow(clippy::all, clippy::disallowed_methods, missing_docs)]
fn main() {
    let dir = std::env::args().nth(1).unwrap();
    let mode = std::env::args().nth(2).unwrap();
    if mode == "write" {
        let db = packstone::Db::open(&dir).unwrap();
        let ks = db.keyspace("a").unwrap();
        for i in 0..400_000u64 {
            ks.put(i.wrapping_mul(0x9e3779b97f4a7c15).to_be_bytes(), [7u8; 80])
                .unwrap();
        }
        println!("log {}", db.metrics().log_bytes_live);
        std::process::abort();
    }
    let t = std::time::Instant::now();
    let db = packstone::Db::open(&dir).unwrap();
    println!(
        "open {:?} replayed {}",
        t.elapsed(),
        db.metrics().replayed_entries
    );
    std::process::abort();
}
