//! Namespaces that are deleted with everything in them, together with the organization's key, in random order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use composio_operator::crd::{ComposioOrganization, ComposioProject};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use testbed::emulator::{Operation, Organization, OrganizationOptions};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use crate::shared::{always, id, ledger};

const ROUNDS: usize = 20;
const PROJECTS: usize = 20;
const POLICIES: [&str; 3] = ["Retain", "Delete", "DeleteAndRevoke"];

async fn delete_namespace(world: &World, name: &str) {
    Api::<Namespace>::all(world.client.clone()).delete(name, &DeleteParams::default()).await.unwrap();
}

async fn namespace_gone(world: &World, name: &str) {
    let api: Api<Namespace> = Api::all(world.client.clone());
    eventually(&format!("namespace {name} is gone"), PATIENCE * 2, async || {
        match api.get_opt(name).await.map_err(|error| error.to_string())? {
            None => Ok(()),
            Some(found) => Err(format!("{:?}", found.status)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminating_namespace_takes_along_what_is_to_be_deleted_and_nothing_else() {
    let mut world = World::without_operator().await;
    let team = world.add_namespace().await;
    world.start_operator().await;
    world.organization_ready("default").await;
    for policy in POLICIES {
        let name = policy.to_lowercase();
        world.apply_in(&team, &name, json!({"deletionPolicy": policy})).await;
    }
    let kept = id(&world.ready_in(&team, "retain").await);
    world.ready_in(&team, "delete").await;
    world.ready_in(&team, "deleteandrevoke").await;
    delete_namespace(&world, &team).await;
    namespace_gone(&world, &team).await;
    assert_eq!(world.remote_ids(&world.organization.id), [kept].into());
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_whose_deletion_is_blocked_says_so_on_the_resource_and_goes_when_it_may() {
    let mut world = World::without_operator().await;
    let team = world.add_namespace().await;
    world.start_operator().await;
    world.organization_ready("default").await;
    world.apply_in(&team, "shop", json!({"deletionPolicy": "Delete"})).await;
    world.ready_in(&team, "shop").await;
    always(&world, Operation::Delete, testbed::emulator::Fault::Forbidden);
    delete_namespace(&world, &team).await;
    world.reaches(&team, "shop", "Stalled", "True", "DeletionBlocked").await;
    world.apply_in(&team, "shop", json!({"deletionPolicy": "Retain"})).await;
    namespace_gone(&world, &team).await;
    assert_eq!(world.control.projects(&world.organization.id).len(), 1, "it was retained");
    world.finish(&[]).await;
}

/// Numbers that one seed determines (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// A namespace with its organization.
struct Round {
    namespace: String,
    name: String,
    organization: Organization,
    policies: Vec<&'static str>,
    deletions: Vec<Deletion>,
}

#[derive(Debug, Clone, Copy)]
enum Deletion {
    Namespace,
    KeySecret,
    Organization,
    Project(usize),
}

impl Round {
    /// Namespace, key Secret and ComposioOrganization go in any order, and up to five of the projects by themselves before, between or after.
    fn new(namespace: String, name: String, organization: Organization, random: &mut Random) -> Self {
        let policies = (0..PROJECTS).map(|_| POLICIES[random.below(3)]).collect();
        let mut deletions = vec![Deletion::Namespace, Deletion::KeySecret, Deletion::Organization];
        deletions.extend((0..random.below(6)).map(|_| Deletion::Project(random.below(PROJECTS))));
        random.shuffle(&mut deletions);
        Self { namespace, name, organization, policies, deletions }
    }

    /// Applies the projects, waits until they are Ready, and returns the id of each.
    async fn prepare(&self, world: &World) -> BTreeMap<usize, String> {
        for (number, policy) in self.policies.iter().enumerate() {
            let organization = json!({"name": self.name});
            let spec = json!({"deletionPolicy": policy, "organizationRef": organization});
            world.apply_in(&self.namespace, &format!("shop-{number}"), spec).await;
        }
        let mut ids = BTreeMap::new();
        for number in 0..PROJECTS {
            ids.insert(number, id(&world.ready_in(&self.namespace, &format!("shop-{number}")).await));
        }
        ids
    }

    async fn delete(&self, world: &World) {
        for deletion in &self.deletions {
            match deletion {
                Deletion::Namespace => delete_namespace(world, &self.namespace).await,
                Deletion::KeySecret => {
                    let name = format!("{}-key", self.name);
                    ledger(world).delete(&name, &DeleteParams::default()).await.unwrap();
                }
                Deletion::Organization => {
                    let api: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
                    api.delete(&self.name, &DeleteParams::default()).await.unwrap();
                }
                Deletion::Project(number) => {
                    let api: Api<ComposioProject> = Api::namespaced(world.client.clone(), &self.namespace);
                    let deleted = api.delete(&format!("shop-{number}"), &DeleteParams::default()).await;
                    // It may be gone: by itself, or with its namespace.
                    assert!(
                        deleted.is_ok()
                            || matches!(deleted, Err(kube::Error::Api(status)) if status.code == 404)
                    );
                }
            }
        }
    }

    /// What is retained is there, with a key that works; everything else is deleted, once.
    async fn check(&self, world: &World, ids: &BTreeMap<usize, String>) {
        let is_kept = |number: &usize| self.policies[*number] == "Retain";
        let kept: BTreeSet<String> =
            ids.iter().filter(|(number, _)| is_kept(number)).map(|(_, id)| id.clone()).collect();
        assert_eq!(world.remote_ids(&self.organization.id), kept, "{:?}", self.deletions);
        let deletions = world.control.committed(&self.organization.id, Operation::Delete);
        assert_eq!(deletions, PROJECTS - kept.len(), "{:?}", self.deletions);
        let revoked = world.control.all_projects(&self.organization.id);
        let revoked = revoked.iter().filter(|project| project.revoke_job_id.is_some()).count();
        assert_eq!(revoked, self.policies.iter().filter(|policy| **policy == "DeleteAndRevoke").count());
        let claims = world.claims().await;
        for claim in claims.all().filter(|claim| claim["organization"] == self.name.as_str()) {
            assert_eq!(claim["phase"], "Owned", "{claim}");
            assert!(kept.contains(claim["projectId"].as_str().unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_and_their_organizations_go_in_any_order_and_only_what_is_to_be_deleted_is() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::try_from(now % 1_000_000_007).unwrap());
    println!("SEED={seed} repeats this order");
    let (mut random, mut rounds) = (Random(seed), Vec::new());
    let mut world = World::without_operator().await;
    for number in 0..ROUNDS {
        let (namespace, name) = (world.add_namespace().await, format!("company-{number}"));
        let organization = world.control.add_organization(OrganizationOptions::named(&name));
        let no_brake = json!({"limits": {"deletionsPerHour": 0}});
        world.add_organization(&name, &organization.key, no_brake).await;
        rounds.push(Round::new(namespace, name, organization, &mut random));
    }
    world.start_operator().await;
    let ids = join_all(rounds.iter().map(|round| round.prepare(&world))).await;
    join_all(rounds.iter().map(|round| round.delete(&world))).await;
    for (round, ids) in rounds.iter().zip(&ids) {
        namespace_gone(&world, &round.namespace).await;
        round.check(&world, ids).await;
    }
    let api: Api<ComposioOrganization> = Api::namespaced(world.client.clone(), &world.system);
    eventually("no organization is left but the world's own", PATIENCE, async || {
        let left = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let names: Vec<_> = left.iter().map(ResourceExt::name_any).collect();
        if names == ["default"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    world.finish(&[]).await;
}
