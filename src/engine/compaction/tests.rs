//! What the picker chooses for drawn trees.
//!
//! A tree is drawn as lines `level: name[first-last] ...`; each file has one size unit, and numbers by its name.

use super::claims::Claims;
use super::picker::{Limits, Picker};
use super::plan::{Action, Plan};
use crate::Slice;
use crate::engine::tree::{Filed, Tree};
use crate::manifest::{FileMeta, LEVELS};
use crate::types::SeqNo;

mod borders;

const UNIT: u64 = 1000;
const LIMITS: Limits = Limits {
    write_buffer_size: UNIT,
    max_file_size: UNIT,
    max_referenced: UNIT,
};

#[derive(Clone, Debug)]
struct File {
    meta: FileMeta,
    keys: u64,
}

impl Filed for File {
    fn meta(&self) -> &FileMeta {
        &self.meta
    }

    fn keys(&self) -> u64 {
        self.keys
    }
}

impl File {
    /// A hundred entries from `first` to `last`, with numbers from `100 * age` on.
    fn new(number: u64, first: &str, last: &str, age: u64) -> File {
        let meta = FileMeta {
            number,
            size: UNIT,
            identity: [0; 16],
            entries: 100,
            tombstones: 0,
            min_key: Slice::from(first.as_bytes()),
            max_key: Slice::from(last.as_bytes()),
            min_seq: age * 100,
            max_seq: age * 100 + 99,
            referenced_bytes: 0,
        };
        File { meta, keys: 100 }
    }

    fn sized(mut self, units: u64) -> File {
        self.meta.size = UNIT * units;
        self
    }

    fn tombstones(mut self, count: u64) -> File {
        self.meta.tombstones = count;
        self
    }

    /// Its entries refer to so many tenths of what makes a level 0 due.
    fn refers(mut self, tenths: u64) -> File {
        self.meta.referenced_bytes = UNIT * tenths / 10;
        self
    }

    fn keys(mut self, count: u64) -> File {
        self.keys = count;
        self
    }
}

/// `n` files of level 6, `a00` to `a01`, `a02` to `a03` and so on; numbers from 1000 on.
fn last_level(n: u64) -> impl Iterator<Item = (usize, File)> {
    (0..n).map(|i| {
        let (first, last) = (format!("a{:02}", i * 2), format!("a{:02}", i * 2 + 1));
        (6, File::new(1000 + i, &first, &last, 0))
    })
}

struct Case {
    tree: Tree<File>,
    claims: Claims,
    oldest_snapshot: SeqNo,
    cursors: [Vec<u8>; LEVELS],
}

impl Case {
    fn new(files: impl IntoIterator<Item = (usize, File)>) -> Case {
        Case {
            tree: Tree::new(files),
            claims: Claims::default(),
            oldest_snapshot: SeqNo::MAX,
            cursors: Default::default(),
        }
    }

    fn picker(&self) -> Picker<'_, File> {
        Picker {
            tree: &self.tree,
            claims: &self.claims,
            limits: LIMITS,
            oldest_snapshot: self.oldest_snapshot,
            cursors: &self.cursors,
        }
    }

    fn pick(&self) -> Option<Plan<File>> {
        self.picker().pick()
    }

    /// What is picked: action, numbers ascending, output level.
    fn picked(&self) -> Option<(Action, Vec<u64>, usize)> {
        let plan = self.pick()?;
        let mut numbers: Vec<u64> = plan.numbers().collect();
        numbers.sort_unstable();
        Some((plan.action, numbers, plan.output_level))
    }

    /// Lets what is picked run.
    fn start(&mut self) -> Plan<File> {
        let plan = self.pick().unwrap();
        self.claims.add(&plan);
        plan
    }
}

/// Level-0 files over all keys, the first the oldest.
fn level_0(n: u64) -> impl Iterator<Item = (usize, File)> {
    (1..=n).map(|i| (0, File::new(i, "a00", "z", i)))
}

