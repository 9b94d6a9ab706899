//! Laws of the budget, one per sentence that the module promises.

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn budget(ceiling: u32) -> Budget {
    let mut budget = Budget::default();
    budget.configure(Some(ceiling));
    budget
}

/// A budget that was told by an answer how much is left of 2,000.
fn told(remaining: u32, now: Duration) -> Budget {
    let mut budget = Budget::default();
    budget.answered(2_000, remaining, MINUTE, now);
    budget
}

fn goes(budget: &mut Budget, lane: Lane, now: Duration) -> bool {
    budget.ask(lane, Duration::ZERO, now) == Turn::Go(Duration::ZERO)
}

/// How many of `times` go at this moment.
fn how_many(budget: &mut Budget, lane: Lane, times: usize, now: Duration) -> usize {
    (0..times).filter(|_| goes(budget, lane, now)).count()
}

fn lane() -> impl Strategy<Value = Lane> {
    prop_oneof![2 => Just(Lane::Urgent), 6 => Just(Lane::Work), 3 => Just(Lane::Observe)]
}

/// The most of these that lie in 60 seconds.
fn most_in_a_minute(mut sent: Vec<Duration>) -> usize {
    sent.sort();
    let within = |(at, begin): (usize, &Duration)| {
        sent[at..].iter().take_while(|time| **time < *begin + MINUTE).count()
    };
    sent.iter().enumerate().map(within).max().unwrap_or_default()
}

/// Asks in some rhythm: lane, time since the last one, readiness to wait, and how late it is sent, in milliseconds.
fn asks() -> impl Strategy<Value = Vec<(Lane, u64, u64, u64)>> {
    let gap = prop_oneof![6 => Just(0_u64), 3 => 0..500_u64, 1 => 0..90_000_u64];
    prop::collection::vec((lane(), gap, prop_oneof![Just(0_u64), 0..60_000_u64], 0..5_000_u64), 0..300)
}

/// The sent calls of one run of asks.
fn run(budget: &mut Budget, asks: &[(Lane, u64, u64, u64)]) -> Vec<(Lane, Duration)> {
    let (mut now, mut sent) = (seconds(1_000), Vec::new());
    for (lane, gap, patience, late) in asks {
        now += milliseconds(*gap);
        if let Turn::Go(wait) = budget.ask(*lane, milliseconds(*patience), now) {
            assert!(wait <= milliseconds(*patience), "it waits longer than it is ready to");
            sent.push((*lane, now + wait + milliseconds(*late)));
        }
    }
    sent
}

