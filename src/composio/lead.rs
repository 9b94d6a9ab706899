//! Whether this process may act: until when it leads, as far as it knows. Set by whoever holds the Lease, asked by the one
//! `call` and before every write that a deposed process must not make.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::BootInstant;

/// Until when this process leads. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Lead(Arc<Mutex<Until>>);

#[derive(Debug, Clone, Copy)]
enum Until {
    /// Without leader election: for ever.
    Always,
    /// By a lease that ends at this time of `CLOCK_BOOTTIME`, unless it is renewed.
    Leased(BootInstant),
    /// Not at all.
    Never,
}

impl Lead {
    /// The lead of a process that is alone.
    pub fn always() -> Self {
        Self(Arc::new(Mutex::new(Until::Always)))
    }

    /// The lead of a process that does not have it yet.
    pub fn not_yet() -> Self {
        Self(Arc::new(Mutex::new(Until::Never)))
    }

    fn set(&self, until: Until) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// The lease was taken or renewed.
    pub fn extend(&self, until: BootInstant) {
        self.set(Until::Leased(until));
    }

    /// The lease is lost or given back.
    pub fn end(&self) {
        self.set(Until::Never);
    }

    /// Whether this process leads now.
    pub fn is_held(&self) -> bool {
        self.is_held_for(Duration::ZERO)
    }

    /// Whether it leads, and at least this much is left of the lease, renewed or not.
    pub fn is_held_for(&self, time: Duration) -> bool {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Until::Always => true,
            Until::Leased(until) => until.remaining() > time,
            Until::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_as_long_as_the_lease_and_for_what_is_left_of_it() {
        let (lead, minute) = (Lead::not_yet(), Duration::from_mins(1));
        assert!(!lead.is_held(), "nobody has given it");
        lead.extend(BootInstant::now() + minute);
        assert!(lead.is_held() && lead.is_held_for(minute / 2));
        assert!(!lead.is_held_for(minute), "time has passed");
        lead.extend(BootInstant::now());
        assert!(!lead.is_held(), "its time is over, although nobody has taken it away");
        lead.extend(BootInstant::now() + minute);
        lead.clone().end();
        assert!(!lead.is_held(), "it was taken away");
        assert!(Lead::always().is_held_for(Duration::MAX), "nobody else is there");
    }
}
