//! What taking over reads and writes: the project that could be taken up and the key for it, the claim with both, and the
//! look for a project that may be gone. What follows is `domain::plan::adopt`'s and `domain::plan::missing`'s.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};
use tracing::{info, warn};

use super::execute::Work;
use super::prove::{Proof, prove};
use super::publish::still_there;
use crate::composio::ProjectDetail;
use crate::controller::api_error::failure;
use crate::controller::context::NO_PROOF;
use crate::crd::{KEY_ISSUED_ANNOTATION, PROJECT_LABEL};
use crate::domain::answer::CallError;
use crate::domain::budget::Lane;
use crate::domain::claim::{Claim, Origin};
use crate::domain::failure::Failure;
use crate::domain::ids::{ProjectId, claim_name};
use crate::domain::key::{ApiKey, KeyRecord};
use crate::domain::reason::Reason;
use crate::domain::takeover::{Adopt, Candidate, KeySeen, KeySource, Presence, ProvenKey, Seen};
use crate::domain::world::{ClaimView, Desired};

/// A key is listed with the moment in which it was made, and stamped with that of the answer.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(10);

/// The Secret of the wanted name, if it is labelled as this resource's and may hold a key from before the ledger was lost.
/// A label proves nothing: the key has to.
pub(super) fn has_relic(secret: Option<&Secret>, desired: &Desired) -> bool {
    secret.is_some_and(|secret| relic(secret, desired).is_some())
}

fn relic(secret: &Secret, desired: &Desired) -> Option<ApiKey> {
    let is_labelled = secret.labels().get(PROJECT_LABEL) == Some(&desired.name);
    let is_anothers = secret
        .owner_references()
        .iter()
        .any(|owner| owner.controller == Some(true) && owner.uid != desired.uid);
    let key = entry(secret, &desired.secret.entries.api_key)?;
    Some(key).filter(|key| is_labelled && !is_anothers && key.has_form_of_project_key())
}

/// When the key in a Secret was issued: `listed` is the API's word. What the Secret says is taken only where it means the
/// same moment, so that it need not be written again for it: whoever wrote it must not make a key newer than it is.
fn issued_time(listed: Timestamp, secret: &Secret) -> Timestamp {
    let stamp = secret.annotations().get(KEY_ISSUED_ANNOTATION).and_then(|stamp| stamp.parse().ok());
    let is_same = |stamp: &Timestamp| stamp.duration_since(listed).abs() <= SAME_MOMENT;
    stamp.filter(is_same).unwrap_or(listed)
}

fn text<'a>(secret: &'a Secret, entry: &str) -> Option<&'a str> {
    let value = secret.data.as_ref().and_then(|data| data.get(entry))?;
    std::str::from_utf8(&value.0).ok()
}

fn entry(secret: &Secret, entry: &str) -> Option<ApiKey> {
    text(secret, entry).and_then(|text| ApiKey::parse(text).ok())
}

