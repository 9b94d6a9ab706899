//! The ledger: one Secret per claim in the operator's namespace, and the header. Every write is a create, an update with
//! `resourceVersion`, or a delete with preconditions; what the claims say is `domain::claim`'s.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, PartialObjectMeta, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};

use super::api_error::is_not_found;
use super::header;
use crate::domain::claim::{Claim, Phase, Record, VERSION};
use crate::domain::ids::ProjectId;
use crate::domain::key::{ApiKey, FingerprintKey};
use crate::domain::world::ClaimView;

/// Type of the Secret that is a claim, in the operator's namespace.
pub const CLAIM_TYPE: &str = "composio.dev/project-claim";
/// Label of claims and tombstones: Creating, KeyPending, Owned or Deleting; Deleted of a tombstone.
pub const PHASE_LABEL: &str = "composio.dev/phase";
/// Annotation of every claim: UID of the owner, for those who see metadata only.
pub const OWNER_UID_ANNOTATION: &str = "composio.dev/owner-uid";
/// Annotation of every claim: name of the ComposioProject that it belongs to.
pub(super) const OWNER_NAME_ANNOTATION: &str = "composio.dev/owner-name";
/// Label of claims and tombstones: name of the ComposioOrganization.
pub(super) const ORGANIZATION_LABEL: &str = "composio.dev/organization";
/// Label of claims and tombstones: namespace of the ComposioProject that it belongs to.
pub(super) const OWNER_NAMESPACE_LABEL: &str = "composio.dev/owner-namespace";
/// Selects claims, without tombstones.
pub(super) const CLAIMS: &str = "composio.dev/phase,composio.dev/phase!=Deleted";
/// Annotation of claims: id of the project at Composio, once known.
pub(super) const PROJECT_ID_ANNOTATION: &str = "composio.dev/project-id";
/// Annotation of claims: name of the project at Composio.
const PROJECT_NAME_ANNOTATION: &str = "composio.dev/project-name";
pub(super) const CLAIM_ENTRY: &str = "claim.json";
const KEY_ENTRY: &str = "apiKey";
/// Most records of one answer.
const PAGE: u32 = 250;
/// Name under which this program writes.
pub const FIELD_MANAGER: &str = "composio-operator";

/// Parameters of every create and update.
pub fn post_params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    pub(super) secrets: Api<Secret>,
    fingerprint_key: FingerprintKey,
}

impl Ledger {
    /// Opens the ledger of a namespace; makes its header where there is none.
    pub async fn open(client: Client, namespace: &str) -> anyhow::Result<Self> {
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let (fingerprint_key, _) = header::load(&secrets, None).await?;
        Ok(Self { secrets, fingerprint_key: FingerprintKey::new(fingerprint_key) })
    }

    /// The secret that fingerprints are made with.
    pub fn fingerprint_key(&self) -> &FingerprintKey {
        &self.fingerprint_key
    }

    /// One claim, read live.
    pub async fn get(&self, name: &str) -> Result<ClaimView, kube::Error> {
        Ok(self.secrets.get_opt(name).await?.map_or(ClaimView::Absent, |secret| read(&secret)))
    }

    /// Creates a claim; `AlreadyExists` where somebody was faster.
    pub async fn create(&self, claim: &Claim, key: Option<&ApiKey>) -> Result<Record, kube::Error> {
        let written = self.secrets.create(&post_params(), &secret(claim, key)?).await?;
        Ok(record(claim, key, &written))
    }

    /// Replaces a claim, if it is still as `record` has it.
    pub async fn update(
        &self,
        record_now: &Record,
        claim: &Claim,
        key: Option<&ApiKey>,
    ) -> Result<Record, kube::Error> {
        let mut secret = secret(claim, key)?;
        secret.metadata.resource_version = Some(record_now.resource_version.clone());
        secret.metadata.uid = Some(record_now.uid.clone());
        let written = self.secrets.replace(&claim.name(), &post_params(), &secret).await?;
        Ok(record(claim, key, &written))
    }

