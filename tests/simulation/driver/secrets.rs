//! The published Secret: whose it is, and what it must hold. Mirrors `controller::secrets`.

use std::collections::BTreeMap;

use composio_operator::domain::claim::Record;
use composio_operator::domain::world::{Desired, EntryNames, SecretView, SecretWish};

use crate::cluster::Secret;

pub(crate) fn name(secret: usize) -> String {
    format!("key-{secret}")
}

/// The reverse.
pub(super) fn number(name: &str) -> usize {
    name.trim_start_matches("key-").parse().unwrap()
}

pub(super) fn wish(secret: usize) -> SecretWish {
    SecretWish {
        name: name(secret),
        entries: EntryNames { api_key: "KEY".to_owned(), project_id: "ID".to_owned(), base_url: None },
        template: BTreeMap::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

pub(super) fn view(existing: Option<&Secret>, desired: &Desired, record: Option<&Record>) -> SecretView {
    let Some(existing) = existing else { return SecretView::Absent };
    let Some(record) = record.filter(|record| is_ours(existing, record)) else {
        return SecretView::Foreign("somebody's".to_owned());
    };
    let has_key = has_key(existing, record);
    let is_current = has_key && content(existing, desired, record).is_none();
    SecretView::Ours { uid: existing.uid.clone(), has_key, is_current }
}

fn has_key(existing: &Secret, record: &Record) -> bool {
    record.key.as_ref().zip(existing.key.as_ref()).is_some_and(|(ours, theirs)| ours.is(theirs))
}

fn is_ours(existing: &Secret, record: &Record) -> bool {
    let is_published = record.claim.has_published(&existing.uid);
    is_published || has_key(existing, record)
}

/// The Secret as it must be, where it is not.
fn content(existing: &Secret, desired: &Desired, record: &Record) -> Option<Secret> {
    let id = record.claim.project_id()?.as_str();
    let is_current = has_key(existing, record)
        && !existing.is_edited
        && !existing.is_foreign
        && existing.label == desired.name
        && existing.project_id == id;
    (!is_current).then(|| Secret {
        label: desired.name.clone(),
        key: record.key.clone(),
        project_id: id.to_owned(),
        is_edited: false,
        is_foreign: false,
        ..existing.clone()
    })
}

/// What is written; `None` while there is no key.
pub(super) fn written(existing: Option<&Secret>, desired: &Desired, record: &Record) -> Option<Secret> {
    record.key.as_ref()?;
    let fresh = Secret {
        uid: String::new(),
        resource_version: 0,
        is_foreign: true,
        label: String::new(),
        key: None,
        project_id: String::new(),
        is_edited: false,
    };
    let existing = existing.unwrap_or(&fresh);
    Some(content(existing, desired, record).unwrap_or_else(|| existing.clone()))
}
