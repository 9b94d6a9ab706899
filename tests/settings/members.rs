//! Which members are sent and which are not: only what somebody states is managed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use testbed::emulator::{Operation, OrganizationOptions, Plan};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};

use super::scene::{every_member, has, id, made, members, remembered};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_data_retention_is_not_switched_off_by_a_member_that_nobody_states() {
    let world = World::start().await;
    let options = OrganizationOptions { plan: Plan::Enterprise, ..OrganizationOptions::named("big") };
    let big = world.control.add_organization(options);
    world.add_organization("big", &big.key, json!({})).await;
    let settings = json!({"is2FAEnabled": false, "maskSecretKeysInConnectedAccount": false});
    let spec = |settings: &Value| json!({"organizationRef": {"name": "big"}, "settings": settings});
    let shop = made(&world, "shop", spec(&settings)).await;
    let plain = made(&world, "plain", json!({"organizationRef": {"name": "big"}})).await;
    has(&world, &shop, "is_2FA_enabled", &json!(false)).await;
    for id in [&shop, &plain] {
        has(&world, id, "log_visibility_setting", &json!("dont_store_data")).await;
    }
    let sent: BTreeSet<String> =
        world.control.journal().into_iter().flat_map(|entry| entry.settings).collect();
    assert!(!sent.is_empty() && !sent.contains("log_visibility_setting"), "{sent:?}");
    // Who states it, gets it.
    let mut stated = settings.clone();
    stated["logVisibilitySetting"] = json!("show_all");
    world.apply("shop", spec(&stated)).await;
    has(&world, &shop, "log_visibility_setting", &json!("show_all")).await;
    world.ready("shop").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_removed_stays_as_it_is_and_is_not_changed_when_it_comes_back() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let shop = made(&world, "shop", json!({"settings": every_member()})).await;
    let mut without = every_member();
    without.as_object_mut().unwrap().remove("displayName");
    world.apply("shop", json!({"settings": without})).await;
    eventually("the claim does not know it any more", PATIENCE, async || {
        let known = remembered(&world, "shop").await;
        if known == without { Ok(()) } else { Err(known.to_string()) }
    })
    .await;
    has(&world, &shop, "display_name", &json!("Shop")).await;
    world.apply("shop", json!({"settings": every_member()})).await;
    world.ready("shop").await;
    assert_eq!(remembered(&world, "shop").await, every_member());
    assert_eq!(world.control.count(&organization, Operation::ReadSettings), 1, "it is read, not assumed");
    assert_eq!(world.control.count(&organization, Operation::PatchSettings), 0);
    world.finish(&[]).await;
}

/// The same, beginning elsewhere.
fn rotated<T, const N: usize>(mut all: [T; N], begin: usize) -> [T; N] {
    all.rotate_left(begin);
    all
}

/// Some members with their wanted values.
fn some(random: &mut fastrand::Rng) -> Value {
    let chosen = members().into_iter().filter(|_| random.bool());
    Value::Object(chosen.map(|(field, _, wanted, _)| (field.to_owned(), wanted)).collect::<Map<_, _>>())
}

fn stated(settings: &Value) -> impl Iterator<Item = &'static str> {
    let settings = settings.clone();
    members().into_iter().filter(move |(field, ..)| settings.get(field).is_some()).map(|(_, wire, ..)| wire)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_random_specs_and_defaults_no_unmanaged_member_is_ever_sent() {
    let seed = std::env::var("SETTINGS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SETTINGS_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let world = World::start().await;
    // By id: what each project was ever told to manage, and what nobody but the third party has touched.
    let mut managed: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut theirs: BTreeMap<(String, &str), Value> = BTreeMap::new();
    for number in 0..3 {
        let name = format!("organization-{number}");
        let organization = world.control.add_organization(OrganizationOptions::named(&name));
        let defaults = some(&mut random);
        let spec = json!({"projectDefaults": {"settings": defaults}});
        world.add_organization(&name, &organization.key, spec).await;
        for shop in 0..6 {
            let shop = format!("shop-{number}-{shop}");
            for round in 0..3 {
                let settings = some(&mut random);
                let spec = json!({"organizationRef": {"name": name}, "settings": settings});
                world.apply(&shop, spec).await;
                let id = id(&world.ready(&shop).await);
                let known = managed.entry(id.clone()).or_default();
                known.extend(stated(&settings).chain(stated(&defaults)));
                let [(_, wire, _, other), ..] = rotated(members(), random.usize(..8));
                if round < 2 {
                    world.control.set_setting(&id, wire, other.clone());
                    theirs.insert((id, wire), other);
                }
            }
        }
    }
    let journal = world.control.journal();
    let sent: Vec<_> = journal.iter().filter(|entry| !entry.settings.is_empty()).collect();
    assert!(sent.len() > 10, "hardly anything was sent");
    for entry in sent {
        let known = &managed[entry.project_id.as_deref().unwrap()];
        let unmanaged: Vec<_> =
            entry.settings.iter().filter(|member| !known.contains(member.as_str())).collect();
        assert!(unmanaged.is_empty(), "SETTINGS_SEED={seed}: {unmanaged:?} were sent: {entry:?}");
    }
    for ((id, wire), value) in theirs.iter().filter(|((id, wire), _)| !managed[id].contains(wire)) {
        let found = world.control.project(id).unwrap().config.get(*wire).cloned().unwrap_or_default();
        assert_eq!(found, *value, "SETTINGS_SEED={seed}: {wire} of {id}");
    }
    world.finish(&[]).await;
}
