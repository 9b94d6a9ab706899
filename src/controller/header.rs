//! The header of the ledger: the Secret `composio-ledger`, read live and changed by `resourceVersion`. What it says is
//! `domain::header`'s.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use super::api_error::{failure, is_conflict};
use super::ledger::{CLAIMS, Ledger, post_params};
use crate::domain::failure::Failure;
use crate::domain::header::Header;
use crate::domain::ids::hex;

/// Name of the header's Secret.
pub const HEADER: &str = "composio-ledger";
const FINGERPRINT_ENTRY: &str = "fingerprintKey";
const HEADER_ENTRY: &str = "header.json";
/// How often a change is tried again after a conflict within one pass.
const TRIES: usize = 5;

/// The header as it is now.
pub struct HeaderNow {
    /// What it says.
    pub header: Header,
    /// The real UID of its Secret.
    pub uid: String,
    secret: Secret,
}

impl HeaderNow {
    /// The ledger was restored or copied, and this organization waits for a confirmation.
    pub fn is_moved(&self, organization: &str) -> bool {
        self.header.is_moved(organization, &self.uid)
    }
}

/// Reads the header's Secret; makes it where there is none. `fingerprint_key` is kept, where it is known already.
pub(super) async fn load(
    secrets: &Api<Secret>,
    fingerprint_key: Option<&str>,
) -> anyhow::Result<(String, Secret)> {
    let secret = loop {
        if let Some(found) = secrets.get_opt(HEADER).await? {
            break found;
        }
        match secrets.create(&post_params(), &fresh(secrets, fingerprint_key).await?).await {
            Err(error) if !is_conflict(&error) => return Err(error.into()),
            _ => {}
        }
    };
    let key = entry(&secret, FINGERPRINT_ENTRY).and_then(|key| String::from_utf8(key.to_vec()).ok());
    let key = key.filter(|key| !key.is_empty()).ok_or_else(|| unusable(&secret, "it is missing or empty"))?;
    Ok((key, secret))
}

/// A new header. Claims that are there without one were copied without it, and nobody knows from where.
async fn fresh(secrets: &Api<Secret>, fingerprint_key: Option<&str>) -> anyhow::Result<Secret> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    let key = fingerprint_key.map_or_else(|| hex(&random), ToOwned::to_owned);
    let mut data = BTreeMap::from([(FINGERPRINT_ENTRY.to_owned(), key)]);
    let claims = secrets.list_metadata(&ListParams::default().labels(CLAIMS).limit(1)).await?;
    if !claims.items.is_empty() {
        data.insert(HEADER_ENTRY.to_owned(), serde_json::to_string(&Header::new(String::new()))?);
    }
    let metadata = ObjectMeta { name: Some(HEADER.to_owned()), ..ObjectMeta::default() };
    Ok(Secret { metadata, string_data: Some(data), ..Secret::default() })
}

fn entry<'a>(secret: &'a Secret, name: &str) -> Option<&'a [u8]> {
    secret.data.as_ref().and_then(|data| data.get(name)).map(|value| value.0.as_slice())
}

fn unusable(secret: &Secret, why: &str) -> anyhow::Error {
    let namespace = secret.namespace().unwrap_or_default();
    anyhow::anyhow!(
        "Secret {namespace}/{HEADER}, entry {FINGERPRINT_ENTRY}: {why}; restore the Secret from a backup"
    )
}

fn parse(secret: Secret) -> Result<HeaderNow, Failure> {
    let uid = secret.uid().unwrap_or_default();
    let header = match entry(&secret, HEADER_ENTRY) {
        Some(json) => serde_json::from_slice(json).map_err(|error| {
            Failure::transient(format!(
                "Secret {HEADER}, entry {HEADER_ENTRY}: {error}; restore the Secret from a backup"
            ))
        })?,
        // A release that knew of no more than the fingerprint key.
        None => Header::new(uid.clone()),
    };
    Ok(HeaderNow { header, uid, secret })
}

impl Ledger {
    /// The header, read live. One without what this release keeps in it is completed.
    pub async fn header(&self) -> Result<HeaderNow, Failure> {
        self.change_header(|_| {}).await
    }

    /// Changes the header and returns it as it is then. `change` is asked again after a conflict.
    pub async fn change_header(&self, change: impl Fn(&mut Header)) -> Result<HeaderNow, Failure> {
        for _ in 0..TRIES {
            let (_, secret) = load(&self.secrets, Some(self.fingerprint_key().expose()))
                .await
                .map_err(|error| Failure::transient(format!("while reading the ledger's header: {error}")))?;
            let is_complete = entry(&secret, HEADER_ENTRY).is_some();
            let mut now = parse(secret)?;
            let before = now.header.clone();
            change(&mut now.header);
            if is_complete && now.header == before {
                return Ok(now);
            }
            let json = serde_json::to_vec(&now.header).map_err(|error| Failure::bug(error.to_string()))?;
            let data = now.secret.data.get_or_insert_default();
            data.insert(HEADER_ENTRY.to_owned(), ByteString(json));
            match self.secrets.replace(HEADER, &post_params(), &now.secret).await {
                Ok(_) => return Ok(now),
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(failure("writing the ledger's header", &error)),
            }
        }
        Err(Failure::conflict("somebody else wrote the ledger's header"))
    }
}
