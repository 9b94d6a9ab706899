//! Who has written what: the operator's entries in `managedFields`.

use kube::{Resource, ResourceExt};

/// Asserts that the operator has written nothing of an object but its status and its finalizer.
pub(crate) fn assert_only_status_and_finalizer<K: Resource>(object: &K) {
    let name = object.name_any();
    let mut is_seen = false;
    for entry in object.managed_fields() {
        let manager = entry.manager.as_deref().unwrap_or_default();
        if !manager.starts_with("composio-operator") {
            continue;
        }
        is_seen = true;
        let fields = &entry.fields_v1.as_ref().expect("fields").0;
        let keys = |pointer: &str| -> Vec<String> {
            let members = fields.pointer(pointer).and_then(serde_json::Value::as_object);
            members.into_iter().flatten().map(|(key, _)| key.clone()).collect()
        };
        match entry.subresource.as_deref() {
            Some("status") => assert_eq!(keys(""), ["f:status"], "{name}: {fields}"),
            None => {
                assert_eq!(keys(""), ["f:metadata"], "{name}: {fields}");
                assert_eq!(keys("/f:metadata"), ["f:finalizers"], "{name}: {fields}");
            }
            other => panic!("{name}: the operator wrote {other:?}"),
        }
    }
    assert!(is_seen, "{name}: the operator has written nothing");
}
