//! Everything that one decision needs. Mirrors `controller::project::gather`.

use std::rc::Rc;
use std::time::Duration;

use composio_operator::domain::claim::{Owner, Record};
use composio_operator::domain::evidence::Settling;
use composio_operator::domain::failure::Failure;
use composio_operator::domain::takeover::TakeOverView;
use composio_operator::domain::world::{ClaimView, Desired, Pass, World};

use super::{sabotage, secrets};
use crate::cluster::{Key, Resource, Secret, namespace_name, resource_name};
use crate::process::SETTLE;
use crate::realm::{Ctx, Realm, Time};

pub(super) struct Gathered {
    /// Begin of the look; the gate counts from here.
    pub(super) begun: Time,
    pub(super) world: World,
    /// The Secret of the wanted name, as it was read.
    pub(super) secret: Option<Secret>,
    pub(super) is_mine: bool,
}

pub(super) async fn gather(
    ctx: &Ctx,
    key: Key,
    object: &Rc<Resource>,
    desired: &Desired,
    pass: &Pass,
) -> Result<Gathered, Failure> {
    let (begun, now) = (ctx.now(), ctx.server_now());
    let name = desired.project_name.as_str();
    let record = ctx.read(|realm| realm.cluster.claims.get(name).cloned()).await?;
    let at = (key.0, object.spec.secret);
    let secret = ctx.read(|realm| realm.cluster.secrets.get(&at).cloned()).await?;
    let record = record.as_ref();
    let is_mine = record.is_some_and(|record| record.claim.owner().uid == desired.uid);
    let (owner, is_held) = match record {
        Some(record) if is_mine => (record.claim.owner().clone(), false),
        Some(record) => {
            (owner(ctx, key, desired, Some(record)).await?, is_held(ctx, record.claim.owner()).await?)
        }
        None => (owner(ctx, key, desired, None).await?, false),
    };
    let looked = ctx.now();
    let settling = match record.filter(|_| is_mine) {
        Some(record) => {
            let settling = ctx.process(|process| process.settling(record, looked, now));
            sabotage::settling(ctx, &record.claim, settling)
        }
        None => Settling { now, settle: SETTLE, seen_for: Duration::ZERO, nothing_for: None },
    };
    let id = record.and_then(|record| record.claim.project_id());
    let gone_for = id.and_then(|id| ctx.process(|process| process.gone_for(id, looked)));
    let known = record.filter(|_| is_mine || !is_held);
    let world = World {
        owner,
        is_held,
        is_in_flight: ctx.process(|process| process.in_flight.contains(name)),
        secret: sabotage::secret(ctx, secrets::view(secret.as_ref(), desired, known)),
        settling,
        unproven_key: None,
        earlier: None,
        is_key_suspected: ctx.process(|process| process.key_suspicions.contains(&desired.uid)),
        superseded_retention: Duration::from_mins(20),
        take_over: TakeOverView { gone_for, ..TakeOverView::default() },
        look: ctx.process(|process| process.look_view(desired, looked)),
        pass: pass.clone(),
        claim: record.map_or(ClaimView::Absent, |record| ClaimView::Present(Box::new(record.clone()))),
    };
    Ok(Gathered { begun, world, secret, is_mine })
}

/// The owner that this resource would write into a claim; the Namespace is read live.
async fn owner(ctx: &Ctx, key: Key, desired: &Desired, record: Option<&Record>) -> Result<Owner, Failure> {
    let uid = ctx.read(|realm| realm.cluster.namespace_uid(key.0).map(ToOwned::to_owned)).await?;
    let uid = uid.ok_or_else(|| Failure::transient("the namespace is gone"))?;
    let owner = Owner {
        namespace: namespace_name(key.0),
        namespace_uid: uid,
        name: resource_name(key),
        uid: desired.uid.clone(),
    };
    Ok(sabotage::owner(ctx, owner, record))
}

/// Whether a claim's owner still exists, by UID; `controller::context::is_held`.
pub(super) async fn is_held(ctx: &Ctx, owner: &Owner) -> Result<bool, Failure> {
    let held = ctx.read(|realm| holds(realm, owner)).await?;
    Ok(sabotage::is_held(ctx, held))
}

fn holds(realm: &Realm, owner: &Owner) -> bool {
    realm.cluster.resources.iter().any(|(key, found)| {
        found.uid == owner.uid
            && namespace_name(key.0) == owner.namespace
            && resource_name(*key) == owner.name
    })
}