#[test]
fn three_files_of_level_0_are_left_alone_and_four_go_into_the_base() {
    let case = |n| Case::new(level_0(n).chain(last_level(2)));
    assert_eq!(case(3).picked(), None);
    assert_eq!(
        case(4).picked(),
        Some((Action::Merge, vec![1, 2, 3, 4, 1000, 1001], 6))
    );
}

#[test]
fn a_level_0_that_refers_to_much_is_due_however_few_files_it_has() {
    let case = |tenths: &[u64]| {
        let refer = |((level, file), tenths): ((usize, File), &u64)| (level, file.refers(*tenths));
        Case::new(
            level_0(tenths.len() as u64)
                .zip(tenths)
                .map(refer)
                .chain(last_level(2)),
        )
    };
    assert_eq!(case(&[4, 5]).picked(), None);
    assert_eq!(
        case(&[5, 5]).picked(),
        Some((Action::Merge, vec![1, 2, 1000, 1001], 6))
    );
    assert_eq!(
        case(&[10]).picked(),
        Some((Action::Merge, vec![1, 1000, 1001], 6))
    );
    // What another compaction works on does not count.
    let mut claimed = case(&[10, 0, 0]);
    claimed.start();
    assert_eq!(claimed.picked(), None);
}

#[test]
fn files_of_level_0_that_overlap_nothing_older_are_moved() {
    // An ascending load: nothing overlaps.
    let ascending = [("b", "c"), ("d", "e"), ("f", "g"), ("h", "i")];
    let files = (1..).zip(ascending).map(|(i, (a, b))| (0, File::new(i, a, b, i)));
    assert_eq!(
        Case::new(files.clone().chain(last_level(3))).picked(),
        Some((Action::Move, vec![1, 2, 3, 4], 6))
    );
    // What lies over an older file, or over the base, stays.
    let over = [(0, File::new(5, "e", "f", 5)), (0, File::new(6, "a00", "a01", 6))];
    assert_eq!(
        Case::new(files.chain(over).chain(last_level(3))).picked(),
        Some((Action::Move, vec![1, 2, 3, 4], 6))
    );
}

#[test]
fn a_file_that_ends_where_an_older_one_begins_is_not_moved() {
    // The versions of "k" span two files of one flush: 1 has the newer ones.
    let files = [
        (0, File::new(1, "b", "k", 4)),
        (0, File::new(2, "k", "k", 3)),
        (0, File::new(3, "a", "b", 2)),
        (0, File::new(4, "m", "n", 1)),
    ];
    assert_eq!(Case::new(files).picked(), Some((Action::Move, vec![2, 3, 4], 6)));
}

#[test]
fn tombstones_are_not_moved_to_where_they_could_go() {
    let files = (1..5).map(|i| (0, File::new(i, "a00", "z", i).tombstones(1)));
    assert_eq!(
        Case::new(files).picked(),
        Some((Action::Merge, vec![1, 2, 3, 4], 6)),
        "a merge drops them"
    );
}

/// A tree whose base is level 5, which is too large: the last level holds ninety files, level 5 may hold nine.
fn two_levels(five: impl IntoIterator<Item = File>) -> Case {
    Case::new(last_level(90).chain(five.into_iter().map(|file| (5, file))))
}

#[test]
fn the_file_goes_that_rewrites_the_least_for_its_size() {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, 10 + i);
    let five = || vec![file(1, "a00", "a09").sized(9), file(2, "a20", "a21").sized(2)];
    // 5 of the next level for 9, or 1 for 2.
    assert_eq!(
        two_levels(five()).picked(),
        Some((Action::Merge, vec![2, 1010], 6))
    );
    // Many tombstones are as good as size: they free what they hide.
    let mut dying = five();
    dying[0] = dying[0].clone().tombstones(40);
    dying[0].meta.size = 9 * UNIT;
    let mut case = two_levels(dying);
    assert_eq!(case.picked(), Some((Action::Merge, vec![2, 1010], 6)));
    case = two_levels([
        file(1, "a00", "a03").sized(5),
        file(2, "a20", "a23").sized(5).tombstones(40),
    ]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![2, 1010, 1011], 6)));
}

