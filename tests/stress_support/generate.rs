//! Histories drawn from a seed.

use packstone::env::sim::{CrashStyle, EIO, EMFILE, ENOSPC, Op};

use super::Plan;
use super::data::NAMES;
use super::steps::{End, Ending, History, Id, Item, Layout, Move, Opts, Span, Step};
use crate::support::rng::Rng;

/// What sets a history's numbers apart from those of others who use its seed.
const HISTORY: u64 = 0x7374_7265_7373_2121;

/// How often failures come, in a history that has them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Faults {
    None,
    /// Single calls.
    Single,
    /// By chance, all the time.
    Chances,
}

pub(crate) struct Generator {
    rng: Rng,
    plan: Plan,
    keys: u64,
    keyspaces: u64,
    /// Which lengths values have.
    lengths: u64,
    faults: Faults,
    /// One step in so many stops the machine; 0: none does.
    crash_one_in: u64,
    stamp: u32,
    /// Some long values that have been written.
    lately: Vec<(u32, u32)>,
}

/// The history of a seed.
pub(crate) fn history(seed: u64, plan: &Plan) -> History {
    let mut rng = Rng::apart(seed, HISTORY);
    let faults = match rng.below(8) {
        _ if !plan.faults => Faults::None,
        0 | 1 => Faults::None,
        2..5 => Faults::Single,
        _ => Faults::Chances,
    };
    let style = rng.below(6);
    let crash_one_in = if plan.crashes {
        rng.pick(&[0, 60, 150, 400])
    } else {
        0
    };
    let keys = rng.pick(&[6, 30, 90, 250]);
    let mut generator = Generator {
        keys,
        keyspaces: rng.between(1, NAMES.len() as u64),
        lengths: rng.below(5),
        faults,
        crash_one_in,
        stamp: 0,
        lately: Vec::new(),
        plan: plan.clone(),
        rng,
    };
    let mut steps = generator.beginning();
    for _ in 0..plan.steps {
        let step = generator.step();
        steps.push(step);
        generator.disturb(&mut steps);
    }
    if plan.flips && generator.rng.one_in(5) {
        generator.decay(&mut steps);
    }
    History {
        world: seed,
        keys: style,
        steps,
    }
}

impl Generator {
    fn beginning(&mut self) -> Vec<Step> {
        let mut steps = vec![Step::Options(self.opts())];
        if self.faults == Faults::Chances {
            steps.push(self.chance());
        }
        if self.rng.one_in(4) {
            steps.push(Step::Flaky(self.rng.between(2, 40)));
        }
        if self.rng.one_in(4) {
            steps.push(Step::Slow(self.rng.pick(&[100, 5_000, 200_000])));
        }
        steps.push(Step::Create(0, self.layout()));
        steps
    }

    pub(crate) fn opts(&mut self) -> Opts {
        let rng = &mut self.rng;
        Opts {
            write_buffer: rng.pick(&[4, 24, 32, 48, 64, 128]) << 10,
            max_log: rng.pick(&[4, 16, 64, 64, 256, 1024]) << 10,
            max_file: rng.pick(&[4, 4, 8, 64, 1024]) << 10,
            manifest_roll: rng.pick(&[1, 1, 4, 1024]) << 10,
            cache: rng.pick(&[0, 4 << 10, 64 << 10, 8 << 20]),
            threads: rng.pick(&[1, 2, 4]),
            sync_interval: if rng.one_in(5) { rng.between(1, 50) } else { 0 },
            mapped: rng.one_in(2),
            // What it goes on without can't be judged where bits flip.
            point_in_time: !self.plan.flips && rng.one_in(6),
            compaction_rate: rng.pick(&[0, 0, 16 << 10, 1 << 20]),
            plain_log: rng.one_in(3),
            pack_size: rng.pick(&[4, 4, 8, 16, 64]) << 10,
        }
    }

    fn layout(&mut self) -> Layout {
        let rng = &mut self.rng;
        Layout {
            key_block: rng.pick(&[64, 256, 1024, 16 << 10]),
            value_block: rng.pick(&[64, 256, 4096, 8 << 10]),
            compressed: rng.one_in(2),
            filter: rng.one_in(2),
            hash_order: rng.one_in(3),
            partition: rng.pick(&[64, 200, 1024, 32 << 10]),
            objects_above: rng.pick(&[0, 0, 32, 64, 100, 1000, 4096]),
            alone: rng.one_in(4),
        }
    }

    /// The first gets most of the writes, so that it grows deep.
    fn keyspace(&mut self) -> Id {
        let upto = 1 + self.rng.below(self.keyspaces);
        self.rng.below(upto) as Id
    }

    fn key(&mut self) -> Id {
        let upto = 1 + self.rng.below(self.keys);
        self.rng.below(upto) as Id
    }

