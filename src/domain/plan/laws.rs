//! Laws of `plan` and `orphan`, as far as whole histories show them: random worlds, faults at every write and call, third
//! parties, crashes and changes of leader; then the faults stop. Laws of single steps are checked along the way
//! (`model::lint`).

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::model::remote::{Endpoint, Look, Maker, Project, Remote};
use super::model::{End, Event, Fault, Model, SETTLE, Secret};
use super::{OrphanStep, Step};
use crate::domain::drift::DriftPolicy;
use crate::domain::reason::Reason;
use crate::domain::settings::{Member, Settings};
use crate::domain::world::InvalidKeyPolicy;

/// Most looks until nothing changes any more: a settle time has about nine.
const MOST_LOOKS: usize = 120;
/// Distance to the next look at what is done or waits for a person.
const RETRY: Duration = Duration::from_mins(10);

/// A history.
#[derive(Debug, Clone)]
struct History {
    lag: u8,
    /// Which members the spec states.
    members: Vec<Member>,
    /// What happens before each look.
    events: Vec<Option<Event>>,
    faults: Vec<Fault>,
    /// Whether the resource is there at the end.
    has_resource: bool,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        2 => Just(Fault::Refused),
        2 => Just(Fault::LostBefore),
        2 => Just(Fault::LostAfter),
        3 => (0..=34_u8).prop_map(Fault::Late),
        1 => Just(Fault::CrashBefore),
        2 => Just(Fault::CrashAfter),
        1 => (0..=34_u8).prop_map(Fault::CrashLate),
        1 => any::<u8>().prop_map(Fault::Held),
        2 => any::<u8>().prop_map(Fault::Deposed),
    ]
}

/// A creation whose outcome nobody hears.
fn lost() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::LostBefore),
        Just(Fault::LostAfter),
        (0..=34_u8).prop_map(Fault::Late),
        (0..=34_u8).prop_map(Fault::CrashLate)
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let look = prop_oneof![
        Just(Look::Untouched),
        Just(Look::TwoKeys),
        Just(Look::Used),
        Just(Look::NoKey),
        Just(Look::Claimed)
    ];
    let endpoint = prop_oneof![Just(Endpoint::Available), Just(Endpoint::Gone), Just(Endpoint::Ignores)];
    let policy = prop_oneof![
        2 => Just(InvalidKeyPolicy::RegenerateIfNoneLeft),
        1 => Just(InvalidKeyPolicy::Regenerate),
        1 => Just(InvalidKeyPolicy::Report)
    ];
    prop_oneof![
        8 => (0..100_u8).prop_map(Event::Sleep),
        3 => Just(Event::Crash),
        2 => look.prop_map(Event::ThirdCreates),
        2 => Just(Event::ThirdDeletes),
        2 => any::<bool>().prop_map(Event::CanRegenerate),
        2 => any::<bool>().prop_map(Event::ShowsKey),
        1 => endpoint.prop_map(Event::Endpoint),
        1 => any::<bool>().prop_map(Event::Secret),
        1 => any::<bool>().prop_map(Event::Suspend),
        1 => any::<bool>().prop_map(Event::Recreate),
        2 => any::<bool>().prop_map(Event::ThirdChangesKeys),
        1 => policy.prop_map(Event::OnInvalidKey),
        2 => Just(Event::Asks),
        2 => proptest::sample::select(Member::ALL.to_vec()).prop_map(Event::ThirdSets),
        1 => any::<bool>().prop_map(Event::Report),
        1 => Just(Event::Leaves),
        2 => Just(Event::Returns),
    ]
}

fn history(longest_lag: u8) -> impl Strategy<Value = History> {
    let members = proptest::sample::subsequence(Member::ALL.to_vec(), 0..=Member::ALL.len());
    let members = prop_oneof![2 => Just(Vec::new()), 3 => members];
    let events = proptest::collection::vec(proptest::option::weighted(0.5, event()), 0..24);
    let faults = proptest::collection::vec(fault(), 0..40);
    (0..=longest_lag, members, events, faults, proptest::bool::weighted(0.8)).prop_map(
        |(lag, members, events, faults, has_resource)| History { lag, members, events, faults, has_resource },
    )
}

