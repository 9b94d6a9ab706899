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
use crate::weather::{Bias, Weather};

/// Steps of one history, about.
const LENGTH: u64 = 1_600;
/// Steps of all histories together.
const STEPS: u64 = 1_000_000;

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{variable} is a whole number, not {value:?}")))
}

fn forced() -> Option<Weather> {
    std::env::var("BIAS").ok().map(|b| Weather {
        mildness: 1,
        bias: match b.as_str() {
            "slow" => Bias::SlowAnswers,
            "stops" => Bias::Stops,
            "withdrawals" => Bias::Withdrawals,
            "over" => Bias::Overlooking,
            "lost" => Bias::LostAnswers,
            "strangers" => Bias::Strangers,
            _ => Bias::None,
        },
    })
}

/// Fails with the story of a history that breaks a law.
fn expect_lawful(seed: u64, history: &History) {
    if let Some((law, _)) = &history.broken {
        let (_, story) = run(seed, LENGTH, forced(), None, true).broken.unwrap();
        panic!("SIMULATION_SEED={seed}: not so after {} steps: {law}{story}\n  not so: {law}", history.steps);
    }
}

#[test]
fn a_million_steps_of_faults_break_no_law() {
    if let Some(seed) = number("SIMULATION_SEED") {
        return expect_lawful(seed, &run(seed, LENGTH, forced(), None, false));
    }
    let wanted = number("SIMULATION_STEPS").unwrap_or(STEPS);
    let (mut steps, mut tally, mut seed) = (0, BTreeMap::<&str, u64>::new(), 0);
    while steps < wanted {
        seed += 1;
        let history = run(seed, LENGTH, forced(), None, false);
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
}

/// Most histories that a missing guard may take until a law is broken.
const MOST_HISTORIES: u64 = 400;

#[test]
fn without_one_of_these_guards_a_law_breaks() {
    let mut needless = Vec::new();
    for guard in Guard::ALL.into_iter().filter(|guard| {
        std::env::var("ONLY").map_or(true, |only| only.split(',').any(|o| o == format!("{guard:?}")))
    }) {
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