    fn value(&mut self) -> (u32, u32) {
        self.stamp += 1;
        let rng = &mut self.rng;
        let len = match (self.lengths, rng.below(20)) {
            (0, _) => 8,
            (1, _) | (_, 0..8) => rng.below(9),
            (2, _) => rng.between(90, 110),
            (3, 8..11) => rng.between(4090, 12_000),
            (_, 8..17) => rng.between(9, 300),
            (_, 17 | 18) => rng.between(300, 4096),
            _ => rng.pick(&[9, 4095, 4096, 4097, 9000]),
        };
        // The long ones come up again and again.
        if len > 32 && rng.one_in(3) && !self.lately.is_empty() {
            return rng.pick(&self.lately);
        }
        let value = (len as u32, self.stamp);
        if len > 32 {
            let at = self.lately.len();
            match at < 8 {
                true => self.lately.push(value),
                false => self.lately[rng.below(8) as usize] = value,
            }
        }
        value
    }

    fn item(&mut self) -> Item {
        Item {
            keyspace: self.keyspace(),
            key: self.key(),
            value: if self.rng.one_in(4) {
                None
            } else {
                Some(self.value())
            },
        }
    }

    fn stream(&mut self) -> Step {
        let ending = self.rng.pick(&[
            Ending::Reader,
            Ending::Reader,
            Ending::Commit,
            Ending::Commit,
            Ending::Synced,
            Ending::Abort,
            Ending::Fail,
        ]);
        let (mut len, stamp) = self.value();
        if self.rng.one_in(4) {
            // Longer than most packs.
            len = len.saturating_mul(5).min(80_000);
        }
        Step::Stream(
            ending,
            Item {
                keyspace: self.keyspace(),
                key: self.key(),
                value: Some((len, stamp)),
            },
        )
    }

    fn span(&mut self) -> Span {
        if self.rng.one_in(4) {
            return Span::Prefix(self.key(), self.rng.below(10) as u16);
        }
        let end = |generator: &mut Generator| (!generator.rng.one_in(3)).then(|| generator.key());
        Span::Keys(end(self), end(self))
    }

    fn maybe_snapshot(&mut self) -> Option<Id> {
        self.rng.one_in(3).then(|| self.rng.below(5) as Id)
    }

    fn movement(&mut self) -> Move {
        match self.rng.below(16) {
            0 => Move::First,
            1 => Move::Last,
            2 | 3 => Move::Seek(self.key()),
            4 | 5 => Move::SeekForPrev(self.key()),
            6 => Move::Refresh,
            7..12 => Move::Next,
            _ => Move::Prev,
        }
    }

    fn end(&mut self) -> End {
        self.rng.pick(&[End::Front, End::Front, End::Back, End::Both])
    }

    fn style(&mut self) -> CrashStyle {
        self.rng.pick(&[
            CrashStyle::KeepNothing,
            CrashStyle::KeepAll,
            CrashStyle::Random,
            CrashStyle::Random,
            CrashStyle::Blocks,
        ])
    }

    fn chance(&mut self) -> Step {
        let op = self.rng.pick(&[
            None,
            None,
            Some(Op::Read),
            Some(Op::Write),
            Some(Op::Write),
            Some(Op::Sync),
            Some(Op::SyncDir),
            Some(Op::Rename),
            Some(Op::Create),
            Some(Op::Open),
            Some(Op::Remove),
            Some(Op::Len),
            Some(Op::Map),
            Some(Op::Reserve),
            Some(Op::List),
        ]);
        let one_in = match op {
            None => self.rng.between(20, 400),
            Some(Op::Read | Op::Write) => self.rng.between(10, 200),
            _ => self.rng.between(3, 40),
        };
        Step::Chance(one_in, self.errno(), op)
    }

    fn errno(&mut self) -> i32 {
        self.rng.pick(&[EIO, EIO, ENOSPC, EMFILE])
    }