proptest! {
    #[test]
    fn in_no_minute_more_is_sent_than_the_ceiling_although_each_is_sent_up_to_five_seconds_late(
        ceiling in 10_u32..200,
        asks in asks(),
    ) {
        let sent = run(&mut budget(ceiling), &asks);
        let all = most_in_a_minute(sent.iter().map(|(_, time)| *time).collect());
        prop_assert!(all <= ceiling as usize, "{all} of {ceiling}");
        let looks = sent.iter().filter(|(lane, _)| *lane == Lane::Observe).map(|(_, time)| *time);
        let looks = most_in_a_minute(looks.collect());
        prop_assert!(looks <= ceiling as usize / 5, "{looks} looks, the ceiling is {ceiling}");
    }

    #[test]
    fn work_never_waits_behind_looks(ceiling in 10_u32..200, asks in asks()) {
        let (mut with, mut without) = (budget(ceiling), budget(ceiling));
        let mut now = seconds(1_000);
        for (lane, gap, patience, _) in asks {
            now += milliseconds(gap);
            let turn = with.ask(lane, milliseconds(patience), now);
            if lane != Lane::Observe {
                prop_assert_eq!(turn, without.ask(lane, milliseconds(patience), now));
            }
        }
    }

    #[test]
    fn releases_and_rotations_go_although_creations_have_taken_what_they_could(
        ceiling in 10_u32..5_000,
        creations in 1_usize..3_000,
    ) {
        let mut budget = budget(ceiling);
        let now = seconds(1_000);
        how_many(&mut budget, Lane::Work, creations, now);
        let reserve = budget.reserve() as usize;
        prop_assert_eq!(how_many(&mut budget, Lane::Urgent, reserve, now), reserve);
    }

    #[test]
    fn a_single_project_does_not_wait_when_nothing_was_sent_lately(
        ceiling in 10_u32..200,
        asks in asks(),
        lane in lane(),
    ) {
        let mut budget = budget(ceiling);
        run(&mut budget, &asks);
        // All asks together last at most 300 times a minute and a half.
        let now = seconds(1_000 + 90 * 300 + 120);
        prop_assert_eq!(budget.room(lane, "new", now), None);
        prop_assert_eq!(budget.permit(lane, "new", now), Ok(Duration::ZERO));
    }

    #[test]
    fn whoever_waits_is_told_a_time_of_its_own_and_has_room_then(
        ceiling in 10_u32..3_000,
        waiting in 1_usize..300,
        pause in 0_u64..60,
    ) {
        let mut budget = budget(ceiling);
        let now = seconds(1_000);
        if pause > 0 {
            budget.throttled(Some(seconds(pause)), now);
        }
        how_many(&mut budget, Lane::Work, 1_000, now);
        let mut told = BTreeMap::new();
        for number in 0..waiting {
            let waiter = format!("uid-{number}");
            let left = budget.wait(Lane::Work, &waiter, now);
            prop_assert_eq!(budget.wait(Lane::Work, &waiter, now), left, "asked again, the same");
            prop_assert!(told.insert(now + left, waiter).is_none(), "two at one time");
        }
        let times: Vec<Duration> = told.keys().copied().collect();
        let interval = budget.interval(Lane::Work, now);
        for pair in times.windows(2) {
            prop_assert!(pair[1] >= pair[0] + interval);
        }
        for (at, waiter) in told {
            let again = budget.permit(Lane::Work, &waiter, at);
            prop_assert!(again.is_ok(), "{waiter} is told once more to wait: {again:?}");
            budget.answered(20_000, 20_000, MINUTE, at);
        }
    }

    #[test]
    fn while_others_use_the_organization_only_releases_go_slowly_and_not_the_last_bit(
        remaining in 0_u32..400,
        asks in asks(),
    ) {
        let begun = seconds(1_000);
        let (mut budget, mut now, mut sent) = (told(remaining, begun), begun, Vec::new());
        for (lane, gap, ..) in asks {
            now += milliseconds(gap);
            if now >= begun + MINUTE {
                break;
            }
            if goes(&mut budget, lane, now) {
                prop_assert_eq!(lane, Lane::Urgent);
                sent.push(now);
            }
        }
        prop_assert!(sent.windows(2).all(|pair| pair[1] >= pair[0] + SLOW), "{sent:?}");
        prop_assert!(sent.len() <= remaining.saturating_sub(20) as usize, "the last hundredth is left");
    }

    #[test]
    fn after_a_shortage_one_call_looks_and_the_others_wait_for_its_answer(
        asking in prop::collection::vec(lane(), 2..50),
        remaining in 0_u32..20,
    ) {
        let (begun, end) = (seconds(1_000), seconds(1_000) + MINUTE);
        let mut budget = told(remaining, begun);
        let gone = asking.iter().filter(|lane| goes(&mut budget, **lane, end)).count();
        prop_assert_eq!(gone, 1);
        budget.answered(2_000, 1_990, MINUTE, end + seconds(1));
        prop_assert!(how_many(&mut budget, Lane::Work, 50, end + seconds(1)) == 50);
    }
}

#[test]
fn a_429_pauses_all_until_it_says_and_then_one_looks() {
    let (mut budget, now) = (Budget::default(), seconds(1_000));
    budget.throttled(Some(seconds(30)), now);
    for lane in Lane::ALL {
        assert_eq!(budget.ask(lane, MINUTE, now + seconds(10)), Turn::Later(seconds(20)));
        assert_eq!(budget.room(lane, "someone", now + seconds(10)), Some(seconds(20)));
    }
    assert_eq!(budget.paused_for(now + seconds(10)), Some(seconds(20)));
    assert_eq!(how_many(&mut budget, Lane::Urgent, 9, now + seconds(30)), 1);
    assert_eq!(how_many(&mut budget, Lane::Urgent, 9, now + seconds(30) + LOOK), 1, "no answer came");
    budget.answered(2_000, 1_999, MINUTE, now + seconds(36));
    assert_eq!(how_many(&mut budget, Lane::Urgent, 9, now + seconds(36)), 9);
    assert_eq!(budget.throttled_calls(), 1);
    budget.throttled(None, now + seconds(40));
    assert_eq!(budget.paused_for(now + seconds(40)), Some(DEFAULT_PAUSE));
}

#[test]
fn what_is_sent_as_late_as_it_may_be_does_not_break_the_ceiling_together_with_what_follows() {
    for ceiling in [10, 60, 500, 2_500] {
        let (mut budget, begun, late) = (budget(ceiling), seconds(1_000), seconds(5));
        let mut sent = vec![begun + late; how_many(&mut budget, Lane::Urgent, 5_000, begun)];
        sent.extend(vec![begun + late; how_many(&mut budget, Lane::Observe, 5_000, begun)]);
        for now in (1..=65_000).step_by(5).map(|time| begun + milliseconds(time)) {
            let calls =
                how_many(&mut budget, Lane::Urgent, 3, now) + how_many(&mut budget, Lane::Observe, 3, now);
            sent.extend(vec![now.max(begun + late); calls]);
        }
        let most = most_in_a_minute(sent);
        assert!(most <= ceiling as usize && most * 10 >= ceiling as usize * 8, "{most} of {ceiling}");
    }
}

