//! Borders of the rules: each just holds in one tree and just does not in another.

use super::super::picker::pending_bytes;
use super::super::range::plan_range;
use super::*;

fn of_bytes(mut file: File, bytes: u64) -> File {
    file.meta.size = bytes;
    file
}

fn merge(level: usize, file: File, output_level: usize) -> Plan<File> {
    Plan::new(Action::Merge, vec![(level, file)], output_level).unwrap()
}

fn numbers(plan: Option<Plan<File>>) -> Vec<u64> {
    let mut numbers: Vec<u64> = plan.iter().flat_map(Plan::numbers).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn level_0_is_owed_with_what_it_rewrites_once_it_is_due() {
    let owed = |n| pending_bytes(&Tree::new(level_0(n).chain(last_level(2))), LIMITS);
    assert_eq!(owed(3), 0);
    assert_eq!(owed(4), 6 * UNIT);
    assert_eq!(
        owed(6),
        9 * UNIT,
        "half as much again meets the base half as often again"
    );
}

#[test]
fn a_level_is_due_one_byte_over_its_target() {
    let with = |five| {
        let last = of_bytes(File::new(1000, "a00", "a01", 0), 100 * UNIT - five);
        Case::new([(6, last), (5, of_bytes(File::new(1, "b", "c", 1), five))]).picked()
    };
    assert_eq!(with(9 * UNIT), None);
    assert_eq!(with(9 * UNIT + 1), Some((Action::Move, vec![1], 6)));
}

#[test]
fn the_level_furthest_over_its_target_goes_first() {
    let case = |five, four| {
        Case::new([
            (6, File::new(1000, "a00", "a01", 0).sized(900)),
            (5, File::new(1, "a00", "a01", 1).sized(five)),
            (4, File::new(2, "c", "d", 2).sized(four)),
        ])
    };
    // 1.2 times and 2.9 times too large; 3.4 times and hardly.
    assert_eq!(case(108, 27).picked(), Some((Action::Move, vec![2], 5)));
    assert_eq!(case(400, 12).picked(), Some((Action::Merge, vec![1, 1000], 6)));
    // Level 0 counts by the square: 7 files for 3.1, 8 for 4.
    let with = |n| {
        let deep = [
            (6, File::new(1000, "a00", "a01", 0).sized(900)),
            (5, File::new(999, "a00", "a01", 0).sized(400)),
        ];
        Case::new(level_0(n).chain(deep)).picked()
    };
    assert_eq!(with(7), Some((Action::Merge, vec![999, 1000], 6)));
    assert_eq!(with(8), Some((Action::Merge, (1..=8).collect(), 4)));
}

#[test]
fn files_move_until_the_level_is_at_its_target() {
    let file = |i: u64, key: &str| (5, File::new(i, key, key, i).sized(4));
    let case = |last: u64, files: &[(usize, File)]| {
        let last = (6, File::new(1000, "a00", "a01", 0).sized(last));
        Case::new(files.iter().cloned().chain([last])).picked()
    };
    let files = [file(1, "b"), file(2, "c"), file(3, "d")];
    assert_eq!(
        case(91, &files),
        Some((Action::Move, vec![1], 6)),
        "8 of 9.3 are left"
    );
    assert_eq!(
        case(71, &files),
        Some((Action::Move, vec![1, 2], 6)),
        "4 of 7.5 are left"
    );
}

#[test]
fn tombstones_and_old_versions_weigh_what_they_will_free() {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, 10 + i).sized(5);
    let picked = |other: u64, rival: File| {
        let other = of_bytes(file(1, "a00", "a01"), other);
        let last_level = last_level(90);
        numbers(Case::new(last_level.chain([(5, other), (5, rival)])).pick())
    };
    // An entry of the level below has 10 bytes: 40 tombstones free 400.
    let tombstones = || file(2, "a20", "a21").tombstones(40);
    assert_eq!(picked(5300, tombstones()), [2, 1010]);
    assert_eq!(picked(5500, tombstones()), [1, 1000]);
    // An entry of the file itself has 50: 40 old versions free 2000.
    let old = || file(2, "a20", "a21").keys(60);
    assert_eq!(picked(6900, old()), [2, 1010]);
    assert_eq!(picked(7100, old()), [1, 1000]);
}

#[test]
fn moves_pass_by_a_file_that_is_taken_and_end_where_the_target_is_met_exactly() {
    let file = |i: u64, key: &str| (5, File::new(i, key, key, i).sized(4));
    let files = [file(1, "b"), file(2, "c"), file(3, "d")];
    let case = |last: u64| {
        let last = (6, of_bytes(File::new(1000, "a00", "a01", 0), last));
        Case::new(files.iter().cloned().chain([last]))
    };
    let mut taken = case(71 * UNIT);
    taken.claims.add(&merge(5, files[0].1.clone(), 6));
    assert_eq!(taken.picked(), Some((Action::Move, vec![2, 3], 6)));
    // 88,889 bytes make a target of 8,000.
    assert_eq!(case(88_889 - 12_000).picked(), Some((Action::Move, vec![1], 6)));
}

