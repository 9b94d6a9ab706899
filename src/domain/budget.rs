//! The budget of one organization: how fast the operator calls, whose turn it is, when it yields to others. Pure: time comes
//! in as a duration since boot. `composio::SharedBudget` keeps one of it behind a lock and asks it before every call.
//!
//! The ceiling has two shares that do not touch each other: a fifth for looks that nobody waits for, the rest for work, so
//! that work never waits behind a look. Each share is paced by the generic cell rate algorithm: a burst, then one call per
//! interval, chosen so that burst and intervals together never exceed the share in any 60 seconds.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Requests per minute until the first answer has told the limit: a quarter of the smallest plan's (API 9).
pub const START: u32 = 500;
/// The smallest ceiling: below it, not even one project could be made in a minute.
pub const LEAST: u32 = 10;
/// What `room` and `permit` count as no wait.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long a page waits at least that continues a walk: a walk that is cut has to begin anew.
const NEXT_PAGE: Duration = Duration::from_secs(30);
/// Pause after a 429 without `Retry-After`.
const DEFAULT_PAUSE: Duration = Duration::from_secs(10);
/// A minute, and the time for which a permit may be kept before its call is sent: the send gate.
const SPAN: Duration = Duration::from_secs(60 + 5);
/// When what is left was little and is not known any more, one call looks, and the others wait this long for its answer.
const LOOK: Duration = Duration::from_secs(5);
/// Distance of two calls while others use the organization.
const SLOW: Duration = Duration::from_secs(1);

/// What a call is for; decides whose turn it is when the budget is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Releases and rotations, and what proves them: goes first, and slowly even while others use the organization.
    Urgent,
    /// Something waits for it.
    Work,
    /// A look that nobody waits for: sweeps, settings that are read again, probes.
    Observe,
}

impl Lane {
    /// All of them.
    pub const ALL: [Lane; 3] = [Lane::Urgent, Lane::Work, Lane::Observe];
}

/// The answer to a call that is about to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It is counted, and is to be sent after this time, which is at most as long as it was ready to wait.
    Go(Duration),
    /// It is not to be sent; there may be room after this time.
    Later(Duration),
}

/// For how long there is no room, by lane; `None`: there is room. As one waiter sees it, at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// For releases and rotations.
    pub urgent: Option<Duration>,
    /// For everything that something waits for.
    pub work: Option<Duration>,
    /// For looks that nobody waits for.
    pub observe: Option<Duration>,
}

impl Room {
    /// No room in any lane for this long.
    pub fn paused(left: Duration) -> Self {
        Self { urgent: Some(left), work: Some(left), observe: Some(left) }
    }

    /// Of one lane.
    pub fn left(&self, lane: Lane) -> Option<Duration> {
        match lane {
            Lane::Urgent => self.urgent,
            Lane::Work => self.work,
            Lane::Observe => self.observe,
        }
    }
}

/// A pace: a burst, then one call per interval.
#[derive(Debug, Clone, Default)]
struct Pace {
    burst: u32,
    interval: Duration,
    /// When the whole burst is there again.
    full_at: Duration,
}

impl Pace {
    /// At most `most` in any [`SPAN`], `burst` of them at once.
    fn set(&mut self, most: u32, burst: u32) {
        self.burst = burst;
        self.interval = SPAN / most.saturating_sub(burst).max(1) + Duration::from_nanos(1);
    }

    /// When the next call may be sent so that `kept` of the burst are left to others.
    fn earliest(&self, kept: u32, now: Duration) -> Duration {
        let after = self.full_at.max(now) + self.interval;
        after.saturating_sub(self.interval * self.burst.saturating_sub(kept)).max(now)
    }

    /// Counts one call, which is sent now or at its `earliest`.
    fn take(&mut self, now: Duration) {
        self.full_at = self.full_at.max(now) + self.interval;
    }

    /// Half of the burst is there.
    fn has_plenty(&self, now: Duration) -> bool {
        self.full_at.saturating_sub(now) <= self.interval * (self.burst / 2)
    }
}

/// What the headers of an answer have said.
#[derive(Debug, Clone, Copy)]
struct Known {
    limit: u32,
    /// Less what was sent since.
    remaining: u32,
    /// Then the window of which it was said is over.
    until: Duration,
}

impl Known {
    /// Others are using the organization: less than a fifth is left.
    fn is_short(&self) -> bool {
        u64::from(self.remaining) * 5 < u64::from(self.limit)
    }

    /// So little is left that it is left to others.
    fn is_spent(&self) -> bool {
        self.remaining <= (self.limit / 100).max(1)
    }
}