#[test]
fn among_equals_the_round_goes_on() {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, 10 + i).sized(4);
    let mut case = two_levels([
        file(1, "a00", "a01"),
        file(2, "a20", "a21"),
        file(3, "a30", "a31"),
    ]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![1, 1000], 6)));
    case.cursors[5] = b"a01".to_vec();
    assert_eq!(case.picked(), Some((Action::Merge, vec![2, 1010], 6)));
    case.cursors[5] = b"z".to_vec();
    assert_eq!(case.picked(), Some((Action::Merge, vec![1, 1000], 6)));
}

#[test]
fn neighbours_that_cost_nothing_more_come_along() {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, 10 + i).sized(4);
    let case = two_levels([
        file(1, "a00", "a002"),
        file(2, "a003", "a01"),
        file(3, "a20", "a21"),
    ]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![1, 2, 1000], 6)));
}

#[test]
fn files_that_share_a_border_key_go_together() {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, 20 - i).sized(4);
    // In the next level nothing lies in their way: they are moved, all three.
    let case = two_levels([file(1, "b", "k"), file(2, "k", "k"), file(3, "k", "m")]);
    assert_eq!(case.picked(), Some((Action::Move, vec![1, 2, 3], 6)));
}

#[test]
fn a_level_above_the_base_is_drained_without_rewriting() {
    let case =
        Case::new(last_level(2).chain([(2, File::new(1, "b", "c", 1)), (2, File::new(2, "d", "e", 2))]));
    assert_eq!(case.picked(), Some((Action::Move, vec![1, 2], 3)));
    // Level 0 goes no deeper than what is there.
    let case = Case::new(level_0(4).chain([(3, File::new(9, "b", "c", 0))]));
    assert_eq!(case.pick().unwrap().output_level, 3);
}

#[test]
fn a_file_over_many_grandparents_is_merged_and_not_moved() {
    let with = |last: &str| {
        let four = [(4, File::new(1, "a00", last, 9).sized(5))];
        Case::new(last_level(40).chain(four))
    };
    assert_eq!(
        with("a18").picked(),
        Some((Action::Move, vec![1], 5)),
        "ten of them"
    );
    assert_eq!(with("a20").picked(), Some((Action::Merge, vec![1], 5)), "eleven");
}

#[test]
fn compactions_of_other_ranges_run_side_by_side() {
    let file = |i: u64, first: &str, last: &str| File::new(i, first, last, 10 + i).sized(20);
    let mut case = two_levels([
        file(1, "a00", "a01"),
        file(2, "a01x", "a02"),
        file(3, "a40", "a41"),
    ]);
    assert_eq!(case.start().numbers().collect::<Vec<_>>(), [1, 1000]);
    // 2 needs 1001 only, but its keys border on what the first one writes: only whole ranges count.
    assert_eq!(case.start().numbers().collect::<Vec<_>>(), [2, 1001]);
    assert_eq!(case.start().numbers().collect::<Vec<_>>(), [3, 1020]);
    assert_eq!(case.picked(), None);
    // The same once more, with an overlap in the next level.
    let mut case = two_levels([file(1, "a00", "a02"), file(2, "a03", "a04")]);
    assert_eq!(case.start().numbers().collect::<Vec<_>>(), [1, 1000, 1001]);
    assert_eq!(case.picked(), None, "1001 is taken");
}

#[test]
fn one_compaction_of_level_0_runs_at_a_time() {
    let mut case = Case::new(level_0(4).chain(last_level(2)));
    case.start();
    case.tree = case.tree.with(&[], &level_0(8).skip(4).collect::<Vec<_>>());
    assert_eq!(case.tree.level(0).len(), 8);
    let within = case.picked();
    assert_eq!(within, Some((Action::Merge, vec![5, 6, 7, 8], 0)), "only within");
}

