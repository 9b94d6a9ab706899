//! Gather: everything that one decision needs, read live. No write, and no remote call.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt};

use super::adopt;
use crate::composio::BootInstant;
use crate::controller::api_error::failure;
use crate::controller::context::Context;
use crate::controller::secrets::{self, UnprovenKey};
use crate::crd::ComposioProject;
use crate::domain::claim::{Owner, Published, Record};
use crate::domain::evidence::Settling;
use crate::domain::failure::Failure;
use crate::domain::ids::OrganizationId;
use crate::domain::plan::superseded_left;
use crate::domain::takeover::TakeOverView;
use crate::domain::world::{ClaimView, Desired, Pass, SecretView, SettingsView, World};

/// The world, and what the writes need of it beyond the decision.
pub(super) struct Gathered {
    /// Begin of the look. What is announced on its ground is dated by it, so the gate counts from here.
    pub(super) begun: BootInstant,
    pub(super) world: World,
    /// The Secret of the wanted name, as it was read.
    pub(super) secret: Option<Secret>,
    /// The key in it that the claim does not know.
    pub(super) unproven_key: Option<UnprovenKey>,
}

/// What the last action of this pass makes known without another read: what it has written itself, or what it had no hand
/// in. Whatever is written on its ground names the version, and is refused if somebody else was faster.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) claim: Option<ClaimView>,
    pub(super) secret: KeptSecret,
}

/// The Secret of the wanted name, where it need not be read.
#[derive(Default)]
pub(super) enum KeptSecret {
    #[default]
    NotKept,
    Absent,
    Present(Box<Secret>),
}

impl From<Option<Secret>> for KeptSecret {
    fn from(secret: Option<Secret>) -> Self {
        secret.map_or(Self::Absent, |secret| Self::Present(Box::new(secret)))
    }
}

/// What the report needs to know of the last look.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) desired: Option<Desired>,
    pub(super) record: Option<Record>,
    pub(super) secret: Option<SecretView>,
    pub(super) organization_id: Option<OrganizationId>,
    /// The resource, where this pass has written its metadata or read it again.
    pub(super) object: Option<ComposioProject>,
    /// When a Secret that was renamed away is to be removed.
    pub(super) superseded_left: Option<Duration>,
    /// How long until the next look at the settings.
    pub(super) look_left: Option<Duration>,
    /// This pass has looked at the settings, and was answered by Composio.
    pub(super) has_looked: bool,
    /// Names of the members that somebody else had changed and that were put back.
    pub(super) put_back: Option<String>,
    /// Whose claim it is, where it is another resource's.
    pub(super) holder: Option<Holder>,
}

/// Who holds the claim that a resource waits for.
pub(super) struct Holder {
    pub(super) claim_name: String,
    pub(super) uid: String,
}

impl Facts {
    /// Notes a look.
    pub(super) fn saw(&mut self, desired: &Desired, world: &World) {
        self.desired = Some(desired.clone());
        self.secret = Some(world.secret.clone());
        self.organization_id.clone_from(&desired.organization_id);
        self.superseded_left = None;
        self.has_looked = world.pass.has_looked_at_settings();
        let is_put_back = matches!(&world.pass.settings, SettingsView::Seen { is_patched: true, .. });
        self.put_back = Some(world.pass.drifted.fields()).filter(|fields| is_put_back && !fields.is_empty());
        (self.record, self.holder) = match &world.claim {
            ClaimView::Present(record) if record.claim.owner().uid == desired.uid => {
                self.superseded_left = superseded_left(world, &record.claim);
                (Some((**record).clone()), None)
            }
            ClaimView::Present(record) => {
                let (claim_name, uid) = (record.claim.name(), record.claim.owner().uid.clone());
                (None, Some(Holder { claim_name, uid }))
            }
            ClaimView::Absent | ClaimView::Unreadable(_) => (None, None),
        };
    }
}

/// What is known before a look.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// The Secret that the status calls published.
    pub(super) bound_to: Option<&'a str>,
    /// Distance between two looks at the settings.
    pub(super) settings_interval: Duration,
}

