//! The seeded simulation: the operator's decisions in a model of the API server, of Composio, of processes that crash,
//! and of everybody who interferes; in virtual time, on one thread. Every history is a seed.
//!
//! `SIMULATION_SEED` repeats one history exactly and tells its end, `SIMULATION_STEPS` sets how many steps all histories
//! have together (a million by default).
#![expect(clippy::unwrap_used, clippy::panic, reason = "a model that does not add up fails its test")]

mod chaos;
mod cluster;
mod driver;
mod ending;
mod guard;
mod laws;
mod ledger;
mod process;
mod realm;
mod remote;
mod run;
mod weather;

use std::collections::BTreeMap;

use crate::guard::Guard;
use crate::run::{History, run};
use crate::weather::Weather;

/// Steps of one history, about.
const LENGTH: u64 = 1_600;
/// Steps of all histories together.
const STEPS: u64 = 1_000_000;

/// How often at least each of these happens in a million steps. Where one becomes rare, the laws about it say little.
const FLOORS: [(&str, u64); 24] = [
    ("a 409 beside an open attempt", 1),
    ("a Secret that was renamed away was removed", 1),
    ("a claim was removed", 40),
    ("a claim was taken back", 40),
    ("a claim without owner was settled", 2),
    ("a closed send gate", 60),
    ("a commit after the deadline", 100),
    ("a crash", 1_000),
    ("a creation was sent", 2_000),
    ("a creation of unknown outcome", 200),
    ("a deletion by policy was sent", 400),
    ("a deletion with revocation was announced", 200),
    ("a lost answer", 300),
    ("a key was replaced", 60),
    ("a replacement was repeated", 10),
    ("a policy was withdrawn while its resource was being deleted", 20),
    ("a process was stopped for a while", 1_000),
    ("a project found by evidence", 150),
    ("a regenerate was sent", 500),
    ("a takeover", 700),
    ("a tombstone", 150),
    ("a write whose answer was lost", 80),
    ("an answer that met a conflict", 4),
    ("an ending", 300),
];

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a whole number, not {value:?}")))
}

/// Fails with the story of a history that breaks a law.
fn expect_lawful(seed: u64, history: &History) {
    if let Some((law, _)) = &history.broken {
        let (_, story) = run(seed, LENGTH, None, None, true).broken.unwrap();
        panic!("SIMULATION_SEED={seed}: not so after {} steps: {law}{story}\n  not so: {law}", history.steps);
    }
}

#[test]
fn a_million_steps_of_faults_break_no_law() {
    if let Some(seed) = number("SIMULATION_SEED") {
        return expect_lawful(seed, &run(seed, LENGTH, None, None, false));
    }
    let wanted = number("SIMULATION_STEPS").unwrap_or(STEPS);
    let (mut steps, mut tally, mut seed) = (0, BTreeMap::<&str, u64>::new(), 0);
    while steps < wanted {
        seed += 1;
        let history = run(seed, LENGTH, None, None, false);
        expect_lawful(seed, &history);
        steps += history.steps;
        for (what, count) in history.tally {
            *tally.entry(what).or_default() += count;
        }
    }
    println!("{steps} steps in {seed} histories");
    for (what, count) in &tally {
        println!("{count:>8} {what}");
    }
    assert!(steps >= wanted);
    if wanted >= STEPS {
        for (what, least) in FLOORS {
            let count = tally.get(what).copied().unwrap_or_default();
            assert!(count >= least, "{what}: {count} times, at least {least} expected");
        }
    }
}

/// Most histories that a missing guard may take until a law is broken.
const MOST_HISTORIES: u64 = 1_200;

#[test]
fn without_one_of_these_guards_a_law_breaks() {
    let mut needless = Vec::new();
    for guard in Guard::ALL {
        let mut steps = 0;
        let found = (1..=MOST_HISTORIES).find_map(|seed| {
            let history = run(seed, LENGTH, Some(Weather::of(guard)), Some(guard), false);
            steps += history.steps;
            history.broken.map(|(law, _)| (seed, law))
        });
        if let Some((seed, law)) = found {
            println!("{guard:?}: after {steps} steps, seed {seed}: {law}");
        } else {
            println!("{guard:?}: nothing in {steps} steps");
            needless.push(guard);
        }
    }
    assert!(needless.is_empty(), "without these no law was broken: {needless:?}");
}
