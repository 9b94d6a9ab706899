//! Budget and breaker of each ComposioOrganization, by its name. They are kept when its client is made anew, for another
//! key or URL. Of two ComposioOrganizations with one id only the elder works, so that by name is as good as by id.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::context::Context;
use crate::composio::{BootInstant, SharedBudget};
use crate::crd::LimitsStatus;
use crate::domain::breaker::Breaker;
use crate::domain::budget::settings_interval;
use crate::domain::key::ApiKey;
use crate::domain::reason::Reason;

/// Projects on one page of the list (API 12).
const PAGE: usize = 50;

/// See the module; cheap to clone, all clones are one.
#[derive(Clone, Default)]
pub struct Budgets(Arc<Mutex<BTreeMap<String, Gate>>>);

struct Gate {
    budget: SharedBudget,
    /// Of this key.
    breaker: Option<(ApiKey, Breaker)>,
}

fn now() -> Duration {
    BootInstant::now().since_boot()
}

impl Budgets {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Gate>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The budget of an organization, made at its first use; `on_lost` is called when Composio has stopped answering.
    pub fn of(&self, name: &str, on_lost: impl Fn() + Send + Sync + 'static) -> SharedBudget {
        let mut all = self.all();
        let new = || Gate { budget: SharedBudget::new(on_lost), breaker: None };
        all.entry(name.to_owned()).or_insert_with(new).budget.clone()
    }

    /// Forgets an organization that was deleted.
    pub fn remove(&self, name: &str) {
        self.all().remove(name);
    }

    /// Nobody calls with this key; returns the time until the next probe.
    pub fn open_breaker(&self, name: &str, key: &ApiKey, reason: Reason, words: &str) -> Duration {
        let mut all = self.all();
        let Some(gate) = all.get_mut(name) else { return Duration::ZERO };
        let breaker = gate.breaker.take().filter(|(of, _)| of.is(key)).map(|(_, breaker)| breaker);
        let mut breaker = breaker.unwrap_or_else(|| Breaker::new(reason));
        let left = breaker.open(reason, words, now());
        gate.breaker = Some((key.clone(), breaker));
        left
    }

    /// Why, in which words and how long the breaker forbids even a probe with this key; a new key is probed at once.
    pub fn breaker(&self, name: &str, key: &ApiKey) -> Option<(Reason, String, Duration)> {
        let mut all = self.all();
        let gate = all.get_mut(name)?;
        gate.breaker.take_if(|(of, _)| !of.is(key));
        gate.breaker.as_ref().and_then(|(_, breaker)| breaker.closed_to_probes(now()))
    }

    /// A probe has succeeded. What an answer refutes is forgotten; a refusal of the key only waits for the next one.
    pub fn shut_breaker(&self, name: &str) {
        if let Some(gate) = self.all().get_mut(name) {
            gate.breaker.take_if(|(_, breaker)| breaker.reason() == Reason::EndpointUnreachable);
            if let Some((_, breaker)) = &mut gate.breaker {
                breaker.shut();
            }
        }
    }

    /// A mutation with this key has succeeded: it is good for what it is needed for.
    pub fn forget_breaker(&self, name: &str, key: &ApiKey) {
        if let Some(gate) = self.all().get_mut(name) {
            gate.breaker.take_if(|(of, _)| of.is(key));
        }
    }
}

impl Context {
    /// The budget of an organization; it is woken when Composio has stopped answering.
    pub fn budget(&self, name: &str) -> SharedBudget {
        let (wake, object) = (self.wake.organizations.clone(), ObjectRef::new(name).within(&self.namespace));
        // The receiver lives as long as the process.
        self.organizations.budgets.of(name, move || drop(wake.send(object.clone())))
    }

    /// How far two reads of one project's settings are apart, for an organization of that many projects; `None` until
    /// the caches are filled.
    pub fn settings_interval(&self, name: &str, budget: &SharedBudget) -> Option<Duration> {
        let (projects, base) = (self.in_use.projects_of(name)?, self.observe_interval);
        let pages = u64::try_from(projects.div_ceil(PAGE)).unwrap_or(u64::MAX);
        let pages = pages.saturating_mul(60).div_ceil(self.sweep_interval.as_secs().max(1));
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        Some(settings_interval(projects, budget.look().observe_ceiling(), pages, base))
    }

    /// What is in force for an organization, for its status; `before` is what it says, which stays as far as nothing
    /// else is known.
    pub fn limits_status(&self, name: &str, before: Option<&LimitsStatus>) -> Option<LimitsStatus> {
        let shared = self.budget(name);
        let budget = shared.look();
        let Some(reported) = budget.reported() else { return before.cloned() };
        let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let interval = self.settings_interval(name, &shared).map(in_words);
        let interval = interval.or_else(|| before.map(|before| before.settings_interval.clone()));
        Some(LimitsStatus {
            reported_per_minute: number(reported),
            requests_per_minute: number(budget.ceiling()),
            settings_interval: interval.unwrap_or_else(|| in_words(self.observe_interval)),
        })
    }
}

/// Such as `1h41m`, `10m` or `90s` (below two minutes).
fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..3600 => format!("{}m", seconds / 60),
        seconds if seconds % 3600 < 60 => format!("{}h", seconds / 3600),
        seconds => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
    }
}

impl Debug for Budgets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Budgets").finish_non_exhaustive()
    }
}

impl Collector for Budgets {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let all = self.all();
        let gauge = |encoder: &mut DescriptorEncoder<'_>, name, help, of: &dyn Fn(&Gate) -> Option<u32>| {
            let kind = ConstGauge::new(0_i64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (organization, gate) in all.iter() {
                if let Some(value) = of(gate) {
                    let labels = [("organization", organization.as_str())];
                    ConstGauge::new(i64::from(value)).encode(family.encode_family(&labels)?)?;
                }
            }
            Ok(())
        };
        let help = "Requests per minute that the operator sends to an organization at most";
        gauge(&mut encoder, "budget_ceiling", help, &|gate| Some(gate.budget.look().ceiling()))?;
        let help = "Requests that are left of the organization's limit in the present window; absent where that is not known";
        gauge(&mut encoder, "budget_remaining", help, &|gate| gate.budget.remaining())?;
        let help = "1 while nobody calls but one probe, because the key is refused or nobody answers; else 0";
        gauge(&mut encoder, "breaker_open", help, &|gate| {
            let is_open = gate.breaker.as_ref().is_some_and(|(_, breaker)| breaker.is_open());
            Some(u32::from(is_open || gate.budget.has_lost_contact()))
        })?;
        let kind = ConstCounter::new(0_u64).metric_type();
        let help = "Calls that Composio has answered by 429";
        let mut family = encoder.encode_descriptor("throttled_calls", help, None, kind)?;
        for (organization, gate) in all.iter() {
            let labels = [("organization", organization.as_str())];
            let count = gate.budget.look().throttled_calls();
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_written_as_people_write_them() {
        for (seconds, words) in
            [(0, "0s"), (90, "90s"), (600, "10m"), (659, "10m"), (3600, "1h"), (6_120, "1h42m")]
        {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