impl Work<'_> {
    /// A look at the project that could be taken up, and at the key for it.
    pub(super) async fn read_candidate(&self, published: Option<&Secret>) -> Result<Candidate, Failure> {
        let is_lost = match &self.world.claim {
            ClaimView::Present(record) => record.claim.published().is_some(),
            ClaimView::Absent | ClaimView::Unreadable(_) => false,
        };
        if let Some(adopt) = self.desired.take_over.spec.adopt.as_ref().filter(|_| !is_lost) {
            return self.adoptable(adopt).await;
        }
        let nothing = Candidate { project: None, key: KeySeen::Unneeded };
        let Some((secret, key)) = published.and_then(|secret| Some((secret, relic(secret, self.desired)?)))
        else {
            return Ok(nothing);
        };
        // A hint that costs one read and saves a walk over the list: the name at Composio decides.
        let id = text(secret, &self.desired.secret.entries.project_id);
        let id = id.and_then(|id| ProjectId::try_from(id.to_owned()).ok());
        let id = match id {
            Some(id) => id,
            None => match self.find_by_name().await? {
                Some(id) => id,
                None => return Ok(nothing),
            },
        };
        self.candidate(&id, Some((secret, &key))).await
    }

    async fn find_by_name(&self) -> Result<Option<ProjectId>, Failure> {
        let listing = self.recent_listing().await.map_err(|error| self.failure(error))?;
        Ok(listing.named(self.desired.project_name.as_str()).map(|found| found.id.clone()))
    }

    async fn adoptable(&self, adopt: &Adopt) -> Result<Candidate, Failure> {
        let KeySource::Secret { name, entry: wanted } = &adopt.source else {
            return self.candidate(&adopt.project_id, None).await;
        };
        let unusable = |words: String| Ok(Candidate { project: None, key: KeySeen::Unusable(words) });
        let api: Api<Secret> = Api::namespaced(self.context.client.clone(), &self.desired.namespace);
        let secret = api.get_opt(name).await;
        let Some(secret) = secret.map_err(|error| failure("reading the Secret of spec.adopt", &error))?
        else {
            return unusable(format!("there is no Secret {name:?} with its key in this namespace"));
        };
        match entry(&secret, wanted) {
            Some(key) if key.has_form_of_project_key() => {
                self.candidate(&adopt.project_id, Some((&secret, &key))).await
            }
            Some(_) => unusable(format!(
                "what Secret {name:?} has in its entry {wanted:?} is no project key: those begin with ak_"
            )),
            None => unusable(format!("Secret {name:?} has no key in an entry {wanted:?}")),
        }
    }

    /// Reads a project by id, and proves the key for it.
    async fn candidate(
        &self,
        id: &ProjectId,
        found: Option<(&Secret, &ApiKey)>,
    ) -> Result<Candidate, Failure> {
        let organization = self.organization;
        let read = organization.client.read_project(&organization.key, id).await;
        let detail = match read {
            // By its form, an id that Composio never made (API 5.3): as good as one that it does not know.
            Err(CallError::Rejected(_)) => None,
            read => read.map_err(|error| self.failure(error))?,
        };
        let Some((detail, created_time)) = detail.and_then(|detail| detail.created_at.map(|at| (detail, at)))
        else {
            return Ok(Candidate { project: None, key: KeySeen::Unneeded });
        };
        let project = Seen {
            id: id.clone(),
            created_time,
            has_name: detail.name.as_deref() == Some(self.desired.project_name.as_str()),
            is_claimed: self.is_claimed_elsewhere(id).await?,
        };
        let key = match found {
            Some((secret, key)) => self.proven(&detail, &project, secret, key).await?,
            None => KeySeen::Unneeded,
        };
        Ok(Candidate { project: Some(project), key })
    }

    /// The words of the API about a key that a tenant wrote are for the log: status must not become an oracle.
    async fn proven(
        &self,
        detail: &ProjectDetail,
        project: &Seen,
        secret: &Secret,
        key: &ApiKey,
    ) -> Result<KeySeen, Failure> {
        let Seen { id, created_time, .. } = project;
        match prove(self.organization, id, key).await {
            Proof::Lives => {
                let fitting = detail.api_keys.iter().filter(|listed| listed.mask.fits(key));
                let listed = fitting.map(|listed| listed.created_at).max().unwrap_or(*created_time);
                let issued_time = issued_time(listed, secret);
                let about = KeyRecord::new(key, issued_time, self.context.ledger.fingerprint_key());
                Ok(KeySeen::Proven(Box::new(ProvenKey { key: key.clone(), about })))
            }
            Proof::Dead | Proof::NotOfThisProject => Ok(KeySeen::Refuted),
            // About the organization's key, not about the one that is proven.
            Proof::Unsure(
                error @ (CallError::Credential(..) | CallError::Forbidden(_) | CallError::Throttled(_)),
            ) => Err(self.failure(error)),
            Proof::Unsure(error) => {
                info!(project.id = %id, %error, "the proof of a key came to nothing");
                Err(Failure::transient("the key of the project to be taken over could not be proven"))
            }
        }
    }

    /// Whether another claim has this project, of whatever ComposioOrganization.
    pub(super) async fn is_claimed_elsewhere(&self, id: &ProjectId) -> Result<bool, Failure> {
        let own = claim_name(&self.desired.organization, &self.desired.project_name);
        let is_claimed = self.context.ledger.is_claimed(id, &own).await;
        is_claimed.map_err(|error| failure("listing the claims", &error))
    }

    /// Writes the claim that takes a project up. Two that do so at once see each other afterwards; both step back.
    pub(super) async fn take_up(&self, claim: &Claim, key: Option<&ProvenKey>) -> Result<(), Failure> {
        still_there(self.context, self.desired).await?;
        let key = key.map(|proven| &proven.key);
        let ledger = &self.context.ledger;
        let written = match &self.world.claim {
            ClaimView::Present(record) => ledger.update(record, claim, key).await,
            ClaimView::Absent => ledger.create(claim, key).await,
            ClaimView::Unreadable(why) => {
                return Err(Failure::terminal(Reason::ClaimUnreadable, why.clone()));
            }
        };
        let written = written.map_err(|error| failure("writing the claim", &error))?;
        let Some(id) = claim.project_id() else {
            return Err(Failure::bug("a claim that takes up no project"));
        };
        if self.is_claimed_elsewhere(id).await? {
            ledger.remove(&written).await.map_err(|error| failure("removing the claim", &error))?;
            return Err(Failure::conflict("two resources took one project over at once"));
        }
        info!(project.id = %id, claim.origin = ?claim.origin(), "a project is taken over");
        if claim.origin() == Some(Origin::Recovered) {
            self.context.metrics.recovered();
        }
        Ok(())
    }

    /// Rule: what another claim holds is not touched, however it came into this one. For a project that our own answer did
    /// not make.
    pub(super) async fn nobody_elses(&self, claim: &Claim) -> Result<(), Failure> {
        let Some(id) = claim.project_id().filter(|_| claim.origin() != Some(Origin::Created)) else {
            return Ok(());
        };
        if !self.is_claimed_elsewhere(id).await? {
            return Ok(());
        }
        warn!(project.id = %id, "the project is in two claims; its keys are not touched");
        Err(Failure::terminal(Reason::NameTaken, "another resource manages it".to_owned()))
    }

    /// Both witnesses about the claim's project.
    pub(super) async fn look_for_project(&self, lane: Lane) -> Result<(ProjectId, Presence), Failure> {
        let record = self.record()?;
        let Some(id) = record.claim.project_id() else {
            return Err(Failure::bug("a look for a project without its id"));
        };
        let (context, organization) = (self.context, self.organization);
        let whose = ObjectRef::new(&self.desired.name).within(&self.desired.namespace);
        if context.awaits_list(organization, id, &whose) {
            return Ok((id.clone(), Presence::Unclear));
        }
        let client = organization.client.in_lane(lane);
        let read = client.read_project(&organization.key, id).await.map_err(|error| self.failure(error))?;
        if read.is_some() {
            context.absences.forget(id);
            return Ok((id.clone(), Presence::There));
        }
        if !organization.proves_absence(&record.claim) {
            return Err(Failure::transient(NO_PROOF));
        }
        let presence = context.listed_presence(organization, id, whose);
        warn!(project.id = %id, ?presence, "the read by id does not know the project");
        Ok((id.clone(), presence))
    }
}
