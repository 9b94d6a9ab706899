//! Laws of every single step of the model, whatever the world.

use super::{Model, SETTLE, Secret};
use crate::domain::claim::{Claim, Origin, Phase};
use crate::domain::drift::DriftPolicy;
use crate::domain::plan::{Action, Step};
use crate::domain::settings::Settings;
use crate::domain::world::{ClaimView, InvalidKeyPolicy, World};

impl Model {
    /// What must hold of a step that `plan` takes.
    pub(super) fn lint(&mut self, world: &World, step: &Step) {
        let claim = match &world.claim {
            ClaimView::Present(record) => Some(&record.claim),
            ClaimView::Absent | ClaimView::Unreadable(_) => None,
        };
        match step {
            Step::Do(action) => self.lint_action(world, claim, action),
            Step::Wait(_, _, time) => self.law(!time.is_zero(), "every wait has a length"),
            Step::Stall(reason, detail) => {
                self.law(reason.remedy().is_some(), "a person is told what to do");
                self.law(reason.stalls(), "a reason that stalls");
                self.law(!detail.contains("ak_"), "no key is shown");
            }
            Step::Fail(failure) => self.law(!failure.detail.contains("ak_"), "no key is shown"),
            Step::Ignore | Step::Done => {}
        }
    }

    fn lint_action(&mut self, world: &World, claim: Option<&Claim>, action: &Action) {
        let is_suspended = self.desired.is_suspended;
        let is_foreign = matches!(self.secret, Secret::Foreign);
        self.law(
            !world.is_in_flight || claim.is_none_or(|claim| claim.owner().uid != self.desired.uid),
            "nothing is done while an answer is awaited",
        );
        self.note(claim, action);
        match action {
            Action::CreateProject { claim: next, attempt, config } => {
                self.law(
                    !is_suspended && !is_foreign,
                    "no creation while suspended or with a foreign Secret",
                );
                self.law(
                    next.attempts().iter().any(|open| open.number == *attempt),
                    "an attempt is announced",
                );
                let is_settled = claim.is_none_or(|claim| world.settling.left(claim.attempts()).is_zero());
                self.law(is_settled, "no second creation before the first is settled");
                self.lint_settings(config.as_ref());
            }
            Action::WriteClaim(next) => {
                if let Some(claim) = claim {
                    self.lint_found(claim, next);
                    let is_given_up = claim.phase() == Phase::Owned && next.phase() == Phase::Creating;
                    self.law(!is_given_up || self.claimed().is_none(), "no living project is given up");
                }
            }
            Action::AcquireKey { claim: next, .. } => {
                let id = next.project_id();
                self.law(
                    id.is_some_and(|id| self.is_ours(id)),
                    "no key of somebody else's project is replaced",
                );
                if let Some(claim) = claim.filter(|claim| claim.phase() != Phase::KeyPending) {
                    self.lint_replacement(world, claim);
                }
            }
            Action::DeleteUnusable(next) => {
                self.law(next.origin() == Some(Origin::Created), "only what our own answer made is deleted");
                self.law(next.published().is_none(), "nothing that was published is deleted");
                let is_ours = next.project_id().is_some_and(|id| self.is_ours(id));
                self.law(is_ours, "only our own is deleted");
            }
            Action::PatchSettings(members) => {
                self.lint_settings(Some(members));
                self.law(
                    self.desired.drift.policy == DriftPolicy::Correct,
                    "what is only reported is not changed",
                );
            }
            Action::PublishSecret => {
                let is_stored =
                    claim.is_some_and(|claim| claim.is_rotation_open() && !claim.is_key_announced());
                self.law(
                    (!is_suspended || is_stored) && !is_foreign,
                    "no foreign Secret is written, and while suspended only the end of a replacement",
                );
            }
            Action::ReadProject => self.lint_deletion(claim),
            Action::Bury => self.law(false, "what was only to be replaced has no tombstone"),
            Action::ProveOwnKey { .. } | Action::ReadKeys { .. } => {
                self.law(claim.is_some_and(|claim| claim.key().is_some()), "a look at a key needs one");
            }
            Action::ProveKey | Action::RemoveSuperseded(..) => {
                self.law(false, "nothing is proven or removed without a cause");
            }
            Action::Conclude(..)
            | Action::ReadEvidence
            | Action::ReadSettings { .. }
            | Action::ReadCandidate
            | Action::TakeUp { .. }
            | Action::LookForProject { .. } => {}
        }
    }

    /// A key is replaced where it is dead and nobody is hurt, and seldom.
    fn lint_replacement(&mut self, world: &World, claim: &Claim) {
        let key = self.claim.as_ref().and_then(|record| record.key.clone());
        let (lives, is_foreign) = self.claimed().map_or((false, false), |project| {
            (key.is_some_and(|key| project.has_key(&key)), project.has_foreign_key())
        });
        self.law(!lives, "no living key is replaced");
        let may_hurt = self.desired.key_health.on_invalid == InvalidKeyPolicy::Regenerate;
        self.law(may_hurt || !is_foreign, "no key of somebody else is killed");
        let is_open = claim.is_key_doubtful();
        let is_report = self.desired.key_health.on_invalid == InvalidKeyPolicy::Report;
        self.law(!is_report || is_open, "what is only to be reported is not replaced");
        let last =
            claim.last_rotation().map(|(last, _)| world.settling.now.duration_since(last.started_time));
        self.law(is_open || last.is_none_or(|age| age.as_secs() >= 3600), "once per hour");
    }

    /// Notes what kind of turn an action is.
    fn note(&mut self, before: Option<&Claim>, action: &Action) {
        let open = before.map_or(0, |claim| claim.attempts().len());
        let turn = match action {
            Action::CreateProject { .. } if open > 0 => "another attempt",
            Action::Conclude(..) if open > 0 => "somebody else's",
            Action::WriteClaim(next) if before.is_some_and(|claim| claim.owner() != next.owner()) => {
                "taken back"
            }
            Action::WriteClaim(next) if next.phase() == Phase::Creating && open > 0 => "proven absent",
            Action::AcquireKey { attempt: 2.., .. } => "the key was asked for again",
            Action::DeleteUnusable(_) => "an unusable project was deleted",
            _ => return,
        };
        self.turns.insert(turn);
    }

    /// Whether an announced deletion was carried out is judged only when it cannot be any more.
    pub(super) fn lint_deletion(&mut self, claim: Option<&Claim>) {
        let started = claim.and_then(Claim::deletion_started_time);
        let settle = jiff::SignedDuration::try_from(SETTLE).unwrap();
        let is_settled = started.is_some_and(|started| self.now.duration_since(started) >= settle);
        self.law(is_settled, "a deletion is judged when it is settled");
    }

    /// A project that evidence brings into a claim is ours.
    pub(super) fn lint_found(&mut self, before: &Claim, after: &Claim) {
        if let Some(id) = after.project_id().filter(|_| before.project_id().is_none()) {
            self.turns.insert("found by evidence");
            let is_ours = self.is_ours(id);
            self.law(is_ours, "somebody else's project is never taken");
            self.law(after.origin() == Some(Origin::Recovered), "what was found is not called created");
        }
    }

    fn lint_settings(&mut self, sent: Option<&Settings>) {
        // What is sent equals the wish: nothing of it differs from the wish, member by member.
        let unwanted = sent.map(|sent| sent.differing_from(&self.desired.settings).fields());
        self.law(unwanted.is_none_or(|unwanted| unwanted.is_empty()), "an unmanaged setting is never sent");
    }
}