#[test]
fn only_the_tombstones_go_down_unasked_and_not_the_file_behind_them() {
    let dense = File::new(1, "a00", "a01", 9).tombstones(50);
    let case = two_levels([dense, File::new(2, "b", "c", 8)]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![1, 1000], 6)));
}

/// Three files of level 5, the middle one the largest, over one file of level 6.
fn three_over_one(below: u64, rest: u64) -> Case {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, 10 + i);
    Case::new([
        (5, file(1, "a01", "a02").sized(2)),
        (5, file(2, "a03", "a04").sized(6)),
        (5, file(3, "a05", "a06").sized(2)),
        (6, File::new(1000, "a00", "a09", 0).sized(below)),
        (6, File::new(1001, "b", "c", 0).sized(rest)),
    ])
}

#[test]
fn neighbours_come_along_up_to_25_full_files() {
    assert_eq!(numbers(three_over_one(15, 70).pick()), [1, 2, 3, 1000]);
    assert_eq!(
        numbers(three_over_one(16, 70).pick()),
        [2, 3, 1000],
        "26 with the first"
    );
    assert_eq!(numbers(three_over_one(18, 70).pick()), [2, 1000]);
}

#[test]
fn a_neighbour_that_is_taken_does_not_come_along() {
    for busy in [1, 3] {
        let mut case = three_over_one(5, 70);
        let at = usize::from(busy == 3) * 2;
        let plan = merge(5, case.tree.level(5)[at].clone(), 5);
        assert_eq!(plan.numbers().collect::<Vec<_>>(), [busy]);
        case.claims.add(&plan);
        let picked = numbers(case.pick());
        assert!(
            picked.contains(&(4 - busy)) && !picked.contains(&busy),
            "{picked:?}"
        );
    }
}

#[test]
fn tombstones_of_level_0_start_a_compaction_if_they_outweigh_a_quarter_of_what_lies_below() {
    let picked = |tombstones, below| {
        let file = (0, File::new(1, "a00", "z", 1).tombstones(tombstones));
        Case::new(last_level(below).chain([file])).picked()
    };
    assert_eq!(picked(50, 2), Some((Action::Merge, vec![1, 1000, 1001], 6)));
    assert_eq!(picked(49, 2), None, "less than half");
    assert_eq!(picked(50, 3), None, "less than a quarter");
    assert_eq!(picked(75, 3), Some((Action::Merge, vec![1, 1000, 1001, 1002], 6)));
}

#[test]
fn tombstones_with_nothing_below_wait_for_snapshots_and_go_where_they_lie() {
    let mut case = two_levels([File::new(1, "b", "c", 9).tombstones(50)]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![1], 5)));
    case.oldest_snapshot = 0;
    assert_eq!(case.picked(), None);
}

/// Level 0 on its way into the base, and newer files over it.
fn with_newer(newer: impl IntoIterator<Item = File>) -> Case {
    let mut case = Case::new(level_0(4).chain(last_level(2)));
    case.start();
    let newer: Vec<_> = newer.into_iter().map(|file| (0, file)).collect();
    case.tree = case.tree.with(&[], &newer);
    case
}

#[test]
fn within_level_0_a_run_grows_by_files_no_larger_than_itself() {
    let picked = |size| {
        let file = |i, bytes| of_bytes(File::new(i, "a", "z", i), bytes);
        let small = (7..11).map(|i| file(i, 100));
        with_newer([file(5, 900), file(6, size)].into_iter().chain(small)).picked()
    };
    assert_eq!(picked(400), Some((Action::Merge, vec![6, 7, 8, 9, 10], 0)));
    assert_eq!(picked(401), Some((Action::Merge, vec![7, 8, 9, 10], 0)));
}

#[test]
fn files_of_level_0_that_do_not_overlap_are_not_merged_within_it() {
    let picked = |second: &str| {
        let ranges = [("a", "b"), (second, "d"), ("e", "f"), ("g", "h")];
        with_newer((5..).zip(ranges).map(|(i, (a, b))| File::new(i, a, b, i))).picked()
    };
    assert_eq!(picked("c"), None);
    assert_eq!(picked("b"), Some((Action::Merge, vec![5, 6, 7, 8], 0)));
}

#[test]
fn the_oldest_files_go_down_beside_a_merge_of_newer_ones() {
    let mut case = Case::new(level_0(8).chain(last_level(2)));
    let newer: Vec<_> = level_0(8).skip(4).collect();
    case.claims.add(&Plan::new(Action::Merge, newer, 0).unwrap());
    assert_eq!(
        case.picked(),
        Some((Action::Merge, vec![1, 2, 3, 4, 1000, 1001], 6))
    );
}