/// The same, with the answer to the replacement of a revoked key lost.
fn lost_replacement() -> impl Strategy<Value = History> {
    (history(0), lost()).prop_map(|(mut history, lost)| {
        let is_suspension = |event: &Option<Event>| matches!(event, Some(Event::Suspend(_)));
        history.events.retain(|event| !is_suspension(event));
        history.members.clear();
        let events = [None, Some(Event::Sleep(70)), Some(Event::ThirdChangesKeys(true)), Some(Event::Asks)];
        history.events.splice(0..0, events);
        // Claim, call, answer, Secret; its record; proof, list of keys, claim.
        let faults = std::iter::repeat_n(Fault::None, 8).chain([lost]);
        history.faults.splice(0..0, faults);
        history
    })
}

pub(super) fn settings(members: &[Member]) -> Settings {
    let value = |member: &Member| match member {
        Member::SignedUrlFileExpiry => json!(3600),
        Member::RequireMcpApiKey => json!(false),
        Member::Is2FaEnabled | Member::MaskSecretKeys => json!(true),
        other => json!(other.field()),
    };
    members.iter().map(|member| (*member, value(member))).collect()
}

/// Lives through the history; then the faults stop, and looks go on until nothing changes any more.
fn lived(history: &History, refuses_twins: bool) -> (Model, End) {
    let remote = Remote::new(Duration::from_secs(history.lag.into()), refuses_twins);
    let mut model = Model::new(remote, settings(&history.members), history.faults.clone());
    for event in &history.events {
        if let Some(event) = event {
            model.event(event);
        }
        let end = model.look();
        let next = next_look(&end);
        // Whoever watches wakes earlier than the longest wait.
        model.advance(next.min(SETTLE / 4));
    }
    model.faults_stop();
    model.event(&Event::Suspend(false));
    model.event(&Event::Asks);
    model.event(if history.has_resource { &Event::Returns } else { &Event::Leaves });
    let end = settled(&mut model);
    (model, end)
}

fn next_look(end: &End) -> Duration {
    match end {
        End::Step(Step::Wait(_, _, time)) | End::Orphan(OrphanStep::Wait(time)) => *time,
        End::Failed("NameTaken") | End::Step(_) | End::Orphan(_) | End::Nothing => RETRY,
        End::Failed(_) => Duration::from_secs(5),
    }
}

fn settled(model: &mut Model) -> End {
    let (mut last, mut alike, mut looks) = (None, 0, 0);
    while looks < MOST_LOOKS {
        let was_quiet = model.is_quiet();
        looks += usize::from(was_quiet);
        let end = model.look();
        alike = if was_quiet && last.as_ref() == Some(&end) { alike + 1 } else { 0 };
        let is_final = match &end {
            End::Step(Step::Done | Step::Stall(..)) | End::Failed("NameTaken") | End::Nothing => alike >= 2,
            End::Orphan(step) => *step == OrphanStep::Keep && alike >= 2,
            End::Step(_) | End::Failed(_) => false,
        };
        if is_final {
            return end;
        }
        model.advance(next_look(&end));
        last = Some(end);
    }
    model.law(false, "after the faults stop, everything comes to an end");
    End::Nothing
}

/// A stall is true: what it says keeps the project from being as wished is so.
fn is_true(model: &Model, reason: Reason) -> bool {
    match reason {
        Reason::SecretConflict => matches!(model.secret, Secret::Foreign),
        Reason::KeyUnavailable => !model.remote.can_regenerate,
        Reason::SettingsIncomplete | Reason::SettingsUnavailable => model.remote.endpoint == Endpoint::Gone,
        Reason::SettingsNotApplied => model.remote.endpoint == Endpoint::Ignores,
        Reason::KeyRejected => {
            let may_replace = model.desired.key_health.on_invalid != InvalidKeyPolicy::Report;
            let has_foreign = model.claimed().is_some_and(Project::has_foreign_key);
            !does_key_work(model) && (!may_replace || has_foreign)
        }
        Reason::RotationNotEnabled => !does_key_work(model) && !model.remote.can_regenerate,
        Reason::ProjectMissing => model.claimed().is_none(),
        _ => false,
    }
}

