//! One organization's budget as all its clients share it: `domain::budget` behind a lock, with the clock, and whether
//! Composio answers at all. What is decided with it, the domain decides.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;

use super::clock::BootInstant;
use crate::domain::breaker::Contact;
use crate::domain::budget::{Budget, Lane, Room, Turn};

/// What is believed of a window whose length an answer does not say (API 9).
const WINDOW: Duration = Duration::from_mins(1);

/// The budget has room for one announced mutation, and counts it.
#[derive(Debug, Clone, Copy)]
pub struct Permit(());

/// See the module; cheap to clone, all clones are one.
#[derive(Clone)]
pub struct SharedBudget(Arc<Inner>);

struct Inner {
    budget: Mutex<Budget>,
    contact: Mutex<Contact>,
    on_lost: Box<dyn Fn() + Send + Sync>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Duration {
    BootInstant::now().since_boot()
}

impl SharedBudget {
    /// A new one. `on_lost` is called when Composio has stopped answering.
    pub fn new(on_lost: impl Fn() + Send + Sync + 'static) -> Self {
        let (budget, contact, on_lost) = (Mutex::default(), Mutex::default(), Box::new(on_lost));
        Self(Arc::new(Inner { budget, contact, on_lost }))
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        lock(&self.0.budget)
    }

    /// `spec.limits.requestsPerMinute`.
    pub fn configure(&self, requests_per_minute: Option<u32>) {
        self.budget().configure(requests_per_minute);
    }

    /// As it is now, for reports.
    pub fn look(&self) -> Budget {
        self.budget().clone()
    }

    /// What is left of the organization's limit, as far as known.
    pub fn remaining(&self) -> Option<u32> {
        self.budget().remaining(now())
    }

    /// Whether `waiter` may call now. Asking costs nothing.
    pub fn room(&self, waiter: &str) -> Room {
        let (budget, now) = (self.budget(), now());
        let left = |lane| budget.room(lane, waiter, now);
        Room { urgent: left(Lane::Urgent), work: left(Lane::Work), observe: left(Lane::Observe) }
    }

    /// `waiter` waits from now on; returns when it is its turn.
    pub fn wait(&self, lane: Lane, waiter: &str) -> Duration {
        self.budget().wait(lane, waiter, now())
    }

    /// For a mutation that is about to be announced, so that none is announced that cannot be sent. Waits for up to a
    /// second; `Err`: not before this time.
    pub async fn permit(&self, lane: Lane, waiter: &str) -> Result<Permit, Duration> {
        let permitted = self.budget().permit(lane, waiter, now());
        pause(permitted?).await;
        Ok(Permit(()))
    }

    /// How long nothing is sent at all, after a 429.
    pub fn paused_for(&self) -> Option<Duration> {
        self.budget().paused_for(now())
    }

    /// Waits for the turn of one call, for at most `patience`; `Err`: not before this time.
    pub(super) async fn turn(&self, lane: Lane, patience: Duration) -> Result<(), Duration> {
        let turn = self.budget().ask(lane, patience, now());
        match turn {
            Turn::Go(wait) => {
                pause(wait).await;
                Ok(())
            }
            Turn::Later(left) => Err(left),
        }
    }

    /// The same for a page that continues a walk: it leaves turns to others, and then it is patient.
    pub(super) async fn turn_of_next_page(&self, lane: Lane) -> Result<(), Duration> {
        let (left, patience) = self.budget().next_page(lane, now());
        pause(left).await;
        self.turn(lane, patience).await
    }

    /// An answer has come, with what its headers say (API 9).
    pub fn answered(&self, headers: &HeaderMap) {
        lock(&self.0.contact).answered();
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let number = |name| text(name).and_then(|text| text.parse().ok());
        let (Some(limit), Some(remaining)) = (number("x-ratelimit"), number("x-ratelimit-remaining")) else {
            return;
        };
        let window = text("x-ratelimit-window-size").and_then(window).unwrap_or(WINDOW);
        self.budget().answered(limit, remaining, window, now());
    }

    /// 429.
    pub(super) fn throttled(&self, retry_after: Option<Duration>) {
        self.budget().throttled(retry_after, now());
    }

    /// No connection, or no answer.
    pub(super) fn unanswered(&self) {
        let is_lost = lock(&self.0.contact).failed();
        if is_lost {
            (self.0.on_lost)();
        }
    }

    /// Composio has stopped answering, and no probe was answered since.
    pub fn has_lost_contact(&self) -> bool {
        lock(&self.0.contact).is_lost()
    }

    /// A probe was answered. Returns whether contact was lost before.
    pub fn contact_restored(&self) -> bool {
        lock(&self.0.contact).restored()
    }
}

/// Not even a tick of the timer where there is nothing to wait for.
async fn pause(wait: Duration) {
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// `60s`, or whole seconds without a unit.
fn window(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s').unwrap_or(text).trim_end().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_three_headers_are_read_and_what_does_not_fit_is_left_out() {
        let budget = SharedBudget::new(|| ());
        let answered = |values: [(&'static str, &'static str); 3]| {
            let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
            budget.answered(&HeaderMap::from_iter(values.map(pair)));
            (budget.look().reported(), budget.remaining())
        };
        let [limit, left, size] = ["x-ratelimit", "x-ratelimit-remaining", "x-ratelimit-window-size"];
        assert_eq!(answered([(limit, "many"), (left, "3"), (size, "60s")]), (None, None));
        assert_eq!(answered([(limit, "200"), (left, "150"), (size, "60s")]), (Some(200), Some(150)));
        assert_eq!(answered([(limit, "200"), (left, "149"), (size, "600")]), (Some(20), Some(149)));
        assert_eq!(answered([(limit, "300"), (left, "299"), (size, "?")]), (Some(300), Some(299)));
    }
}
