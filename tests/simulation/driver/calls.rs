//! The one call: send gate, pause, deadline. Mirrors `composio::client`.

use std::time::Duration;

use composio_operator::domain::answer::CallError;
use composio_operator::domain::claim::Record;

use crate::guard::Guard;
use crate::laws;
use crate::process::GATE;
use crate::realm::{Ctx, NEVER, Realm, SECOND, Time};
use crate::remote::{Mutation, Reply};

/// Longest time from sending a request to its answer.
const DEADLINE: Time = 30 * SECOND;

/// The claim with the announcement, the attempt, and when the gate began to count.
type Announcement<'a> = (&'a Record, u32, Time);

fn unknown() -> CallError {
    CallError::Unknown { words: "no answer".to_owned(), status: None }
}

/// What keeps any call from being sent.
fn held_back(realm: &mut Realm, me: usize) -> Option<CallError> {
    let left = realm.processes[me].throttled_until - realm.now;
    if left > 0 {
        return Some(CallError::Throttled(Some(Duration::from_millis(left.unsigned_abs()))));
    }
    if realm.fault(40) {
        return Some(CallError::NotSent("no connection".to_owned()));
    }
    if realm.fault(100) {
        realm.count("a 429");
        let pause = realm.dice.between(SECOND, 40 * SECOND);
        realm.processes[me].throttled_until = realm.now + pause;
        return Some(CallError::Throttled(Some(Duration::from_millis(pause.unsigned_abs()))));
    }
    None
}

impl Ctx {
    /// Sends a mutation, and waits for its answer.
    pub(super) async fn call(
        &self,
        mutation: &Mutation,
        announcement: Option<Announcement<'_>>,
    ) -> Result<Reply, CallError> {
        let sent = self.with(|realm| {
            if let Some(error) = held_back(realm, self.me) {
                return Err(error);
            }
            let begun = announcement.map_or(realm.now, |(_, _, begun)| begun);
            if realm.now - begun >= GATE && realm.has(Guard::SendGate) {
                realm.count("a closed send gate");
                return Err(CallError::NotSent("the announcement is too old".to_owned()));
            }
            laws::sent(realm, self.me, mutation, announcement.map(|(record, attempt, _)| (record, attempt)));
            let fate = realm.remote.fate(&mut realm.dice, realm.now, realm.weather.mildness, realm.is_calm);
            if fate.answer == NEVER {
                realm.count("a lost answer");
            }
            let deadline = realm.now + DEADLINE;
            let gives_up = if realm.dice.once_in(2) { deadline } else { realm.now + SECOND };
            let is_late = fate.commit.is_some_and(|commit| commit > deadline);
            if is_late {
                realm.count("a commit after the deadline");
            }
            let until = if fate.answer == NEVER { gives_up } else { fate.answer.min(deadline) };
            let me = self.me;
            realm.tell(|| format!("p{me} sends {mutation:?}, {fate:?}"));
            Ok((realm.remote.send(mutation.clone(), fate), until, fate.answer <= deadline))
        });
        let (id, until, arrives) = sent?;
        self.until(until).await;
        let reply = self.with(|realm| realm.remote.take_reply(id));
        match reply.filter(|_| arrives) {
            Some(reply) => reply,
            None => Err(unknown()),
        }
    }

    /// A call that changes nothing.
    pub(super) async fn look<T>(&self, act: impl FnOnce(&mut Realm) -> T) -> Result<T, CallError> {
        let (seen, latency) = self.with(|realm| match held_back(realm, self.me) {
            Some(error) => (Err(error), 0),
            None if realm.fault(30) => (Err(unknown()), 10 * SECOND),
            None => (Ok(act(realm)), realm.latency()),
        });
        self.sleep(latency).await;
        seen
    }
}
