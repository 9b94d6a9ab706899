//! What the scenarios share: a world with a limit of its own, and what the emulator's journal says of rates.

use std::collections::BTreeMap;
use std::time::Duration;

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::ListParams;
use serde_json::{Value, json};
use testbed::emulator::{Entry, Modes, Outcome};
use testbed::eventually::eventually;
use testbed::world::World;

/// A world whose organization has such modes, with a running operator. `spec` goes into the ComposioOrganization.
pub(crate) async fn world_with(spec: Value, change: impl FnOnce(&mut Modes)) -> World {
    let mut world = World::without_operator().await;
    world.control.set_modes(&world.organization.id, change);
    set_spec(&world, spec).await;
    world.observe_interval = Duration::from_mins(10);
    world.start_operator().await;
    world.organization_ready("default").await;
    world
}

/// Applies the ComposioOrganization with this in its spec.
pub(crate) async fn set_spec(world: &World, spec: Value) {
    let key = world.organization.key.clone();
    world.add_organization("default", &key, spec).await;
}

pub(crate) async fn organization(world: &World) -> ComposioOrganization {
    let api: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    api.get("default").await.unwrap()
}

/// Applies so many projects.
pub(crate) async fn apply_many(world: &World, prefix: &str, count: usize, spec: &Value) {
    for number in 0..count {
        world.apply(&format!("{prefix}-{number}"), spec.clone()).await;
    }
}

/// How many projects of the world's namespace have `Ready` with this status and reason.
async fn count(world: &World, status: &str, reason: &str) -> Result<usize, String> {
    let projects = world.projects().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let is_so = |project: &&ComposioProject| {
        let conditions = project.status.iter().flat_map(|status| &status.conditions);
        conditions
            .into_iter()
            .any(|found| found.type_ == "Ready" && found.status == status && found.reason == reason)
    };
    Ok(projects.items.iter().filter(is_so).count())
}

/// Waits until so many projects have `Ready` with this status and reason.
pub(crate) async fn reach(world: &World, number: usize, status: &str, reason: &str) {
    eventually(&format!("{number} are {status}, {reason}"), Duration::from_mins(4), async || {
        match count(world, status, reason).await? {
            found if found == number => Ok(()),
            found => Err(format!("{found} are")),
        }
    })
    .await;
}

/// Asks for a look at the organization, and waits until it has probed.
pub(crate) async fn probed(world: &World) {
    let mark = world.control.mark();
    let value = uuid::Uuid::new_v4().to_string();
    let object = json!({"metadata": {"annotations": {"composio.dev/reconcile-requested-at": value}}});
    let api: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    let patch = kube::api::Patch::Merge(object);
    api.patch("default", &kube::api::PatchParams::default(), &patch).await.unwrap();
    eventually("the organization is probed", testbed::world::PATIENCE, async || {
        let is_answered = |entry: &Entry| is_probe(entry) && matches!(entry.outcome, Outcome::Answered(_));
        match world.control.journal_since(mark).iter().any(is_answered) {
            true => Ok(()),
            false => Err("it is not".to_owned()),
        }
    })
    .await;
}

/// What the operator believes to be left of the limit.
pub(crate) async fn remaining(world: &World) -> Option<u32> {
    let page = world.metrics().await;
    let line = page.lines().find(|line| line.starts_with("composio_operator_budget_remaining{"))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// Others use so much of the limit in a new window, and the operator learns of it.
pub(crate) async fn burn(world: &World, requests: u32) {
    let organization = &world.organization.id;
    world.control.reset_budget(organization);
    world.control.burn_budget(organization, requests);
    probed(world).await;
    let limit = world.control.modes(organization).rate_limit.unwrap_or_default();
    eventually("the operator has seen the answer", testbed::world::PATIENCE, async || {
        let left = remaining(world).await;
        let is_known = left.is_some_and(|left| left <= limit - requests);
        is_known.then_some(()).ok_or_else(|| format!("it believes in {left:?}"))
    })
    .await;
}

pub(crate) fn is_probe(entry: &Entry) -> bool {
    entry.path.ends_with("/list?limit=1")
}

/// How many were answered by 429.
pub(crate) fn refused(entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| entry.outcome == Outcome::Answered(429)).count()
}

/// The most of these requests that lie in a time of this length.
pub(crate) fn most_within<'a>(entries: impl IntoIterator<Item = &'a Entry>, length: SignedDuration) -> usize {
    let times: Vec<Timestamp> = entries.into_iter().map(|entry| entry.time).collect();
    let within = |(at, begin): (usize, &Timestamp)| {
        times[at..].iter().take_while(|time| time.duration_since(*begin) < length).count()
    };
    times.iter().enumerate().map(within).max().unwrap_or_default()
}

/// Prints how many calls there were in each second.
pub(crate) fn print_rates(what: &str, entries: &[Entry]) {
    let Some(begin) = entries.first().map(|entry| entry.time) else { return };
    let mut rates = BTreeMap::<i64, usize>::new();
    for entry in entries {
        *rates.entry(entry.time.duration_since(begin).as_secs()).or_default() += 1;
    }
    let most = rates.values().max().copied().unwrap_or_default();
    let rates: Vec<String> = rates.iter().map(|(second, count)| format!("{second}s:{count}")).collect();
    println!("{what}: {} calls, at most {most} in a second; by second {}", entries.len(), rates.join(" "));
}
