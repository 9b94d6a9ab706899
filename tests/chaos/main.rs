//! A short run of `testbed::chaos`: what `examples/chaos` does for as long as one wants.
#![expect(clippy::panic, reason = "a test ends where something is not as expected")]

use testbed::chaos::{Length, Options, run};

/// Long enough for every kind of fault, and a restart of the API server.
const STEPS: u64 = 220;

/// `CHAOS_SEED`, or another one each time.
fn seed() -> u64 {
    match std::env::var("CHAOS_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("CHAOS_SEED is a number, not {text:?}")),
        Err(_) => u64::from(std::process::id()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_stopped_and_cut_off_on_both_sides_the_operator_brings_everything_in_order_by_itself() {
    let options = Options {
        seed: seed(),
        length: Length::Steps(STEPS),
        projects: 60,
        namespaces: 4,
        binary: env!("CARGO_BIN_EXE_composio-operator").into(),
    };
    eprintln!("CHAOS_SEED={}", options.seed);
    let report = run(&options, |_| ()).await.expect("a run to its end");
    for (title, numbers) in &report.groups {
        let numbers: Vec<String> = numbers.iter().map(|(name, number)| format!("{name} {number}")).collect();
        eprintln!("{title}: {}", numbers.join(", "));
    }
    eprintln!("{}", report.verdict());
    assert!(report.kills_and_lost_answers > STEPS / 10, "the run was too quiet: {}", report.verdict());
    assert!(report.is_good(), "{}\n{}", report.verdict(), report.problems().join("\n"));
}