#[test]
fn the_ceiling_is_what_is_configured_or_a_quarter_of_what_is_reported() {
    let mut budget = Budget::default();
    assert_eq!(budget.ceiling(), START);
    budget.answered(10_000, 9_999, MINUTE, Duration::ZERO);
    assert_eq!((budget.ceiling(), budget.observe_ceiling(), budget.reported()), (2_500, 500, Some(10_000)));
    budget.answered(20_000, 20_000, Duration::from_mins(10), Duration::ZERO);
    assert_eq!(budget.reported(), Some(2_000), "per minute");
    budget.configure(Some(1_500));
    assert_eq!(budget.ceiling(), 1_500);
    budget.configure(Some(5_000));
    assert_eq!(budget.ceiling(), 2_000, "no more than there is");
    budget.answered(4, 4, MINUTE, Duration::ZERO);
    assert_eq!(budget.ceiling(), LEAST);
}

#[test]
fn what_is_left_is_forgotten_with_its_window() {
    let budget = told(100, seconds(5));
    assert_eq!(budget.remaining(seconds(6)), Some(100));
    assert_eq!(budget.remaining(seconds(65)), None);
}

#[test]
fn newcomers_wait_behind_those_who_wait_but_not_for_nobody() {
    let (mut budget, now) = (budget(500), seconds(1_000));
    how_many(&mut budget, Lane::Work, 1_000, now);
    let first = budget.wait(Lane::Work, "first", now);
    let room = budget.room(Lane::Work, "second", now);
    assert!(room > Some(first), "{room:?} is not behind {first:?}");
    for number in 0..1_000 {
        budget.wait(Lane::Work, &format!("gone-{number}"), now);
    }
    assert!(budget.room(Lane::Work, "third", now) > Some(seconds(200)));
    assert_eq!(budget.room(Lane::Work, "third", now + seconds(60)), None, "nobody has come");
}

/// Pages and looks that go in 60 turns of the lane while a sweep walks on and on, each page answered after a moment, and
/// others ask for a look so often, ready to wait as looks are.
fn walked(ceiling: u32, distance: Duration) -> (u32, u32) {
    let (mut budget, begun, moment) = (budget(ceiling), seconds(1_000), milliseconds(50));
    how_many(&mut budget, Lane::Observe, 100, begun);
    let end = begun + budget.observe.interval * 60;
    let (mut now, mut next_look, mut answer) = (begun, begun, begun);
    // When the next page asks, and its patience.
    let (mut asks, (mut pages, mut looks)) = (None, (0, 0));
    while now < end {
        if now >= next_look {
            looks += u32::from(matches!(budget.ask(Lane::Observe, PATIENCE, now), Turn::Go(_)));
            next_look += distance;
        }
        if asks.is_none() && now >= answer {
            let (left, patience) = budget.next_page(Lane::Observe, now);
            asks = Some((now + left, patience));
        }
        if let Some((_, patience)) = asks.filter(|(at, _)| now >= *at) {
            let turn = budget.ask(Lane::Observe, patience, now);
            let Turn::Go(wait) = turn else { panic!("the walk is cut at a ceiling of {ceiling}: {turn:?}") };
            (asks, answer, pages) = (None, now + wait + moment, pages + 1);
        }
        now += moment;
    }
    (pages, looks)
}

#[test]
fn at_no_ceiling_a_walk_is_cut_however_much_others_look() {
    for ceiling in LEAST..500 {
        let (pages, looks) = walked(ceiling, milliseconds(50));
        assert!(pages >= 20, "{pages} pages and {looks} looks, the ceiling is {ceiling}");
    }
}

#[test]
fn looks_have_every_second_turn_or_so_while_a_sweep_walks() {
    for ceiling in LEAST..500 {
        let distance = budget(ceiling).observe.interval * 2 / 5;
        let (pages, looks) = walked(ceiling, distance);
        assert!(looks >= 20 && pages >= 20, "{looks} looks and {pages} pages, the ceiling is {ceiling}");
        let (_, looks) = walked(ceiling, distance * 10);
        assert!(looks >= 7, "{looks} of 15 looks, the ceiling is {ceiling}");
        let (pages, _) = walked(ceiling, distance * 1_000);
        assert!(pages >= 38, "{pages} pages while nobody else looks, the ceiling is {ceiling}");
    }
}

#[test]
fn the_distance_of_settings_reads_grows_with_the_fleet() {
    let base = Duration::from_mins(10);
    assert_eq!(settings_interval(0, 100, 0, base), base);
    assert_eq!(settings_interval(1_000, 100, 0, base), base);
    assert_eq!(settings_interval(1_001, 100, 0, base), Duration::from_mins(11));
    assert_eq!(settings_interval(10_000, 100, 1, base), Duration::from_mins(102));
    assert_eq!(settings_interval(10_000, 100, 1_000, base), Duration::from_mins(200), "half at least");
    assert_eq!(settings_interval(5, 0, 0, base), base);
    let short = Duration::from_secs(2);
    assert_eq!(settings_interval(3, 100, 0, short), short, "whole minutes only where it has to grow");
    assert_eq!(settings_interval(4, 100, 0, short), Duration::from_mins(1));
}
