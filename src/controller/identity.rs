//! Which organization at Composio a ComposioOrganization stands for: pinned in the header at first sight or by the spec, and
//! compared with what each probe shows. What counts as a mismatch is `domain::header`'s.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::ListParams;

use super::api_error::failure;
use super::context::Context;
use super::header::HeaderNow;
use super::ledger::{Ledger, ORGANIZATION_LABEL, PHASE_LABEL};
use super::organizations::Organization;
use crate::crd::ComposioOrganization;
use crate::domain::failure::Failure;
use crate::domain::header::{Header, Identity, Sight, identify};
use crate::domain::ids::OrganizationId;

/// What the probe has shown of the organization's id.
pub(super) enum Seen {
    /// The id of a project in the list.
    Id(OrganizationId),
    /// The list is empty.
    Nothing,
    /// Not asked: everything is as it was.
    Unasked,
}

impl Context {
    /// Compares, and pins the id at first sight. Anything but `Accepted` stops the organization.
    pub(super) async fn identify(
        &self,
        object: &ComposioOrganization,
        header: &HeaderNow,
        organization: &mut Organization,
        seen: &Seen,
    ) -> Result<Identity, Failure> {
        let (name, uid) = (object.name_any(), object.uid());
        let stated = object.spec.organization_id.clone().and_then(|id| OrganizationId::try_from(id).ok());
        let fingerprint = self.ledger.fingerprint_key().fingerprint(&organization.key);
        let pin = header.header.organization(&name).cloned().unwrap_or_default();
        let owned = match seen {
            Seen::Nothing => self.ledger.owned(&name).await?,
            Seen::Id(_) | Seen::Unasked => None,
        };
        // A ComposioOrganization that was made again, without any project, may stand for another organization.
        let is_pinned = pin.resource_uid == uid || pin.id.is_none() || self.ledger.has_claims(&name).await?;
        let pinned = pin.id.as_ref().filter(|_| is_pinned);
        let seen_id = match seen {
            Seen::Id(id) => Some(id),
            Seen::Nothing => None,
            // Shown by an earlier probe of this process.
            Seen::Unasked => organization.id.as_ref(),
        };
        let sight =
            Sight { stated: stated.as_ref(), pinned, seen: seen_id, owned, settle: self.limits.settle() };
        let identity = identify(&sight);
        if identity != Identity::Accepted {
            return Ok(identity);
        }
        // An empty list shows nothing, but the key may have shown the id before.
        let has_shown = pin.key_fingerprint.as_ref() == Some(&fingerprint);
        let id = seen_id.or(pinned.filter(|_| has_shown)).cloned();
        organization.is_identified = id.is_some() || (stated.is_none() && pinned.is_none());
        organization.id.clone_from(&id);
        let Some(id) = id else {
            let stated = stated.as_ref();
            return Ok(
                stated.map_or(Identity::Accepted, |id| self.only_the_eldest(object, &header.header, id))
            );
        };
        let pinned = self
            .ledger
            .change_header(|header| {
                let pin = header.organization_mut(&name);
                pin.id = Some(id.clone());
                pin.key_fingerprint = Some(fingerprint.clone());
                pin.resource_uid.clone_from(&uid);
            })
            .await?;
        if pin.id.as_ref() != Some(&id) {
            // Another one with this id, which is younger, has to stop.
            pinned
                .header
                .with_id(&id)
                .filter(|other| *other != name)
                .for_each(|other| self.wake_organization(other));
        }
        Ok(self.only_the_eldest(object, &pinned.header, &id))
    }

    /// Of two with one id the younger stops.
    fn only_the_eldest(
        &self,
        object: &ComposioOrganization,
        header: &Header,
        id: &OrganizationId,
    ) -> Identity {
        let names: Vec<_> = header.with_id(id).collect();
        self.organizations.elder(object, id, &names).map_or(Identity::Accepted, |elder| {
            Identity::Other(format!("ComposioOrganization {elder:?}, which is older, stands for {id}"))
        })
    }
}

impl Ledger {
    /// How many claims of an organization are `Owned`, and how old the oldest is.
    async fn owned(&self, organization: &str) -> Result<Option<(usize, Duration)>, Failure> {
        let (mut count, mut eldest) = (0, Duration::ZERO);
        let labels = format!("{ORGANIZATION_LABEL}={organization},{PHASE_LABEL}=Owned");
        let read = self.each(&labels, |claim| {
            let born = claim.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |born| born.0);
            count += 1;
            eldest =
                eldest.max(Duration::try_from(Timestamp::now().duration_since(born)).unwrap_or_default());
        });
        read.await.map_err(|error| failure("reading the claims", &error))?;
        Ok((count > 0).then_some((count, eldest)))
    }

    async fn has_claims(&self, organization: &str) -> Result<bool, Failure> {
        let params = ListParams::default()
            .labels(&format!("{ORGANIZATION_LABEL}={organization},{}", super::ledger::CLAIMS))
            .limit(1);
        let claims = self.secrets.list_metadata(&params).await;
        Ok(!claims.map_err(|error| failure("reading the claims", &error))?.items.is_empty())
    }
}
