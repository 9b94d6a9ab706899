//! What must have come of it all when the faults have stopped: compared until it is so, or time is up.

use std::collections::{BTreeMap, BTreeSet};

use composio_operator::crd::ComposioProject;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::fleet::{End, Fleet, Wanted};
use super::stage::Stage;
use super::witness::{SeenClaim, Testimony, claims};
use crate::emulator::ProjectState;

/// What is not as it must be, by kind. Empty: all is well.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Two projects for one claim or one name.
    pub duplicates: Vec<String>,
    /// Projects at Composio that no claim knows.
    pub leaks: Vec<String>,
    /// Keys in a claim or a Secret that do not work, and Secrets without the key.
    pub lost_keys: Vec<String>,
    /// What is not Ready, is being deleted for ever, or is not settled.
    pub stuck: Vec<String>,
    /// Projects that are gone and must be there.
    pub destroyed: Vec<String>,
    /// Projects that are there and must be gone.
    pub left_over: Vec<String>,
}

impl Findings {
    /// All of them, each with its kind.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { duplicates, leaks, lost_keys, stuck, destroyed, left_over } = self;
        [
            ("duplicate", duplicates),
            ("leak", leaks),
            ("lost key", lost_keys),
            ("stuck", stuck),
            ("destroyed", destroyed),
            ("left over", left_over),
        ]
        .into_iter()
        .flat_map(|(kind, found)| found.iter().map(move |text| (kind, text.as_str())))
    }

    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }
}

/// Both sides at one time.
struct Sight {
    objects: BTreeMap<(String, String), ComposioProject>,
    secrets: BTreeMap<(String, String), Secret>,
    namespaces: BTreeMap<String, Namespace>,
    claims: BTreeMap<String, SeenClaim>,
    claim_count: usize,
    projects: Vec<ProjectState>,
}

impl Sight {
    async fn take(stage: &Stage) -> kube::Result<Self> {
        let params = ListParams::default();
        let objects = Api::<ComposioProject>::all(stage.client.clone()).list(&params).await?;
        let mut secrets = BTreeMap::new();
        for namespace in &stage.namespaces {
            let listed = Api::<Secret>::namespaced(stage.client.clone(), namespace).list(&params).await?;
            secrets.extend(listed.into_iter().map(|secret| (place(&secret), secret)));
        }
        let namespaces = Api::<Namespace>::all(stage.client.clone()).list(&params).await?;
        let claims = claims(&stage.client).await?;
        Ok(Self {
            objects: objects.into_iter().map(|object| (place(&object), object)).collect(),
            secrets,
            namespaces: namespaces.into_iter().map(|found| (found.name_any(), found)).collect(),
            claim_count: claims.len(),
            claims: claims.into_iter().map(|claim| (claim.name().to_owned(), claim)).collect(),
            projects: stage.control.all_projects(&stage.organization.id),
        })
    }

    fn living(&self) -> impl Iterator<Item = &ProjectState> {
        self.projects.iter().filter(|project| !project.deleted)
    }

    fn living_by_id(&self, id: &str) -> Option<&ProjectState> {
        self.living().find(|project| project.id == id)
    }
}

fn place(object: &impl ResourceExt) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Compares what there is with what is wanted.
pub(super) async fn compare(stage: &Stage, fleet: &Fleet) -> kube::Result<Findings> {
    let sight = Sight::take(stage).await?;
    let mut findings = Findings::default();
    let strangers = stage.strangers();
    if strangers.len() != Stage::strangers_at_first() {
        findings.destroyed.push("a project of somebody else was touched".to_owned());
    }
    both_sides(&sight, &strangers, fleet, &mut findings);
    for wanted in fleet.wanted() {
        is_as_wanted(stage, &sight, wanted, &mut findings);
    }
    is_nothing_else_there(&sight, fleet, &mut findings);
    for (name, (end, uid)) in &fleet.ends {
        if *end == End::Goes {
            is_gone(&sight, name, uid, &mut findings);
        }
    }
    Ok(findings)
}

