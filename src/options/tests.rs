//! What is stored of options.

use super::*;

fn decode(bytes: &[u8]) -> Option<KeyspaceOptions> {
    let mut decoder = Decoder::new(bytes);
    KeyspaceOptions::decode(&mut decoder).filter(|_| decoder.is_empty())
}

#[test]
fn stored_options_are_the_bytes_that_the_comment_says() {
    let options = KeyspaceOptions::new()
        .compression(Compression::None)
        .value_block_size(64)
        .key_block_size(200)
        .filter(false)
        .partition_size(65)
        .object_threshold(None)
        .deduplicate(false);
    let mut bytes = Vec::new();
    options.encode(&mut bytes);
    assert_eq!(bytes, [7, 1, 0, 2, 64, 3, 200, 1, 4, 0, 6, 65, 7, 0, 8, 0]);
    assert_eq!(decode(&bytes), Some(options));
    assert_eq!(
        decode(&[0]),
        Some(KeyspaceOptions::default()),
        "what is left out has its default"
    );
    let mut hashed = KeyspaceOptions::new().order(Order::Hash);
    hashed.set_seed(300);
    let mut bytes = Vec::new();
    hashed.encode(&mut bytes);
    assert_eq!(
        bytes,
        [
            8, 1, 0, 2, 128, 32, 3, 128, 128, 1, 4, 1, 5, 172, 2, 6, 128, 128, 2, 7, 128, 128, 1, 8, 1
        ]
    );
    let decoded = decode(&bytes).unwrap();
    assert_eq!(decoded.sst(), hashed.sst());
    let compressed = KeyspaceOptions::new().compression(Compression::Lz4);
    assert_eq!(
        compressed.order(Order::Hash),
        KeyspaceOptions::new()
            .order(Order::Hash)
            .compression(Compression::Lz4)
    );
}

#[test]
fn an_option_that_is_stored_twice_or_out_of_order_is_refused() {
    assert!(decode(&[2, 1, 0, 4, 1]).is_some());
    assert_eq!(decode(&[2, 1, 0, 1, 1]), None);
    assert_eq!(decode(&[2, 4, 1, 1, 0]), None);
}