#[test]
fn nothing_passes_a_level_that_is_written_to() {
    let mut case = Case::new(level_0(5).chain(last_level(2)));
    let newest = case.tree.level(0)[0].clone();
    case.claims.add(&merge(0, newest, 4));
    let plan = case.pick();
    assert_eq!(plan.map(|plan| plan.output_level), None, "the same keys");
    let mut case = Case::new(level_0(4).chain(last_level(2)));
    let elsewhere = File::new(9, "zz", "zzz", 9);
    case.claims.add(&merge(0, elsewhere, 4));
    assert_eq!(case.pick().unwrap().output_level, 4);
}

#[test]
fn a_plan_is_permitted_whose_files_and_range_nobody_has() {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, i);
    let mut claims = Claims::default();
    assert!(claims.is_empty());
    assert_eq!(claims.highest_output(), None);
    let first = claims.add(&merge(5, file(1, "b", "d"), 6));
    assert_eq!((claims.len(), claims.is_empty()), (1, false));
    assert!(claims.is_busy(1) && !claims.is_busy(2));
    for (plan, permitted) in [
        (merge(5, file(2, "e", "g"), 6), true),
        (merge(5, file(2, "d", "g"), 6), false),
        (merge(5, file(2, "a", "b"), 6), false),
        (merge(5, file(2, "a", "ab"), 6), true),
        (merge(4, file(2, "b", "d"), 5), true),
        (merge(4, file(1, "x", "y"), 5), false),
    ] {
        assert_eq!(claims.permits(&plan), permitted, "{plan:?}");
    }
    // Level 0 is ordered by age.
    let within = claims.add(&merge(0, file(3, "b", "d"), 0));
    assert!(claims.permits(&merge(0, file(4, "b", "d"), 0)));
    assert_eq!(claims.highest_output(), Some(6));
    let second = claims.add(&merge(4, file(2, "b", "d"), 5));
    assert_eq!(claims.highest_output(), Some(5));
    claims.remove(first);
    assert!(!claims.is_busy(1) && claims.is_busy(2) && claims.is_busy(3));
    assert!(claims.permits(&merge(5, file(1, "b", "d"), 6)));
    claims.remove(within);
    claims.remove(second);
    assert!(claims.is_empty());
}

#[test]
fn a_range_is_widened_until_nothing_outside_overlaps_what_is_inside() {
    let file = |level, i: u64, first: &str, last: &str| (level, File::new(i, first, last, 20 - i));
    let tree = Tree::new([
        file(0, 1, "x", "y"),
        file(0, 2, "w", "wz"),
        file(4, 3, "b", "d"),
        file(5, 4, "d", "g"),
        file(5, 5, "m", "n"),
        file(6, 6, "a", "az"),
        file(6, 7, "f", "k"),
        file(6, 8, "p", "q"),
    ]);
    let range = |least: &str, greatest: Option<&str>| {
        plan_range(&tree, least.as_bytes(), greatest.map(str::as_bytes))
    };
    // 3 meets 4, and 4 meets 7.
    assert_eq!(numbers(range("c", Some("c"))), [3, 4, 7]);
    assert_eq!(numbers(range("h", Some("h"))), [3, 4, 7]);
    assert_eq!(numbers(range("m", Some("m"))), [5]);
    assert_eq!(numbers(range("l", Some("lz"))), [0; 0]);
    assert_eq!(numbers(range("q", Some("p"))), [0; 0]);
    // Level 0 whole or not at all.
    assert_eq!(numbers(range("x", Some("x"))), [1, 2]);
    assert_eq!(numbers(range("p", None)), [1, 2, 8]);
    assert_eq!(numbers(range("", None)), [1, 2, 3, 4, 5, 6, 7, 8]);
    let plan = range("c", None).unwrap();
    assert_eq!(
        (&plan.least[..], &plan.greatest[..], plan.output_level),
        (&b"b"[..], &b"y"[..], 6)
    );
    assert!(plan_range(&Tree::<File>::new([]), b"", None).is_none());
}

#[test]
fn files_that_share_a_border_key_are_deleted_together_or_not_at_all() {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, 20 - i);
    let grave = |i, first, last| file(i, first, last).tombstones(100);
    // A tombstone of "k" in the first may hide the older "k" of the second.
    let case = two_levels([grave(1, "b", "k"), file(2, "k", "m")]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![1, 2], 5)));
    let case = two_levels([file(1, "b", "k"), grave(2, "k", "m")]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![1, 2], 5)));
    let case = two_levels([grave(1, "b", "k"), grave(2, "k", "m")]);
    assert_eq!(case.picked(), Some((Action::Delete, vec![1, 2], 5)));
}

#[test]
fn files_of_tombstones_that_are_taken_are_not_deleted() {
    let grave = |i, first, last| File::new(i, first, last, 9).tombstones(100);
    let mut case = two_levels([grave(1, "b", "c"), grave(2, "e", "f")]);
    case.claims.add(&merge(5, grave(1, "b", "c"), 6));
    assert_eq!(case.picked(), Some((Action::Delete, vec![2], 5)));
}