    /// Removes a claim, if it is still as `record` has it.
    pub async fn remove(&self, record: &Record) -> Result<(), kube::Error> {
        let preconditions = Preconditions {
            uid: Some(record.uid.clone()),
            resource_version: Some(record.resource_version.clone()),
        };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.secrets.delete(&record.claim.name(), &params).await {
            Err(error) if !is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the id stands in any claim but the one named.
    pub async fn is_claimed(&self, id: &ProjectId, except: &str) -> Result<bool, kube::Error> {
        let mut is_claimed = false;
        self.each(CLAIMS, |claim| {
            let known = claim.annotations().get(PROJECT_ID_ANNOTATION);
            is_claimed =
                is_claimed || (claim.name_any() != except && known.is_some_and(|known| known == id.as_str()));
        })
        .await?;
        Ok(is_claimed)
    }

    /// Name of a claim whose owner has this UID, if there is one.
    pub async fn owned_by(&self, namespace: &str, uid: &str) -> Result<Option<String>, kube::Error> {
        let mut name = None;
        self.each(&format!("{OWNER_NAMESPACE_LABEL}={namespace},{CLAIMS}"), |claim| {
            if claim.annotations().get(OWNER_UID_ANNOTATION).is_some_and(|owner| owner == uid) {
                name = Some(claim.name_any());
            }
        })
        .await?;
        Ok(name)
    }

    /// Shows the metadata of all records with these labels, page by page: there may be ten thousand, and nobody needs them
    /// all at once.
    pub(super) async fn each(
        &self,
        labels: &str,
        mut look: impl FnMut(&PartialObjectMeta<Secret>),
    ) -> Result<(), kube::Error> {
        let mut params = ListParams::default().labels(labels).limit(PAGE);
        loop {
            let page = self.secrets.list_metadata(&params).await?;
            page.items.iter().for_each(&mut look);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(()),
            }
        }
    }
}

/// Whether a Secret of the operator's namespace is a claim that is not settled, by its metadata.
pub fn is_unsettled(secret: &PartialObjectMeta<Secret>) -> bool {
    let unsettled = [Phase::Creating, Phase::Deleting].map(|phase| format!("{phase:?}"));
    secret.labels().get(PHASE_LABEL).is_some_and(|phase| unsettled.contains(phase))
}

fn record(claim: &Claim, key: Option<&ApiKey>, written: &Secret) -> Record {
    Record {
        claim: claim.clone(),
        key: key.cloned(),
        uid: written.uid().unwrap_or_default(),
        resource_version: written.resource_version().unwrap_or_default(),
    }
}

fn read(secret: &Secret) -> ClaimView {
    match parse(secret) {
        Ok(record) => ClaimView::Present(Box::new(record)),
        Err(problem) => {
            let mut why = format!("Secret {}/{}", secret.namespace().unwrap_or_default(), secret.name_any());
            // Writing to a String cannot fail.
            let _ = write!(why, ": {problem}");
            ClaimView::Unreadable(why)
        }
    }
}

fn parse(secret: &Secret) -> Result<Record, String> {
    let entry =
        |name: &str| secret.data.as_ref().and_then(|data| data.get(name)).map(|value| value.0.as_slice());
    let json = entry(CLAIM_ENTRY).ok_or_else(|| format!("it has no entry {CLAIM_ENTRY}"))?;
    let claim: Claim = serde_json::from_slice(json).map_err(|error| format!("{CLAIM_ENTRY}: {error}"))?;
    if claim.version() > VERSION {
        return Err(format!(
            "it was written by a newer release (version {}, known is {VERSION})",
            claim.version()
        ));
    }
    if claim.name() != secret.name_any() {
        return Err("its content belongs to another project".to_owned());
    }
    let key = entry(KEY_ENTRY).map(|key| std::str::from_utf8(key).map(ApiKey::parse));
    let key = match key {
        Some(Ok(Ok(key))) => Some(key),
        None => None,
        Some(_) => return Err(format!("its entry {KEY_ENTRY} is no key")),
    };
    let must_have_key = claim.phase() == Phase::Owned;
    if claim.key().is_some() != key.is_some() || (must_have_key && key.is_none()) {
        return Err(format!("phase {:?} and entry {KEY_ENTRY} do not fit together", claim.phase()));
    }
    let (uid, resource_version) =
        (secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
    Ok(Record { claim, key, uid, resource_version })
}

pub(super) fn secret(claim: &Claim, key: Option<&ApiKey>) -> Result<Secret, kube::Error> {
    let owner = claim.owner();
    let json = serde_json::to_vec(claim).map_err(kube::Error::SerdeError)?;
    let mut data = BTreeMap::from([(CLAIM_ENTRY.to_owned(), ByteString(json))]);
    data.extend(key.map(|key| (KEY_ENTRY.to_owned(), ByteString(key.expose().as_bytes().to_vec()))));
    let labels = [
        ("app.kubernetes.io/managed-by", FIELD_MANAGER.to_owned()),
        (ORGANIZATION_LABEL, claim.organization().to_owned()),
        (OWNER_NAMESPACE_LABEL, owner.namespace.clone()),
        (PHASE_LABEL, format!("{:?}", claim.phase())),
    ];
    let mut annotations = vec![
        (OWNER_NAME_ANNOTATION, owner.name.clone()),
        (OWNER_UID_ANNOTATION, owner.uid.clone()),
        (PROJECT_NAME_ANNOTATION, claim.project_name().to_string()),
    ];
    annotations.extend(claim.project_id().map(|id| (PROJECT_ID_ANNOTATION, id.to_string())));
    let map = |pairs: Vec<(&str, String)>| {
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    };
    let metadata = ObjectMeta {
        name: Some(claim.name()),
        labels: Some(map(labels.into())),
        annotations: Some(map(annotations)),
        ..ObjectMeta::default()
    };
    Ok(Secret { metadata, data: Some(data), type_: Some(CLAIM_TYPE.to_owned()), ..Secret::default() })
}