/// As many projects as claims, each once, each with a key that works. One that was revoked is replaced where a resource asks
/// for it, which is compared there.
fn both_sides(sight: &Sight, strangers: &[String], fleet: &Fleet, findings: &mut Findings) {
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    let claimed: BTreeSet<&str> = sight.claims.values().filter_map(SeenClaim::id).collect();
    for project in sight.living().filter(|project| !strangers.contains(&project.id)) {
        if !names.insert(&project.name) {
            findings.duplicates.push(format!("two projects {}", project.name));
        }
        if !claimed.contains(project.id.as_str()) {
            findings.leaks.push(format!("{} ({}), created {}", project.name, project.id, project.created_at));
        }
    }
    if sight.claims.len() != sight.claim_count {
        findings.duplicates.push("two claims for one name".to_owned());
    }
    for claim in sight.claims.values() {
        let Some(id) = claim.id() else { continue };
        if !ids.insert(id) {
            findings.duplicates.push(format!("two claims for {id}"));
        }
        let project = sight.living_by_id(id);
        if project.is_none() {
            findings.destroyed.push(format!("{} ({id}) stands in a claim", claim.name()));
        }
        let works = |key: &String| project.is_some_and(|project| project.keys.contains(key));
        if !claim.key.as_ref().is_none_or(works) && !fleet.revoked.contains_key(id) {
            findings.lost_keys.push(format!("the key in the claim of {} does not work", claim.name()));
        }
        if claim.phase() == "Owned" && claim.key.is_none() {
            findings.lost_keys.push(format!("the claim of {} has no key", claim.name()));
        }
    }
}

/// A resource that is wanted: Ready with all that it asks for, or held for the reason that it gives.
fn is_as_wanted(stage: &Stage, sight: &Sight, wanted: &Wanted, findings: &mut Findings) {
    let (namespace, name) = (&wanted.namespace, &wanted.name);
    let Some(object) = sight.objects.get(&(namespace.clone(), name.clone())) else {
        findings.stuck.push(format!("{namespace}/{name} is not there"));
        return;
    };
    let status = object.status.clone().unwrap_or_default();
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let reason = ready.map(|ready| ready.reason.as_str()).unwrap_or_default();
    let claim = sight.claims.get(name);
    let lives_in = sight.namespaces.get(namespace).and_then(ResourceExt::uid);
    let is_denied = !stage.grants.contains(name)
        && claim.is_some_and(|claim| Some(claim.text("/owner/namespaceUid")) != lives_in.as_deref());
    let expected = match (is_denied, wanted.spec.is_suspended) {
        (true, _) => "RebindDenied",
        (false, true) => "Suspended",
        (false, false) => "Reconciled",
    };
    // A resource that is suspended may not have come to see whose claim it is.
    let is_met = reason == expected || (is_denied && wanted.spec.is_suspended && reason == "Suspended");
    let is_current = status.observed_generation == object.metadata.generation;
    if object.uid().as_deref() != Some(&wanted.uid) || !is_met || !is_current {
        let message = ready.map(|ready| ready.message.clone()).unwrap_or_default();
        let phase = claim.map_or("no claim", SeenClaim::phase);
        let current = if is_current { "" } else { ", of an old generation" };
        findings
            .stuck
            .push(format!("{namespace}/{name}: {reason}{current} instead of {expected}; {phase}; {message}"));
        return;
    }
    if expected == "Reconciled" {
        is_complete(sight, wanted, object, claim, findings);
    }
}

