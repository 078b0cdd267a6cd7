//! The thread pool and its events.

use super::*;
use crate::env::{Event, Priority};
use crate::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn every_job_runs_once_and_whoever_waits_is_woken() {
    explore(|| {
        let env = Env::modelled(&SimEnv::new(1), 2);
        let (count, event) = (Arc::new(AtomicUsize::new(0)), Arc::new(Event::default()));
        let spawners = (0..2).map(|i| {
            let (env, count, event) = (env.clone(), count.clone(), event.clone());
            spawn(move || {
                for priority in [Priority::High, Priority::Low] {
                    let (inner, count, event) = (env.clone(), count.clone(), event.clone());
                    let job = move || {
                        if i == 0 {
                            // A job may spawn another one.
                            let (count, event) = (count.clone(), event.clone());
                            let job = move || {
                                count.fetch_add(1, Ordering::SeqCst);
                                event.notify();
                            };
                            inner.scheduler.spawn(priority, Box::new(job));
                        }
                        count.fetch_add(1, Ordering::SeqCst);
                        event.notify();
                    };
                    env.scheduler.spawn(priority, Box::new(job));
                }
            })
        });
        let spawners: Vec<_> = spawners.collect();
        env.scheduler
            .wait(&event, &mut || count.load(Ordering::SeqCst) == 6);
        join(spawners);
    });
}

#[test]
fn dropping_the_pool_ends_its_threads_whatever_they_do() {
    explore(|| {
        let env = Env::modelled(&SimEnv::new(1), 2);
        let ran = Arc::new(AtomicUsize::new(0));
        for priority in [Priority::Low, Priority::High, Priority::Low] {
            let ran = ran.clone();
            env.scheduler
                .spawn(priority, Box::new(move || _ = ran.fetch_add(1, Ordering::SeqCst)));
        }
        drop(env);
        assert!(ran.load(Ordering::SeqCst) <= 3);
        assert_eq!(Arc::strong_count(&ran), 1, "a job is left over");
    });
}