fn does_key_work(model: &Model) -> bool {
    let key = model.claim.as_ref().and_then(|record| record.key.as_ref());
    let claimed = model.claimed();
    key.is_some_and(|key| claimed.is_some_and(|project| project.has_key(key)))
}

fn is_one_project(model: &Model) -> bool {
    let claimed = model.claimed().map(|project| &project.id);
    model.remote.own().all(|project| Some(&project.id) == claimed)
}

fn is_name_taken(model: &Model) -> bool {
    model.remote.living().is_some_and(|project| project.maker == Maker::Third)
}

proptest! {
    // More than usual: histories are long. `PROPTEST_CASES` (256 by default) still scales it.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 2))]

    #[test]
    fn after_the_faults_stop_every_history_ends_done_or_with_a_true_reason_for_a_person(
        history in history(60),
    ) {
        let (model, end) = lived(&history, true);
        let claim = model.claim.as_ref();
        let is_so = match &end {
            End::Step(Step::Done) => match (&model.secret, claim.and_then(|record| record.key.as_ref())) {
                (Secret::Written { key, .. }, Some(claimed)) => key.is(claimed) && does_key_work(&model),
                _ => false,
            },
            End::Step(Step::Stall(reason, _)) => is_true(&model, *reason),
            End::Failed("NameTaken") => is_name_taken(&model),
            End::Orphan(_) => !history.has_resource && claim.is_some(),
            End::Nothing => !history.has_resource && claim.is_none(),
            End::Step(_) | End::Failed(_) => false,
        };
        model.holds(is_so, "an end is what it says")?;
    }

    #[test]
    fn no_project_of_ours_is_left_that_the_claim_does_not_know(history in history(60)) {
        let (model, _) = lived(&history, true);
        model.holds(is_one_project(&model), "every living project of ours is the claim's")?;
    }

    #[test]
    fn a_resource_that_goes_while_its_creation_is_uncertain_leaves_a_claim_with_the_project_or_neither(
        mut history in history(60), lost in lost(),
    ) {
        history.faults.splice(0..0, [Fault::None, lost]);
        history.events.splice(0..0, [None, Some(Event::Leaves)]);
        history.has_resource = false;
        let (model, _) = lived(&history, true);
        model.holds(is_one_project(&model), "every living project of ours is the claim's")?;
    }

    #[test]
    fn where_the_api_allows_twins_the_protocol_still_makes_one_project(history in history(30)) {
        let (model, _) = lived(&history, false);
        model.holds(is_one_project(&model), "every living project of ours is the claim's")?;
    }

    #[test]
    fn the_key_of_a_claim_works_or_the_claim_says_that_it_is_in_doubt(history in history(60)) {
        let (model, _) = lived(&history, true);
        if let Some(record) = model.claim.as_ref().filter(|record| record.key.is_some()) {
            let is_changed = history.events.iter().flatten().any(|event| matches!(event, Event::ThirdChangesKeys(true)));
            let is_excused = record.claim.is_key_doubtful() || model.claimed().is_none() || is_changed;
            model.holds(does_key_work(&model) || is_excused, "the key works")?;
        }
    }

    #[test]
    fn a_replacement_whose_answer_is_lost_ends_with_a_key_that_works(
        mut history in lost_replacement(), seconds in 0..100_u8,
    ) {
        // Nobody interferes any more.
        history.events.truncate(4);
        history.events.push(Some(Event::Sleep(seconds)));
        history.faults.truncate(9);
        history.has_resource = true;
        let (model, end) = lived(&history, true);
        model.holds(end == End::Step(Step::Done) && does_key_work(&model), "it ends with a key that works")?;
        let is_proven = model.claim.as_ref().is_some_and(|record| !record.claim.is_key_doubtful());
        model.holds(is_proven, "nothing is in doubt any more")?;
    }

    #[test]
    fn what_somebody_else_made_stays_as_it_is(history in history(60)) {
        let (model, _) = lived(&history, true);
        let mut events = history.events.iter().flatten();
        let is_deleted_by_them = events.any(|event| matches!(event, Event::ThirdDeletes));
        let id = model.claim.as_ref().and_then(|record| record.claim.project_id());
        for project in model.remote.projects.iter().filter(|project| project.maker == Maker::Third) {
            model.holds(project.is_alive || is_deleted_by_them, "somebody else's project lives")?;
            model.holds(project.is_as_born(), "somebody else's keys and settings are theirs")?;
            model.holds(id != Some(&project.id), "somebody else's project is never ours")?;
        }
    }

    #[test]
    fn what_is_done_or_retained_stays_so_and_costs_no_write_and_one_call_per_look_at_most(history in history(60)) {
        let (mut model, end) = lived(&history, true);
        if matches!(end, End::Step(Step::Done) | End::Orphan(_) | End::Nothing) {
            let before = (model.writes, model.remote.calls);
            for _ in 0..3 {
                model.advance(RETRY);
                let again = model.look();
                model.holds(again == end, "it stays")?;
            }
            let most_calls = if end == End::Step(Step::Done) { 3 } else { 0 };
            let is_quiet = model.writes == before.0 && model.remote.calls - before.1 <= most_calls;
            model.holds(is_quiet, "it is quiet")?;
            let open = model.claim.as_ref().map_or(0, |record| record.claim.attempts().len());
            model.holds(open == 0 || end != End::Step(Step::Done), "no window stays open")?;
        }
    }

    #[test]
    fn settings_are_as_wished_where_it_is_done_and_unmanaged_ones_are_as_they_were(history in history(60)) {
        let (model, end) = lived(&history, true);
        if let Some(project) = model.claimed() {
            let missing = model.desired.settings.differing_from(&project.settings);
            let is_reported = model.desired.drift.policy == DriftPolicy::Report;
            let is_gone = model.remote.endpoint == Endpoint::Gone;
            let is_so = end != End::Step(Step::Done) || missing.is_empty() || is_reported || is_gone;
            model.holds(is_so, "managed settings are as wished")?;
            let is_other = |member: &Member| !history.members.contains(member) && !model.touched.contains(member);
            let mut others = Member::ALL.into_iter().filter(is_other);
            model.holds(others.all(|member| project.has_own(member)), "unmanaged settings are untouched")?;
        }
    }
}

