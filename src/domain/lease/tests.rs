//! Laws of leader election, over arbitrary clocks, pauses, losses and interleavings; and that they notice each guard that
//! is taken away.

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::model::{Fault, Happening, Model, TERMS};
use super::{Candidate, Decision, Loss, Record};

const RETRY: Duration = Duration::from_secs(2);

/// Milliseconds that pass, to whom, what.
type Step = (u64, usize, Happening);

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        40 => Just(Happening::Goes),
        2 => Just(Happening::GivesUp),
        1 => Just(Happening::Dies),
        1 => Just(Happening::ShutsDown),
        2 => (-100_000..100_000_i64).prop_map(Happening::WallJumps),
        2 => any::<usize>().prop_map(Happening::LateWrite),
    ]
}

/// Mostly the pace of real replicas; sometimes everything stands still for a lease, as in a pause of the machine.
fn pause() -> impl Strategy<Value = u64> {
    prop_oneof![30 => 0..1_500_u64, 3 => 3_000..11_000_u64, 1 => 11_000..20_000_u64]
}

/// Offsets of the clocks of two to four replicas, and a history.
fn histories() -> impl Strategy<Value = (Vec<u64>, Vec<Step>)> {
    let offsets = prop::collection::vec(0..10_000_000_u64, 2..=4);
    let steps = prop::collection::vec((pause(), 0..4_usize, happening()), 1..200);
    (offsets, steps)
}

/// Plays a history and fails at the first moment at which two replicas lead.
fn play(model: &mut Model, steps: &[Step]) -> Result<(), TestCaseError> {
    for (number, (milliseconds, who, what)) in steps.iter().enumerate() {
        model.now += Duration::from_millis(*milliseconds);
        model.happens(who % model.replicas(), what);
        let leaders = model.leaders();
        prop_assert!(leaders.len() <= 1, "after step {}: {:?} lead at once", number, leaders);
    }
    Ok(())
}

/// Everybody is heard every retry period for this long.
fn calm(model: &mut Model, time: Duration) {
    let until = model.now + time;
    while model.now < until {
        model.now += RETRY;
        (0..model.replicas()).for_each(|who| model.round(who));
    }
}

proptest! {
    #![proptest_config(Config::with_cases(2_000))]

    #[test]
    fn at_no_time_do_two_replicas_lead((offsets, steps) in histories()) {
        play(&mut Model::new(&offsets, Fault::None), &steps)?;
    }
}

proptest! {
    #![proptest_config(Config::with_cases(300))]

    #[test]
    fn after_any_trouble_somebody_leads_and_goes_on_leading((offsets, steps) in histories()) {
        let mut model = Model::new(&offsets, Fault::None);
        play(&mut model, &steps)?;
        model.calm_down();
        calm(&mut model, TERMS.duration + RETRY * 2);
        let (leaders, transitions) = (model.leaders(), model.transitions());
        prop_assert_eq!(leaders.len(), 1, "nobody leads");
        calm(&mut model, TERMS.duration * 10);
        prop_assert_eq!((model.leaders(), model.transitions()), (leaders, transitions), "the lead has changed");
    }

    #[test]
    fn a_leader_that_dies_is_replaced_when_its_time_is_over_and_not_before(
        (offsets, steps) in histories(),
    ) {
        let mut model = Model::new(&offsets, Fault::None);
        play(&mut model, &steps)?;
        model.calm_down();
        calm(&mut model, TERMS.duration * 2);
        let leader = model.leaders()[0];
        model.happens(leader, &Happening::Dies);
        calm(&mut model, TERMS.duration.checked_sub(RETRY * 2).unwrap());
        prop_assert_eq!(model.leaders(), [] as [usize; 0], "replaced too early");
        calm(&mut model, RETRY * 4);
        prop_assert_eq!(model.leaders().len(), 1, "not replaced");
    }

    #[test]
    fn a_lease_that_is_released_is_taken_with_the_next_look((offsets, steps) in histories()) {
        let mut model = Model::new(&offsets, Fault::None);
        play(&mut model, &steps)?;
        model.calm_down();
        calm(&mut model, TERMS.duration * 2);
        let leader = model.leaders()[0];
        model.happens(leader, &Happening::ShutsDown);
        prop_assert_eq!(model.leaders(), [] as [usize; 0]);
        calm(&mut model, RETRY);
        prop_assert_eq!(model.leaders().len(), 1, "not taken at once");
    }
}