#[test]
fn level_0_is_merged_within_itself_only_when_writers_are_about_to_be_slowed() {
    let mut case = Case::new(level_0(4).chain(last_level(2)));
    case.start();
    case.tree = case.tree.with(&[], &level_0(7).skip(4).collect::<Vec<_>>());
    assert_eq!(case.picked(), None, "seven files");
    case.tree = case.tree.with(&[], &level_0(9).skip(7).collect::<Vec<_>>());
    assert_eq!(
        case.picked(),
        Some((Action::Merge, vec![6, 7, 8, 9], 0)),
        "the newest"
    );
    // While these run, the oldest are still taken; nothing else can start.
    case.start();
    assert_eq!(case.picked(), None);
}

#[test]
fn within_level_0_a_run_ends_where_files_are_of_the_same_age() {
    let mut case = Case::new(level_0(4).chain(last_level(2)));
    case.start();
    // Two files of one flush, whose numbers interleave, are the fourth and the fifth newest.
    let mut flush = [File::new(5, "a", "b", 5), File::new(6, "c", "d", 5)];
    flush[1].meta.max_seq -= 1;
    let newer = (7..10).map(|i| File::new(i, "a", "z", i));
    let added: Vec<(usize, File)> = flush.into_iter().chain(newer).map(|file| (0, file)).collect();
    case.tree = case.tree.with(&[], &added);
    assert_eq!(
        case.picked(),
        None,
        "three are too few, and four would tear the flush apart"
    );
    case.tree = case.tree.with(&[], &[(0, File::new(10, "a", "z", 10))]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![7, 8, 9, 10], 0)));
}

#[test]
fn a_file_of_tombstones_is_deleted_if_it_hides_nothing() {
    let grave = |first: &str, last: &str| File::new(1, first, last, 9).tombstones(100);
    let with = |level, file| Case::new(last_level(3).chain([(level, file)]));
    assert_eq!(
        with(5, grave("b", "c")).picked(),
        Some((Action::Delete, vec![1], 5)),
        "nothing there"
    );
    assert_eq!(
        with(0, grave("b", "c")).picked(),
        Some((Action::Delete, vec![1], 0))
    );
    assert_ne!(
        with(5, grave("a04", "c")).pick().map(|plan| plan.action),
        Some(Action::Delete)
    );
    let mut over_older = with(0, grave("b", "c"));
    over_older.tree = over_older.tree.with(&[], &[(0, File::new(2, "c", "d", 1))]);
    assert_eq!(over_older.picked(), Some((Action::Move, vec![2], 6)), "it stays");
}

#[test]
fn what_only_closed_snapshots_could_see_is_rewritten() {
    let stale = || File::new(1, "b", "c", 9).keys(90);
    let mut case = Case::new(last_level(3).chain([(6, stale())]));
    assert_eq!(case.picked(), Some((Action::Merge, vec![1], 6)));
    // A snapshot from before its newest entry keeps it, and says for what to wait.
    case.oldest_snapshot = 998;
    assert_eq!(case.picked(), None);
    assert_eq!(super::elision::waits_for(&case.picker()), Some(999));
    case.oldest_snapshot = 999;
    assert_eq!(case.picked(), Some((Action::Merge, vec![1], 6)));
    assert_eq!(super::elision::waits_for(&case.picker()), None);
    // Nine of a hundred are not worth it.
    let case = Case::new(last_level(3).chain([(6, stale().keys(91))]));
    assert_eq!(case.picked(), None);
}

#[test]
fn files_that_are_mostly_tombstones_go_down_unasked() {
    let dense = File::new(1, "a00", "a01", 9).tombstones(50);
    let case = Case::new(last_level(3).chain([(5, dense)]));
    // Level 5 is too large anyhow here, its target being nothing.
    assert_eq!(case.picked(), Some((Action::Merge, vec![1, 1000], 6)));
    let dense = File::new(1, "a00", "a01", 9).tombstones(50);
    let case = two_levels([dense]);
    assert_eq!(case.picked(), Some((Action::Merge, vec![1, 1000], 6)));
    let sparse = File::new(1, "a00", "a01", 9).tombstones(49);
    assert_eq!(two_levels([sparse]).picked(), None);
}