/// The laws above are worth something only if the histories get everywhere.
#[test]
fn the_histories_get_to_every_end_and_through_every_turn() {
    let (mut runner, mut reached) = (TestRunner::deterministic(), BTreeSet::new());
    for number in 0..1536 {
        let history = if number % 8 == 0 { lost_replacement().boxed() } else { history(60).boxed() };
        let history = history.new_tree(&mut runner).unwrap().current();
        let (model, end) = lived(&history, true);
        reached.extend(model.turns.iter().copied());
        reached.insert(match end {
            End::Step(Step::Done) => "done",
            End::Step(Step::Stall(Reason::KeyUnavailable, _)) => "no key",
            End::Step(Step::Stall(Reason::SecretConflict, _)) => "a foreign Secret",
            End::Step(Step::Stall(Reason::KeyRejected, _)) => "a dead key that is reported",
            End::Step(Step::Stall(Reason::RotationNotEnabled, _)) => "a dead key that cannot be replaced",
            End::Failed(_) => "a name that is taken",
            End::Orphan(_) => "retained",
            End::Nothing => "nothing left",
            End::Step(_) => "another end",
        });
    }
    let ends = [
        "done",
        "no key",
        "a foreign Secret",
        "a dead key that is reported",
        "a dead key that cannot be replaced",
        "a name that is taken",
        "retained",
        "nothing left",
    ];
    let turns = [
        "found by evidence",
        "another attempt",
        "a conflict beside an open attempt",
        "proven absent",
        "somebody else's",
        "the key was asked for again",
        "an unusable project was deleted",
        "taken back",
        "gone twice",
        "a key was replaced",
        "a replacement was repeated",
        "removed",
        "the key was proven by itself",
    ];
    for wanted in ends.into_iter().chain(turns) {
        assert!(reached.contains(wanted), "no history gets to {wanted:?}: {reached:?}");
    }
}
