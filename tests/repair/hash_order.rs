//! What hash order asks of repair besides (`whole.rs` and `damage.rs` have samples of both orders).

use super::*;
use crate::compactions::two_claims;

#[test]
fn a_keyspace_without_manifest_keeps_its_order_and_goes_on() {
    // Every fourth seed of a keyspace is weak: many keys share a hash.
    for seed in 0..8 {
        let [_, sample] = samples(seed);
        let sim = machine(&without_manifest(&sample.files));
        run(&sim.env(), LEAVE_OUT).unwrap();
        for _ in 0..2 {
            let db = options(&sim).open(TARGET).unwrap();
            let orders =
                ["plain", "packed"].map(|name| db.open_keyspace(name).unwrap().options().get_order());
            assert_eq!(orders, [Order::Key, Order::Hash]);
            let packed = db.open_keyspace("packed").unwrap();
            let mut wanted = sample.state["packed"].clone();
            for n in (0..KEYS).step_by(3) {
                packed.put(key(n), "new").unwrap();
                wanted.insert(key(n), b"new".to_vec());
            }
            assert_eq!(content_of(&packed), wanted, "seed {seed}");
            packed.compact_range::<&[u8], _>(..).unwrap();
            assert_eq!(content_of(&packed), wanted, "seed {seed}");
            db.verify().unwrap();
            db.close().unwrap();
        }
    }
}

#[test]
fn what_is_undecided_names_the_key_and_what_is_lost_the_sort_key() {
    let order = SortOrder::Hash { seed: 5 };
    let layout = SstOptions {
        order,
        ..SstOptions::default()
    };
    let files = two_claims(&layout);
    let (_, report) = repaired(&files, RepairOptions::default());
    assert!(!report.written);
    assert_eq!(report.undecided.len(), 1, "{report:#?}");
    assert_eq!(report.undecided[0].key.as_ref().unwrap(), b"k");
    let (_, report) = repaired(&files, LEAVE_OUT);
    let lost = &report.lost[0];
    let place = sort_key(order, b"k");
    assert_eq!(
        (lost.from_key.as_deref(), lost.to_key.as_deref()),
        (Some(&place[..]), Some(&place[..]))
    );
    assert!(!is_reported(&report, 1, &sort_key(order, b"same")));
}
