//! What an administrator confirms by `composio.dev/confirm` on a ComposioOrganization, and what follows. The annotation is
//! read and never written; that a token was used is in the header.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
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
use crate::domain::world::ClaimView;

fn is_confirmed(object: &ComposioOrganization, held: &Held) -> bool {
    object.annotations().get(CONFIRM_ANNOTATION).is_some_and(|confirmed| *confirmed == held.token)
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

    /// The deletions that wait. Confirmed ones are let go.
    pub(super) async fn held_or_let_go(
        &self,
        object: &ComposioOrganization,
    ) -> Result<(Option<Held>, bool), Failure> {
        let (name, uid) = (object.name_any(), object.uid().unwrap_or_default());
        let waiting = self.held_deletions(&name);
        if waiting.is_empty() {
            return Ok((None, false));
        }
        let kind = HeldKind::Deletions;
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
        let params = ListParams::default().labels(&format!("{ORGANIZATION_LABEL}={organization},{CLAIMS}"));
        let claims = self.secrets.list_metadata(&params).await;
        let claims = claims.map_err(|error| failure("reading the claims", &error))?;
        Ok(claims.items.iter().map(ResourceExt::name_any).collect())
    }
}
