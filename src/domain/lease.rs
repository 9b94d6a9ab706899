//! Leader election by a `coordination.k8s.io` Lease, in the manner of client-go: what one replica has seen of the Lease,
//! and what it does next. Time comes in as a `Duration` on this replica's own monotonic clock; the wall-clock times in
//! the record are for people and decide nothing. Reading and writing is `process::leader`'s.
//!
//! Why no two replicas lead at once:
//!
//! 1. A holder counts its lease from *before* it sent the write that named it.
//! 2. A challenger counts from *after* the answer that showed it the record, and begins anew with every change of it.
//! 3. Every write names the version that it replaces, so that a take-over succeeds only if nothing was renewed since.
//! 4. The lease is over when its time is over, whether or not the holder has heard of anything.

use std::time::Duration;

use jiff::Timestamp;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// What a Lease says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Identity of the replica that leads; empty once it was released.
    pub holder: String,
    /// How long the holder leads after a renewal, by its own account.
    pub duration: Duration,
    /// When the holder took it, by the holder's wall clock.
    pub acquire_time: Option<Timestamp>,
    /// When the holder renewed it last, by the holder's wall clock.
    pub renew_time: Option<Timestamp>,
    /// How often it has changed hands.
    pub transitions: i32,
}

impl Record {
    /// As its holder gives it back. Free for everybody from then on.
    #[must_use]
    pub fn released(&self, wall: Timestamp) -> Self {
        Self { holder: String::new(), renew_time: Some(wall), ..self.clone() }
    }
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How long a replica leads after a renewal was sent.
    pub duration: Duration,
    /// How long after the last successful renewal it gives up. Less than `duration`.
    pub renew_deadline: Duration,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is no Lease: create it.
    Create,
    /// It is free, or its holder is gone: replace what was seen.
    Take,
    /// It is ours: replace what was seen.
    Renew,
    /// Somebody else leads; look again, at the latest after this time.
    Wait(Duration),
    /// It was ours and is not any more. Final.
    Lost(Loss),
}

/// Why a lease is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// No renewal has succeeded in time.
    #[error("it was not renewed within {} s", .0.as_secs_f64())]
    Overdue(Duration),
    /// Another replica has it.
    #[error("{0} holds it now")]
    Taken(String),
    /// The Lease is not there any more, or nobody's.
    #[error("it was deleted or released by somebody else")]
    Gone,
}

/// One replica: what it has seen of the Lease, and until when it leads.
#[derive(Debug, Clone)]
pub struct Candidate {
    me: String,
    terms: Terms,
    seen: Option<Seen>,
    /// When the last write that made or kept us holder was sent.
    renewed: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Seen {
    record: Record,
    /// `None`: the Lease is not there; the record is what it said last.
    version: Option<String>,
    /// When it was first seen as it is now.
    since: Duration,
}

impl Candidate {
    /// A replica that has seen nothing. `me` must never be used twice.
    pub fn new(me: String, terms: Terms) -> Self {
        Self { me, terms, seen: None, renewed: None }
    }

    /// Takes up the answer to a read, which came at `now`: record and version, or that there is no Lease.
    pub fn observe(&mut self, found: Option<(Record, String)>, now: Duration) {
        let before = self.seen.take();
        self.seen = Some(match (found, before) {
            (Some((_, version)), Some(seen)) if seen.version.as_ref() == Some(&version) => seen,
            (Some((record, version)), _) => Seen { record, version: Some(version), since: now },
            // Deleted under its holder, who leads until its time is over.
            (None, Some(seen)) => Seen { version: None, ..seen },
            (None, None) => Seen { record: Record::default(), version: None, since: now },
        });
    }

    /// What to do at `now`.
    pub fn decide(&self, now: Duration) -> Decision {
        if let Some(renewed) = self.renewed {
            return self.keep(renewed, now);
        }
        let Some(Seen { record, version, since }) = &self.seen else {
            return Decision::Wait(Duration::ZERO);
        };
        // A write of ours whose answer was lost makes us the holder as well.
        let is_free = record.holder.is_empty() || record.holder == self.me;
        let left = (*since + record.duration).saturating_sub(now);
        match version {
            _ if !is_free && !left.is_zero() => Decision::Wait(left),
            None => Decision::Create,
            Some(_) => Decision::Take,
        }
    }

    fn keep(&self, renewed: Duration, now: Duration) -> Decision {
        if now >= renewed + self.terms.renew_deadline {
            return Decision::Lost(Loss::Overdue(self.terms.renew_deadline));
        }
        match &self.seen {
            Some(Seen { version: None, .. }) => Decision::Lost(Loss::Gone),
            Some(Seen { record, .. }) if record.holder.is_empty() => Decision::Lost(Loss::Gone),
            Some(Seen { record, .. }) if record.holder != self.me => {
                Decision::Lost(Loss::Taken(record.holder.clone()))
            }
            _ => Decision::Renew,
        }
    }

    /// The record to write where the decision is `Create`, `Take` or `Renew`.
    pub fn record(&self, wall: Timestamp) -> Record {
        let before = self.seen.as_ref().map(|seen| seen.record.clone()).unwrap_or_default();
        let is_mine = before.holder == self.me;
        // The first holder of all has taken it from nobody.
        let changes = i32::from(!is_mine && before != Record::default());
        Record {
            holder: self.me.clone(),
            duration: self.terms.duration,
            acquire_time: before.acquire_time.filter(|_| is_mine).or(Some(wall)),
            renew_time: Some(wall),
            transitions: before.transitions.saturating_add(changes),
        }
    }

    /// The version that a write must replace; `None` where the Lease is to be created.
    pub fn version(&self) -> Option<&str> {
        self.seen.as_ref()?.version.as_deref()
    }

    /// A write of [`Candidate::record`] has succeeded; it was sent at `sent`.
    pub fn written(&mut self, record: Record, version: String, sent: Duration) {
        self.renewed = Some(sent);
        self.seen = Some(Seen { record, version: Some(version), since: sent });
    }

    /// Until when this replica leads; `None` if it does not.
    pub fn leads_until(&self) -> Option<Duration> {
        self.renewed.map(|renewed| renewed + self.terms.duration)
    }

    /// Gives the lead up: what to write, where the Lease is still ours as far as known.
    pub fn release(&mut self, wall: Timestamp) -> Option<Record> {
        self.renewed = None;
        let seen =
            self.seen.as_ref().filter(|seen| seen.version.is_some() && seen.record.holder == self.me)?;
        Some(seen.record.released(wall))
    }

    /// Who holds the Lease, as far as seen; empty where nobody does.
    pub fn holder(&self) -> &str {
        self.seen.as_ref().map_or("", |seen| &seen.record.holder)
    }
}
