//! What an administrator confirms by `composio.dev/confirm` on a ComposioOrganization, and what follows. The annotation is
//! read and never written; that a token was used is in the header.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, ResourceExt};
use tracing::{info, warn};

use super::api_error::{failure, is_forbidden, words};
use super::context::Context;
use super::header::HeaderNow;
use super::ledger::{CLAIMS, ORGANIZATION_LABEL};
use crate::crd::{CONFIRM_ANNOTATION, ComposioOrganization};
use crate::domain::claim::Owner;
use crate::domain::failure::Failure;
use crate::domain::held::{Held, HeldKind, token};
use crate::domain::ids::ProjectId;
use crate::domain::world::ClaimView;

fn is_confirmed(object: &ComposioOrganization, held: &Held) -> bool {
    object.annotations().get(CONFIRM_ANNOTATION).is_some_and(|confirmed| *confirmed == held.token)
}

/// What the status says is held.
fn stated(object: &ComposioOrganization, kind: HeldKind) -> Option<Held> {
    let held =
        object.status.iter().flat_map(|status| &status.held).find(|held| held.kind == kind.as_str())?;
    let count = usize::try_from(held.count).unwrap_or_default();
    Some(Held { kind, count, token: held.token.clone() })
}

impl Context {
    /// The header, and what is held because of it. A confirmed move is taken over first.
    pub(super) async fn moved(
        &self,
        object: &ComposioOrganization,
    ) -> Result<(HeaderNow, Option<Held>), Failure> {
        let (name, uid) = (object.name_any(), object.uid().unwrap_or_default());
        let now = self.ledger.header().await?;
        if !now.is_moved(&name) {
            return Ok((now, None));
        }
        let claims = self.ledger.names_of(&name).await?;
        let kind = HeldKind::LedgerMoved;
        let token = token(kind, &uid, [now.uid.as_str(), now.header.recorded_uid()]);
        let held = Held { kind, count: claims.len(), token };
        if !is_confirmed(object, &held) {
            return Ok((now, Some(held)));
        }
        self.leads()?;
        self.take_namespaces_over(&claims).await?;
        let existing = self.organizations.names();
        let real_uid = now.uid.clone();
        let now = self
            .ledger
            .change_header(|header| {
                if header.is_moved(&name, &real_uid) {
                    header.confirm_move(&name, &real_uid, &existing);
                }
            })
            .await?;
        info!(claims = held.count, "a ledger that was restored or copied is confirmed for this organization");
        let is_moved = now.is_moved(&name);
        Ok((now, is_moved.then_some(held)))
    }

    /// The projects that have vanished from the list together. Confirmed ones are judged like any other. As long as nothing
    /// was swept since the start, what the status says may still be so.
    pub(super) async fn vanished_or_let_go(
        &self,
        object: &ComposioOrganization,
        header: &HeaderNow,
    ) -> Result<Option<Held>, Failure> {
        let (name, uid, kind) =
            (object.name_any(), object.uid().unwrap_or_default(), HeldKind::FleetVanished);
        let fleet = self.organizations.last(&name).map(|known| known.fleet.clone());
        let Some(sweep) = fleet.as_ref().and_then(|fleet| fleet.latest()) else {
            let known = stated(object, kind);
            if let (Some(held), Some(fleet)) = (&known, &fleet)
                && is_confirmed(object, held)
            {
                fleet.want(None);
            }
            return Ok(known);
        };
        if sweep.withheld.is_empty() {
            return Ok(None);
        }
        let confirmations = header.header.organization(&name).map_or(0, |known| known.vanished_confirmations);
        let round = confirmations.to_string();
        let set = sweep.withheld.iter().map(ProjectId::as_str).chain([round.as_str()]);
        let held = Held { kind, count: sweep.withheld.len(), token: token(kind, &uid, set) };
        if !is_confirmed(object, &held) {
            return Ok(Some(held));
        }
        self.leads()?;
        self.ledger
            .change_header(|header| {
                let known = header.organization_mut(&name);
                known.confirmed_vanished.extend(sweep.withheld.iter().cloned());
                known.vanished_confirmations = confirmations + 1;
            })
            .await?;
        info!(projects = held.count, "projects that have vanished together are confirmed");
        if let Some(fleet) = fleet {
            fleet.let_go(&sweep);
        }
        self.suspect(&sweep, |(id, _)| sweep.withheld.contains(*id));
        Ok(None)
    }

