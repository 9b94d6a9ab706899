//! Each row of the table of answers to a creation.

use serde_json::json;
use testbed::emulator::{Fault, Operation, Point, ThirdPartyProject, View};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World, complete_settings};

fn origin(project: &composio_operator::crd::ComposioProject) -> String {
    let status = project.status.clone().unwrap_or_default();
    status.project.and_then(|project| project.origin).unwrap_or_default()
}

/// The project was made, the answer was lost: it is found by evidence and gets a new key.
async fn a_committed_creation_is_recovered(fault: Fault) {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, fault, 1);
    world.apply("shop", json!({"settings": complete_settings()})).await;
    let shop = world.ready("shop").await;
    assert_eq!(origin(&shop), "Recovered");
    assert_eq!(world.control.count(&organization, Operation::Create), 1, "creations sent");
    assert_eq!(world.control.committed(&organization, Operation::Regenerate), 1, "keys issued");
    assert_eq!(world.control.committed(&organization, Operation::Delete), 0, "deletions");
    world.finish(&[]).await;
}

/// Nothing was made, but nobody said so: after the settle time it is made, once.
async fn an_uncommitted_creation_is_repeated(fault: Fault) {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, fault, 1);
    world.apply("shop", json!({})).await;
    world.reaches(&world.namespace, "shop", "Reconciling", "True", "ResolvingOutcome").await;
    let shop = world.ready("shop").await;
    assert_eq!(origin(&shop), "Created");
    assert_eq!(world.control.count(&organization, Operation::Create), 2, "creations sent");
    assert_eq!(world.control.committed(&organization, Operation::Create), 1, "projects made");
    assert_eq!(world.control.committed(&organization, Operation::Regenerate), 0, "keys issued");
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_after_the_commit_leads_to_one_project() {
    a_committed_creation_is_recovered(Fault::Cut { point: Point::AfterCommit }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_500_after_the_commit_leads_to_one_project() {
    a_committed_creation_is_recovered(Fault::ServerError { point: Point::AfterCommit, status: 500 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn html_after_the_commit_leads_to_one_project() {
    a_committed_creation_is_recovered(Fault::Html { point: Point::AfterCommit, status: 200 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_early_leads_to_one_project() {
    a_committed_creation_is_recovered(Fault::ShortBody).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_half_a_json_leads_to_one_project() {
    a_committed_creation_is_recovered(Fault::CutJson).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_200_without_an_id_leads_to_one_project() {
    a_committed_creation_is_recovered(Fault::WithoutMember { name: "id".to_owned() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_after_the_deadline_leads_to_one_project() {
    let late = Fault::Delay { point: Point::AfterCommit, milliseconds: 5_000 };
    a_committed_creation_is_recovered(late).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_before_the_commit_leads_to_one_project() {
    an_uncommitted_creation_is_repeated(Fault::Cut { point: Point::BeforeCommit }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_500_before_the_commit_leads_to_one_project() {
    an_uncommitted_creation_is_repeated(Fault::ServerError { point: Point::BeforeCommit, status: 500 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_challenge_page_of_the_edge_leads_to_one_project() {
    an_uncommitted_creation_is_repeated(Fault::Html { point: Point::BeforeCommit, status: 403 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_not_followed_and_leads_to_one_project() {
    an_uncommitted_creation_is_repeated(Fault::Redirect).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_409_of_our_own_late_commit_is_recognized_by_evidence() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    // The list is behind: the project is there, and no walk shows it before the second attempt is answered. The first
    // walks fail, so that there are no two empty ones a settle time apart, which would count as a proof of absence.
    let failing = Fault::ServerError { point: Point::BeforeCommit, status: 500 };
    world.control.fault(&organization, Operation::List, failing, 3);
    world.control.freeze_list(&organization);
    world.control.fault(&organization, Operation::Create, Fault::Cut { point: Point::AfterCommit }, 1);
    world.apply("shop", json!({})).await;
    eventually("a second creation is sent", PATIENCE, async || {
        match world.control.count(&organization, Operation::Create) {
            0 | 1 => Err("it is not".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    world.control.set_modes(&organization, |modes| modes.list_view = View::Live);
    let shop = world.ready("shop").await;
    assert_eq!(origin(&shop), "Recovered");
    assert_eq!(world.control.committed(&organization, Operation::Create), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_409_of_somebody_elses_project_is_reported_and_the_project_left_alone() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let theirs = world.control.create_project(&organization, ThirdPartyProject::named("shop").with_key());
    world.apply("shop", json!({})).await;
    let shop = world.not_ready("shop", "NameTaken").await;
    let text = serde_json::to_string(&shop).unwrap();
    let year = theirs.created_at.to_string()[..10].to_owned();
    assert!(text.contains(&year), "the message has no time of creation: {text}");
    assert!(!text.contains(&theirs.id), "the status shows the id of somebody else's project");
    assert_eq!(world.control.project(&theirs.id).unwrap().keys, theirs.keys, "their key was touched");
    world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_that_somebody_else_made_during_an_open_attempt_is_not_taken() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    // Nothing was made, and in the same second somebody makes a project of that name and uses it.
    world.control.fault(&organization, Operation::Create, Fault::Cut { point: Point::BeforeCommit }, 1);
    world.apply("shop", json!({})).await;
    world.reaches(&world.namespace, "shop", "Reconciling", "True", "ResolvingOutcome").await;
    let theirs = world.control.create_project(&organization, ThirdPartyProject::named("shop").with_key());
    world.control.add_project_key(&theirs.id);
    world.not_ready("shop", "NameTaken").await;
    assert_eq!(world.control.committed(&organization, Operation::Regenerate), 0, "their keys were killed");
    world.finish(&[&theirs.id]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_the_api_keeps_reserved_is_reported() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.set_modes(&organization, |modes| modes.deleted_names_reserved = true);
    let theirs = world.control.create_project(&organization, ThirdPartyProject::named("shop"));
    world.control.delete_project(&theirs.id);
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "NameTaken").await;
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_400_is_reported_in_the_words_of_the_api_and_leaves_nothing_behind() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    let fault = Fault::BadRequest { message: "name: this word is not welcome".to_owned() };
    world.control.fault(&organization, Operation::Create, fault, 1);
    world.apply("shop", json!({})).await;
    let shop = world.not_ready("shop", "SpecRejected").await;
    assert!(serde_json::to_string(&shop).unwrap().contains("this word is not welcome"));
    world.poke("shop").await;
    world.ready("shop").await;
    assert_eq!(world.control.committed(&organization, Operation::Create), 1);
    world.finish(&[]).await;
}

/// The key is refused once, nothing is made; a probe finds it good again, and the project follows by itself.
async fn a_refused_key_pauses_the_organization(fault: Fault) {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, fault, 1);
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "OrganizationNotReady").await;
    world.ready("shop").await;
    assert_eq!(world.control.count(&organization, Operation::Create), 2);
    assert_eq!(world.control.committed(&organization, Operation::Create), 1);
    world.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_opens_the_breaker_and_the_project_waits_for_the_organization() {
    a_refused_key_pauses_the_organization(Fault::InvalidOrganizationKey).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_403_opens_the_breaker_and_the_project_waits_for_the_organization() {
    a_refused_key_pauses_the_organization(Fault::Forbidden).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_address_opens_the_breaker_and_the_project_waits_for_the_organization() {
    a_refused_key_pauses_the_organization(Fault::AccessDenied).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_pauses_the_organization_and_the_project_follows_afterwards() {
    let world = World::start().await;
    let organization = world.organization.id.clone();
    world.control.fault(&organization, Operation::Create, Fault::RateLimited { retry_after_seconds: 3 }, 1);
    world.apply("shop", json!({})).await;
    world.not_ready("shop", "Throttled").await;
    world.ready("shop").await;
    assert_eq!(world.control.count(&organization, Operation::Create), 2);
    world.finish(&[]).await;
}