/// Whether some history makes two replicas lead where this guard is missing. The same histories in every run.
fn is_found(fault: Fault) -> bool {
    let config = Config { cases: 5_000, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, chance);
    let played = runner.run(&histories(), |(offsets, steps)| play(&mut Model::new(&offsets, fault), &steps));
    played.is_err()
}

#[test]
fn each_guard_is_needed() {
    assert!(!is_found(Fault::None), "these histories are harmless with all guards");
    for fault in [
        Fault::HolderCountsFromAnswer,
        Fault::ChallengerCountsFromQuestion,
        Fault::ChallengerTrustsRenewTime,
        Fault::WritesWithoutVersion,
        Fault::LeadsUntilTold,
        Fault::ForgetsChanges,
    ] {
        assert!(is_found(fault), "{fault:?} changes nothing: the law is blind");
    }
}

fn held_by(holder: &str) -> Record {
    Record { holder: holder.to_owned(), duration: TERMS.duration, transitions: 4, ..Record::default() }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_time_that_the_holder_claims_for_itself_counts_not_our_own() {
    let mut candidate = Candidate::new("me".to_owned(), TERMS);
    let record = Record { duration: at(60), ..held_by("other") };
    candidate.observe(Some((record, "1".to_owned())), at(100));
    assert_eq!(candidate.decide(at(159)), Decision::Wait(at(1)), "during a change of the flags");
    assert_eq!(candidate.decide(at(160)), Decision::Take);
}

#[test]
fn a_lease_that_is_deleted_under_its_holder_is_not_created_before_its_time_is_over() {
    let mut candidate = Candidate::new("me".to_owned(), TERMS);
    candidate.observe(Some((held_by("other"), "1".to_owned())), at(100));
    candidate.observe(None, at(101));
    assert_eq!(candidate.decide(at(114)), Decision::Wait(at(1)));
    assert_eq!(candidate.decide(at(115)), Decision::Create);
}

#[test]
fn a_write_whose_answer_was_lost_is_taken_up_by_the_next_look() {
    let mut candidate = Candidate::new("me".to_owned(), TERMS);
    candidate.observe(Some((held_by("me"), "7".to_owned())), at(100));
    assert_eq!(candidate.decide(at(100)), Decision::Take);
    assert_eq!(candidate.leads_until(), None, "nobody knows when that write was sent");
    assert_eq!(candidate.record(jiff::Timestamp::UNIX_EPOCH).transitions, 4, "it has not changed hands");
}

#[test]
fn a_holder_says_why_it_has_lost() {
    let leading = || {
        let mut candidate = Candidate::new("me".to_owned(), TERMS);
        candidate.written(held_by("me"), "1".to_owned(), at(100));
        candidate
    };
    assert_eq!(leading().decide(at(109)), Decision::Renew);
    assert_eq!(leading().decide(at(110)), Decision::Lost(Loss::Overdue(TERMS.renew_deadline)));
    let observed = |found: Option<(Record, String)>| {
        let mut candidate = leading();
        candidate.observe(found, at(101));
        candidate.decide(at(101))
    };
    let two = "2".to_owned();
    let taken = Decision::Lost(Loss::Taken("other".to_owned()));
    assert_eq!(observed(Some((held_by("other"), two.clone()))), taken);
    assert_eq!(observed(Some((held_by(""), two.clone()))), Decision::Lost(Loss::Gone));
    assert_eq!(observed(None), Decision::Lost(Loss::Gone));
    assert_eq!(observed(Some((held_by("me"), two))), Decision::Renew, "a renewal whose answer was lost");
}