/// Who waits in one lane, and the time that each was told.
#[derive(Debug, Clone, Default)]
struct Line {
    promised: BTreeMap<String, Duration>,
    last: Duration,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Budget {
    configured: Option<u32>,
    reported: Option<u32>,
    work: Pace,
    observe: Pace,
    slow: Pace,
    known: Option<Known>,
    paused_until: Duration,
    lines: [Line; 3],
    throttled: u64,
}

impl Default for Budget {
    fn default() -> Self {
        let slow = Pace { burst: 1, interval: SLOW, full_at: Duration::ZERO };
        let (work, observe, lines) = (Pace::default(), Pace::default(), Default::default());
        let (known, paused_until, throttled) = (None, Duration::ZERO, 0);
        let mut new = Self {
            configured: None,
            reported: None,
            work,
            observe,
            slow,
            known,
            paused_until,
            lines,
            throttled,
        };
        new.set_paces();
        new
    }
}

impl Budget {
    /// `spec.limits.requestsPerMinute`.
    pub fn configure(&mut self, requests_per_minute: Option<u32>) {
        self.configured = requests_per_minute;
        self.set_paces();
    }

    /// Requests per minute in force: what is configured, but no more than the limit; else a quarter of the limit.
    pub fn ceiling(&self) -> u32 {
        let ceiling = match (self.configured, self.reported) {
            (Some(configured), Some(reported)) => configured.min(reported),
            (Some(configured), None) => configured,
            (None, Some(reported)) => reported / 4,
            (None, None) => START,
        };
        ceiling.max(LEAST)
    }

    /// Of the ceiling, what looks may have that nobody waits for, per minute.
    pub fn observe_ceiling(&self) -> u32 {
        self.ceiling() / 5
    }

    /// The limit that the API reports, per minute.
    pub fn reported(&self) -> Option<u32> {
        self.reported
    }

    /// What is left of the organization's limit in the present window, as far as known.
    pub fn remaining(&self, now: Duration) -> Option<u32> {
        self.known.filter(|known| now < known.until).map(|known| known.remaining)
    }

    /// How many calls were answered by 429.
    pub fn throttled_calls(&self) -> u64 {
        self.throttled
    }

    fn set_paces(&mut self) {
        let (ceiling, observe) = (self.ceiling(), self.observe_ceiling());
        self.observe.set(observe, (observe / 5).max(1));
        let work = ceiling - observe;
        self.work.set(work, (work / 4).max(2));
    }

    /// What of the burst is kept for releases and rotations.
    fn reserve(&self) -> u32 {
        (self.work.burst / 4).max(1)
    }

    /// What is known of others, while it says that they need the organization.
    fn shortage(&self, now: Duration) -> Option<Known> {
        self.known.filter(|known| known.is_short() && now < known.until)
    }

    /// Until when the lane is closed, whatever the pace.
    fn barrier(&self, lane: Lane, now: Duration) -> Duration {
        match self.shortage(now) {
            Some(known) if lane != Lane::Urgent || known.is_spent() => known.until.max(self.paused_until),
            _ => self.paused_until,
        }
    }

    /// When the pace lets one more call of this lane be sent.
    fn earliest(&self, lane: Lane, now: Duration) -> Duration {
        match lane {
            Lane::Observe => self.observe.earliest(0, now),
            Lane::Work => self.work.earliest(self.reserve(), now),
            Lane::Urgent if self.shortage(now).is_some() => {
                self.work.earliest(0, now).max(self.slow.earliest(0, now))
            }
            Lane::Urgent => self.work.earliest(0, now),
        }
    }

    /// Distance of two who wait in this lane.
    fn interval(&self, lane: Lane, now: Duration) -> Duration {
        match lane {
            Lane::Observe => self.observe.interval,
            Lane::Urgent if self.shortage(now).is_some() => SLOW.max(self.work.interval),
            Lane::Urgent | Lane::Work => self.work.interval,
        }
    }

    /// May a call of this lane be sent now, or within `patience`?
    pub fn ask(&mut self, lane: Lane, patience: Duration, now: Duration) -> Turn {
        let barrier = self.barrier(lane, now);
        if barrier > now {
            return Turn::Later(barrier.saturating_sub(now));
        }
        let wait = self.earliest(lane, now).saturating_sub(now);
        if wait > patience {
            return Turn::Later(wait);
        }
        self.count(lane, now);
        Turn::Go(wait)
    }

    /// For a page that continues a walk: how long it leaves the turn to others before it asks, and how patient it is then.
    /// While it waits after it has asked, the next turn is its own, and a walk always has a next page: other looks, which
    /// are not patient, would never have one.
    pub fn next_page(&self, lane: Lane, now: Duration) -> (Duration, Duration) {
        let interval = self.interval(lane, now);
        let is_for_others = lane == Lane::Observe && !self.has_plenty(lane, now);
        let left = if is_for_others { interval * 3 / 2 } else { Duration::ZERO };
        // Whoever is before it waits for an interval at most, and so does it then.
        (left, NEXT_PAGE.max(interval * 2))
    }

