//! Opening after a kill: one process writes and waits ([`load_and_wait`]), its parent kills it, and another opens what it
//! has left ([`open_again`]).

use std::io::{Read, Write};
use std::time::Instant;

use super::scan::Order;
use super::{Limit, Run};
use crate::Result;
use crate::data::Checker;
use crate::engines::{View, open};
use crate::figures::{Kind, Outcome};
use crate::measure::MemoryPeak;
use crate::plan::Plan;

/// What a victim says when all of its writes have been acknowledged.
pub(crate) const READY: &str = "ready";

/// Writes the entries, says so, and waits for the end of its standard input or of itself.
pub(super) fn load_and_wait(plan: &Plan) -> Result<Outcome> {
    let (keys, values) = (plan.keys(), plan.values()?);
    let memory = MemoryPeak::start()?;
    let db = open(&plan.engine, &plan.dir, plan.config)?;
    let run = Run {
        plan,
        db: db.as_ref(),
        keys,
        values,
        entries: plan.entries,
        next: plan.entries,
        versions: (0, 0),
        memory: &memory,
        outcome: Outcome::default(),
    };
    run.load(false, Limit::after(0))?;
    let flushed = run.db.counters().flush.unwrap_or(0);
    if flushed > 0 {
        return Err(
            format!("{flushed} bytes were flushed already: a smaller --num leaves all in the log").into(),
        );
    }
    let mut out = std::io::stdout();
    writeln!(out, "{READY}")?;
    out.flush()?;
    // Ends if the parent dies before it has killed this process.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Err("nobody has killed this process".into())
}

/// Opens, reads, and counts what is there.
pub(super) fn open_again(plan: &Plan) -> Result<Outcome> {
    let (keys, values) = (plan.keys(), plan.values()?);
    let (mut key, mut outcome) = (Vec::new(), Outcome::default());
    keys.present(0, &mut key);
    let start = Instant::now();
    let db = open(&plan.engine, &plan.dir, plan.config)?;
    let mut checker = Checker::new(&values, (0, 0));
    db.reader(View::Still)?
        .get(&key, &mut |value| checker.check(&key, value))?;
    let time = start.elapsed();
    let mut order = Order::new(Checker::new(&values, (0, 0)), false);
    db.reader(View::Still)?.scan(None, false, &mut |key, value| {
        order.visit(key, value).map(|()| true)
    })?;
    outcome.add("reopen", Kind::Opening, time.as_secs_f64());
    outcome.add("reopen", Kind::Recovered, order.seen as f64);
    outcome.add("reopen", Kind::Entries, plan.entries as f64);
    if order.seen != plan.entries {
        outcome.notes.push(format!(
            "reopen: {} of {} acknowledged entries are there after the kill",
            order.seen, plan.entries
        ));
    }
    db.close()?;
    Ok(outcome)
}