    /// The deletions that wait. Confirmed ones are let go.
    pub(super) async fn held_or_let_go(
        &self,
        object: &ComposioOrganization,
    ) -> Result<(Option<Held>, bool), Failure> {
        let (name, uid) = (object.name_any(), object.uid().unwrap_or_default());
        let kind = HeldKind::Deletions;
        let Some(waiting) = self.held_deletions(&name) else { return Ok((stated(object, kind), false)) };
        if waiting.is_empty() {
            return Ok((None, false));
        }
        let held =
            Held { kind, count: waiting.len(), token: token(kind, &uid, waiting.iter().map(String::as_str)) };
        if !is_confirmed(object, &held) {
            return Ok((Some(held), false));
        }
        self.leads()?;
        // Those that are gone by now need no permit any more, and the header must not grow for ever.
        let confirmed: BTreeSet<String> = &self.confirmed_deletions(&name) | &waiting;
        self.ledger
            .change_header(|header| header.organization_mut(&name).confirmed_deletions.clone_from(&confirmed))
            .await?;
        info!(deletions = held.count, "held deletions are confirmed");
        self.confirm_deletions(&name, waiting);
        Ok((None, true))
    }

    /// In a restored cluster namespaces have other UIDs. Each claim is given to the namespace of the same name; where there
    /// is none yet, to the first that comes, for a resource of the same name. One that may not be read, as with namespaced
    /// Roles one that is not watched, cannot be told from another of its name: its claims stay with the old one.
    async fn take_namespaces_over(&self, claims: &[String]) -> Result<(), Failure> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
        for name in claims {
            let claim = self.ledger.get(name).await.map_err(|error| failure("reading a claim", &error))?;
            let record = match claim {
                ClaimView::Present(record) => record,
                ClaimView::Absent => continue,
                ClaimView::Unreadable(why) => {
                    warn!(why, "a claim cannot be read and is not taken over");
                    continue;
                }
            };
            let owner = record.claim.owner().clone();
            let uid = if let Some(uid) = known.get(&owner.namespace) {
                uid.clone()
            } else {
                let uid = match namespaces.get_metadata_opt(&owner.namespace).await {
                    Ok(found) => Some(found.and_then(|found| found.uid()).unwrap_or_default()),
                    Err(error) if is_forbidden(&error) => {
                        warn!(
                            namespace = owner.namespace,
                            error = words(&error),
                            "a namespace may not be read, and its claims are left to grants"
                        );
                        None
                    }
                    Err(error) => return Err(failure("reading a Namespace", &error)),
                };
                known.insert(owner.namespace.clone(), uid.clone());
                uid
            };
            let Some(uid) = uid else { continue };
            if uid != owner.namespace_uid {
                let claim = record.claim.clone().rebound(Owner { namespace_uid: uid, ..owner });
                let written = self.ledger.update(&record, &claim, record.key.as_ref()).await;
                written.map_err(|error| failure("taking a claim over", &error))?;
            }
        }
        Ok(())
    }
}

impl super::ledger::Ledger {
    /// Names of the claims of an organization.
    async fn names_of(&self, organization: &str) -> Result<Vec<String>, Failure> {
        let mut names = Vec::new();
        let claims = format!("{ORGANIZATION_LABEL}={organization},{CLAIMS}");
        let read = self.each(&claims, |claim| names.push(claim.name_any())).await;
        read.map_err(|error| failure("reading the claims", &error))?;
        Ok(names)
    }
}