/// Looks at claim, Secret and, where the claim is not this resource's, at namespace and holder. `now` is server time at
/// `begun`.
pub(super) async fn gather(
    context: &Context,
    begun: BootInstant,
    now: Timestamp,
    desired: &Desired,
    pass: &Pass,
    known: Known<'_>,
    kept: Kept,
) -> Result<Gathered, Failure> {
    let claim_name = crate::domain::ids::claim_name(&desired.organization, &desired.project_name);
    let claim = match kept.claim {
        Some(claim) => claim,
        None => {
            context.ledger.get(&claim_name).await.map_err(|error| failure("reading the claim", &error))?
        }
    };
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &desired.namespace);
    let reading = |error: kube::Error| failure("reading the Secret", &error);
    let secret = match kept.secret {
        KeptSecret::Present(secret) => Some(*secret),
        KeptSecret::Absent => None,
        KeptSecret::NotKept => api.get_opt(&desired.secret.name).await.map_err(reading)?,
    };
    let record = match &claim {
        ClaimView::Present(record) => Some(&**record),
        ClaimView::Absent | ClaimView::Unreadable(_) => None,
    };
    let is_mine = record.is_some_and(|record| record.claim.owner().uid == desired.uid);
    let (owner, is_held) = match record {
        Some(record) if is_mine => (record.claim.owner().clone(), false),
        Some(record) => (owner(context, desired).await?, context.is_held(record.claim.owner()).await?),
        None => (owner(context, desired).await?, false),
    };
    let settle = context.limits.settle();
    let settling = match record.filter(|_| is_mine) {
        Some(record) => context.sightings.settling(record, now, settle),
        None => Settling { now, settle, seen_for: Duration::ZERO, nothing_for: None },
    };
    let mine = record.filter(|_| is_mine);
    let unproven_key = mine.zip(secret.as_ref());
    let unproven_key =
        unproven_key.and_then(|(record, secret)| secrets::unproven_key(secret, desired, record));
    let is_remembered = secret.as_ref().filter(|_| is_mine);
    let is_remembered =
        is_remembered.is_some_and(|secret| context.publications.remembers(&desired.uid, secret));
    let view = secrets::view(secret.as_ref(), desired, record.filter(|_| is_mine || !is_held), is_remembered);
    note(context, desired, secret.as_ref(), &view);
    let is_vacant = record.is_none_or(|record| record.claim.is_vacant());
    let project_id = record.and_then(|record| record.claim.project_id());
    let take_over = TakeOverView {
        has_relic: is_vacant && adopt::has_relic(secret.as_ref(), desired),
        gone_for: project_id.and_then(|id| context.absences.gone_for(id)),
        is_doubted: project_id.is_some_and(|id| context.absences.get(id).is_some()),
    };
    let world = World {
        take_over,
        owner,
        is_held,
        is_in_flight: context.in_flight.contains(&claim_name),
        secret: view,
        unproven_key: unproven_key.as_ref().map(|found| found.version.clone()),
        earlier: earlier(&api, desired, mine, known.bound_to).await?,
        is_key_suspected: context.key_suspicions.has(&desired.uid),
        superseded_retention: context.superseded_retention,
        settling,
        look: context.looks.view(desired, known.settings_interval),
        pass: pass.clone(),
        claim,
    };
    Ok(Gathered { begun, world, secret, unproven_key })
}

/// What the watch is told of a Secret that is in order.
pub(super) fn note(context: &Context, desired: &Desired, secret: Option<&Secret>, view: &SecretView) {
    if let (Some(secret), SecretView::Ours { is_current: true, .. }) = (secret, view)
        && context.publications.found(&desired.uid, secret)
    {
        context.wake_project(&desired.namespace, &desired.name);
    }
}

/// The Secret that the status calls published, where the claim does not know it yet and the spec has another name now.
/// That it is ours, its own content says: the status is a hint that costs a read.
async fn earlier(
    api: &Api<Secret>,
    desired: &Desired,
    mine: Option<&Record>,
    bound_to: Option<&str>,
) -> Result<Option<Published>, Failure> {
    let Some(record) = mine.filter(|record| record.key.is_some() && record.claim.published().is_none())
    else {
        return Ok(None);
    };
    let Some(name) = bound_to.filter(|name| *name != desired.secret.name) else {
        return Ok(None);
    };
    let found =
        api.get_opt(name).await.map_err(|error| failure("reading the Secret of the earlier name", &error))?;
    let found = found.filter(|found| secrets::is_ours(found, desired, record));
    Ok(found.and_then(|found| Some(Published { name: name.to_owned(), uid: found.uid()? })))
}

/// The owner that this resource would write into a claim. The Namespace is read live, after the resource: if it was
/// made again meanwhile, the resource is gone and its writes are refused.
async fn owner(context: &Context, desired: &Desired) -> Result<Owner, Failure> {
    Ok(Owner {
        namespace: desired.namespace.clone(),
        namespace_uid: context.uid_in_scope(&desired.namespace, &desired.organization).await?,
        name: desired.name.clone(),
        uid: desired.uid.clone(),
    })
}