fn is_complete(
    sight: &Sight,
    wanted: &Wanted,
    object: &ComposioProject,
    claim: Option<&SeenClaim>,
    findings: &mut Findings,
) {
    let name = &wanted.name;
    let status = object.status.clone().unwrap_or_default();
    let shown = status.project.and_then(|project| project.id).unwrap_or_default();
    let claim = claim.filter(|claim| claim.id() == Some(&shown) && claim.text("/owner/uid") == wanted.uid);
    let Some((claim, key)) = claim.and_then(|claim| Some((claim, claim.key.as_ref()?))) else {
        findings.stuck.push(format!("{name} is Ready without a claim of its own"));
        return;
    };
    let secret = (wanted.namespace.clone(), wanted.spec.secret_name(name));
    let data = sight.secrets.get(&secret).and_then(|secret| secret.data.clone()).unwrap_or_default();
    for (entry, value) in wanted.spec.entries(name, key, claim.id().unwrap_or_default()) {
        if data.get(&entry).is_none_or(|found| found.0 != value.as_bytes()) {
            findings.lost_keys.push(format!("{name} is Ready, but entry {entry} of its Secret is wrong"));
        }
    }
    let project = sight.living_by_id(&shown);
    if !project.is_some_and(|project| project.keys.contains(key)) {
        findings.lost_keys.push(format!("{name} is Ready with a key that does not work"));
    }
    let title = project.and_then(|project| project.config.get("display_name")?.as_str());
    if wanted.spec.display_name().is_some_and(|wanted| title != Some(&wanted)) {
        findings.stuck.push(format!("{name} is Ready, but its settings are {title:?}"));
    }
}

/// No resource is left that nobody wants, and no namespace hangs.
fn is_nothing_else_there(sight: &Sight, fleet: &Fleet, findings: &mut Findings) {
    let wanted: BTreeSet<_> =
        fleet.wanted().map(|wanted| (wanted.namespace.clone(), wanted.name.clone())).collect();
    for (place, object) in &sight.objects {
        if !wanted.contains(place) {
            let reason = object.status.iter().flat_map(|status| &status.conditions);
            let reason: Vec<_> = reason.map(|condition| condition.reason.as_str()).collect();
            findings.stuck.push(format!("{}/{} is not gone: {reason:?}", place.0, place.1));
        }
    }
    for (namespace, is_deleted) in fleet.namespaces() {
        if is_deleted && sight.namespaces.contains_key(namespace) {
            findings.stuck.push(format!("namespace {namespace} is not gone"));
        }
    }
    let owners: BTreeSet<_> = sight.objects.values().filter_map(ResourceExt::uid).collect();
    for claim in sight.claims.values() {
        let has_attempts = claim.content["attempts"].as_array().is_some_and(|open| !open.is_empty());
        // A retained claim that has its project is left as it is until somebody takes it up.
        let is_retained = claim.id().is_some() && !owners.contains(claim.text("/owner/uid"));
        if (has_attempts && !is_retained) || claim.phase() == "Deleting" {
            findings.stuck.push(format!("the claim of {} is not settled: {}", claim.name(), claim.phase()));
        }
    }
}

/// A name whose last resource was to take its project with it; unless the claim was never its own. (A project without a
/// claim is a leak in any case.)
fn is_gone(sight: &Sight, name: &str, uid: &str, findings: &mut Findings) {
    let claim = sight.claims.get(name).filter(|claim| claim.text("/owner/uid") == uid);
    if let Some(claim) = claim {
        findings.left_over.push(format!("{name}, which was to be deleted; its claim is {}", claim.phase()));
    }
}

/// Projects that were deleted although nobody had asked for it. `ended`: names whose deletion was asked for at some time.
pub(super) fn destroyed(stage: &Stage, testimony: &Testimony, ended: &BTreeSet<String>) -> Vec<String> {
    let deleted = stage.control.all_projects(&stage.organization.id).into_iter();
    let deleted = deleted.filter(|project| {
        project.deleted && testimony.has_owned(&project.id) && !ended.contains(&project.name)
    });
    deleted.map(|project| format!("{} ({}) was retained", project.name, project.id)).collect()
}