    fn count(&mut self, lane: Lane, now: Duration) {
        if lane == Lane::Observe {
            self.observe.take(now);
        } else {
            self.work.take(now);
        }
        if self.shortage(now).is_some() {
            self.slow.take(now);
        }
        if let Some(known) = &mut self.known {
            if known.is_short() && now >= known.until {
                // This one looks.
                known.until = now + LOOK;
            }
            known.remaining = known.remaining.saturating_sub(1);
        }
    }

    /// For how long there is no room for `waiter`, given those who wait already; `None`: there is room. Asking costs
    /// nothing.
    pub fn room(&self, lane: Lane, waiter: &str, now: Duration) -> Option<Duration> {
        let waiting = &self.lines[lane as usize];
        let promised = waiting.promised.get(waiter);
        if let Some(at) = promised.filter(|at| **at > now) {
            return Some(at.saturating_sub(now));
        }
        let barrier = self.barrier(lane, now);
        if promised.is_none() && waiting.last > now && !self.has_plenty(lane, now) {
            let behind = waiting.last + self.interval(lane, now);
            return Some(barrier.max(behind).saturating_sub(now));
        }
        if barrier > now {
            return Some(barrier.saturating_sub(now));
        }
        let wait = self.earliest(lane, now).saturating_sub(now);
        (wait > PATIENCE).then_some(wait)
    }

    fn has_plenty(&self, lane: Lane, now: Duration) -> bool {
        match lane {
            Lane::Observe => self.observe.has_plenty(now),
            Lane::Urgent | Lane::Work => self.work.has_plenty(now),
        }
    }

    /// `waiter` waits from now on: the time after which it is its turn, behind those who wait already.
    pub fn wait(&mut self, lane: Lane, waiter: &str, now: Duration) -> Duration {
        let at = self.barrier(lane, now).max(self.earliest(lane, now));
        let interval = self.interval(lane, now);
        let waiting = &mut self.lines[lane as usize];
        if let Some(at) = waiting.promised.get(waiter).filter(|at| **at > now) {
            return at.saturating_sub(now);
        }
        if waiting.last <= now {
            // All have had their turn.
            waiting.promised.clear();
        }
        waiting.last = at.max(waiting.last + interval);
        waiting.promised.insert(waiter.to_owned(), waiting.last);
        waiting.last.saturating_sub(now)
    }

    /// May `waiter` announce a mutation and send it within the send gate? `Err`: not before this time.
    pub fn permit(&mut self, lane: Lane, waiter: &str, now: Duration) -> Result<Duration, Duration> {
        if let Some(left) = self.room(lane, waiter, now) {
            return Err(left);
        }
        match self.ask(lane, PATIENCE, now) {
            Turn::Go(wait) => {
                self.lines[lane as usize].promised.remove(waiter);
                Ok(wait)
            }
            Turn::Later(left) => Err(left),
        }
    }

    /// How long nothing is sent at all, after a 429.
    pub fn paused_for(&self, now: Duration) -> Option<Duration> {
        (self.paused_until > now).then(|| self.paused_until.saturating_sub(now))
    }

    /// An answer has said how many requests are allowed in a window of this length, and how many are left.
    pub fn answered(&mut self, limit: u32, remaining: u32, window: Duration, now: Duration) {
        let window = window.clamp(Duration::from_secs(1), Duration::from_mins(10));
        let per_minute = u64::from(limit) * 60 / window.as_secs();
        let per_minute = u32::try_from(per_minute).unwrap_or(u32::MAX);
        if self.reported != Some(per_minute) {
            self.reported = Some(per_minute);
            self.set_paces();
        }
        self.known = Some(Known { limit, remaining, until: now + window });
    }

    /// 429: nothing is sent until `retry_after` has passed, and then one call looks first.
    pub fn throttled(&mut self, retry_after: Option<Duration>, now: Duration) {
        self.throttled += 1;
        self.paused_until = self.paused_until.max(now + retry_after.unwrap_or(DEFAULT_PAUSE));
        let limit = self.known.map_or(START, |known| known.limit.max(1));
        self.known = Some(Known { limit, remaining: 0, until: self.paused_until });
    }
}

/// How far two reads of one project's settings are apart: `base`, or as long as it takes to read the settings of all
/// `projects` with what the sweeps leave of `observe_per_minute`; then in whole minutes.
pub fn settings_interval(
    projects: usize,
    observe_per_minute: u32,
    sweep_pages_per_minute: u32,
    base: Duration,
) -> Duration {
    // Half of it at least: where the sweeps alone were too many, they wait.
    let left = observe_per_minute.saturating_sub(sweep_pages_per_minute).max(observe_per_minute / 2).max(1);
    let projects = u64::try_from(projects).unwrap_or(u64::MAX);
    if Duration::from_secs(projects.saturating_mul(60).div_ceil(u64::from(left))) <= base {
        return base;
    }
    Duration::from_secs(projects.div_ceil(u64::from(left)).saturating_mul(60))
}