    pub(crate) fn step(&mut self) -> Step {
        match self.rng.below(1000) {
            0..315 => Step::Write(self.rng.one_in(12), vec![self.item()]),
            315..330 => self.stream(),
            330..410 => {
                let count = if self.rng.one_in(30) {
                    0
                } else {
                    self.rng.between(2, 8)
                };
                let items = (0..count).map(|_| self.item()).collect();
                Step::Write(self.rng.one_in(5), items)
            }
            410..500 => Step::Get(self.keyspace(), self.key()),
            500..512 => Step::Open(
                self.rng.below(3) as Id,
                self.keyspace(),
                self.key(),
                self.maybe_snapshot(),
            ),
            512..530 => {
                let to = self.rng.one_in(2).then(|| self.rng.below(13_000));
                Step::Pour(self.rng.below(3) as Id, to, self.rng.pick(&[1, 100, 5000]))
            }
            530..538 => {
                let keys = (0..self.rng.below(10)).map(|_| self.key()).collect();
                Step::GetMany(self.keyspace(), self.maybe_snapshot(), keys)
            }
            538..545 => Step::Cursor(self.rng.below(3) as Id, self.keyspace(), self.maybe_snapshot()),
            545..570 => Step::Move(self.rng.below(3) as Id, self.movement()),
            570..580 => Step::Ends(self.keyspace()),
            580..640 => Step::Range(self.keyspace(), self.span(), self.end(), self.rng.one_in(3)),
            640..660 => Step::Snapshot(self.rng.below(5) as Id),
            660..675 => Step::Look(self.rng.below(5) as Id),
            675..705 => Step::Peek(self.rng.below(5) as Id, self.keyspace(), self.key()),
            705..720 => Step::Release(self.rng.below(5) as Id),
            720..745 => {
                let snapshot = self.maybe_snapshot();
                Step::Begin(self.rng.below(4) as Id, self.keyspace(), self.span(), snapshot)
            }
            745..805 => Step::Next(self.rng.below(4) as Id, self.rng.between(1, 5), self.end()),
            805..815 => Step::Finish(self.rng.below(4) as Id),
            815..825 => Step::Create(self.keyspace(), self.layout()),
            825..829 => Step::Drop(self.keyspace()),
            829..839 => Step::Flush,
            839..843 => Step::Compact(self.keyspace(), Span::Keys(None, None)),
            843..848 => Step::Compact(self.keyspace(), self.span()),
            848..860 => Step::Sync,
            860..865 => Step::Settle,
            865..868 => Step::Verify,
            868..871 => Step::Check,
            871..874 => Step::ReadOnly,
            874..879 => Step::Close,
            879..882 => Step::Abandon,
            882..886 => Step::Options(self.opts()),
            886..980 => Step::Jobs(self.rng.between(1, 3)),
            980..984 => Step::Idle,
            984..987 => Step::Checkpoint(self.rng.one_in(3)),
            987..991 => Step::Beside,
            _ => Step::Advance(self.rng.between(1, 100)),
        }
    }

    /// What goes wrong after a step.
    fn disturb(&mut self, steps: &mut Vec<Step>) {
        if self.crash_one_in > 0 && self.rng.one_in(self.crash_one_in) {
            self.crash(steps);
        }
        match self.faults {
            Faults::None => {}
            Faults::Single => {
                if self.rng.one_in(15) {
                    steps.push(Step::Fault(self.rng.below(12), self.errno(), self.rng.one_in(2)));
                }
                if self.rng.one_in(300) {
                    steps.push(Step::Room(Some(self.rng.below(20_000))));
                } else if self.rng.one_in(60) {
                    steps.push(Step::Room(None));
                }
            }
            Faults::Chances => match self.rng.below(200) {
                0 => steps.push(Step::Calm),
                1 | 2 => steps.push(self.chance()),
                _ => {}
            },
        }
    }

    fn crash(&mut self, steps: &mut Vec<Step>) {
        let style = self.style();
        steps.push(match self.rng.below(3) {
            0 => Step::Crash(style),
            _ => Step::PowerOff(self.rng.below(60), style),
        });
        // Recovery, and the recovery from that, are stopped as well.
        while self.rng.one_in(3) {
            steps.push(Step::Crash(self.style()));
            steps.push(Step::PowerOff(self.rng.below(40), self.style()));
            steps.push(Step::Sync);
        }
        if self.rng.one_in(2) {
            steps.push(Step::Options(self.opts()));
        }
    }

    /// Bits flip in one kind of file, and everything is read, now and after an opening. Logs and manifests get one flip
    /// only: two could hit a frame and the very marker that proves it.
    fn decay(&mut self, steps: &mut Vec<Step>) {
        steps.push(Step::Calm);
        let part = self
            .rng
            .pick(&[".sst", ".sst", ".pack", ".pack", ".log", "MANIFEST", "CURRENT"]);
        let count = if part == ".sst" || part == ".pack" {
            self.rng.between(1, 3)
        } else {
            1
        };
        if self.rng.one_in(2) {
            steps.push(Step::Sync);
            steps.push(Step::Abandon);
        }
        steps.extend((0..count).map(|_| Step::Flip(part.to_owned())));
        for _ in 0..self.rng.between(5, 40) {
            let step = self.step();
            steps.push(step);
        }
        if self.rng.one_in(2) {
            steps.push(Step::Crash(CrashStyle::KeepAll));
        }
        steps.extend([Step::Abandon, Step::Verify, Step::Check]);
        for _ in 0..20 {
            let step = self.step();
            steps.push(step);
        }
    }
}
