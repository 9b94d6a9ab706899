//! A ComposioProject as the cache keeps it: what is looked up stands as it is, everything else is packed. Thousands of
//! them are kept all the time, and each is read in full once in ten minutes.
//!
//! One project says nearly the same as another, so each is packed as what differs from one of them.

use std::borrow::Cow;
use std::sync::OnceLock;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt};
use lz4_flex::block;
use serde::{Deserialize, Serialize};

use super::status::readiness;
use crate::crd::{ComposioProject, ComposioProjectSpec, ComposioProjectStatus};
use crate::domain::reason::Reason;

/// Annotations of other programs are not kept: `kubectl apply` repeats the whole object in one.
const ANNOTATIONS: &str = "composio.dev/";

/// See the module. Watches read it from the ComposioProject that the API server sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "ComposioProject")]
pub struct CachedProject {
    /// Without managed fields, labels, owners, and the annotations of others.
    metadata: ObjectMeta,
    /// `spec.organizationRef.name`, where it is stated.
    organization: Option<Box<str>>,
    /// `spec.secret.name`, where it is stated.
    secret: Option<Box<str>>,
    /// Whether it is Ready, and the reason of that.
    readiness: (bool, Option<Reason>),
    /// Spec and status; absent where there is only the metadata.
    packed: Option<Packed>,
}

#[derive(Serialize, Deserialize)]
struct Content<'a> {
    spec: Cow<'a, ComposioProjectSpec>,
    status: Cow<'a, Option<ComposioProjectStatus>>,
}

/// JSON, compressed.
#[derive(Debug, Clone)]
struct Packed {
    bytes: Box<[u8]>,
    /// Whether the model is needed to read it.
    by_model: bool,
}

/// The content of the first project of this process that was published: the dictionary for all that come after it. It
/// holds no secret, as no ComposioProject does.
static MODEL: OnceLock<Box<[u8]>> = OnceLock::new();

impl Packed {
    fn new(content: &Content<'_>) -> Result<Self, serde_json::Error> {
        let text = serde_json::to_vec(content)?;
        let model = match &*content.status {
            Some(status) if status.binding.is_some() => {
                Some(MODEL.get_or_init(|| text.clone().into_boxed_slice()))
            }
            _ => MODEL.get(),
        };
        let bytes = match model {
            Some(model) => block::compress_prepend_size_with_dict(&text, model),
            None => block::compress_prepend_size(&text),
        };
        Ok(Self { bytes: bytes.into_boxed_slice(), by_model: model.is_some() })
    }

    fn content(&self) -> anyhow::Result<Content<'static>> {
        let text = match MODEL.get().filter(|_| self.by_model) {
            Some(model) => block::decompress_size_prepended_with_dict(&self.bytes, model)?,
            None => block::decompress_size_prepended(&self.bytes)?,
        };
        Ok(serde_json::from_slice(&text)?)
    }
}

impl TryFrom<ComposioProject> for CachedProject {
    type Error = serde_json::Error;

    fn try_from(object: ComposioProject) -> Result<Self, Self::Error> {
        let ComposioProject { mut metadata, spec, status } = object;
        let packed = Packed::new(&Content { spec: Cow::Borrowed(&spec), status: Cow::Borrowed(&status) })?;
        metadata.managed_fields = None;
        metadata.labels = None;
        metadata.owner_references = None;
        let ours = metadata.annotations.take().map(|annotations| {
            annotations.into_iter().filter(|(name, _)| name.starts_with(ANNOTATIONS)).collect()
        });
        metadata.annotations =
            ours.filter(|annotations: &std::collections::BTreeMap<_, _>| !annotations.is_empty());
        let conditions = status.as_ref().map(|status| status.conditions.as_slice());
        let readiness = readiness(conditions.unwrap_or_default());
        let organization = spec.organization_ref.and_then(|reference| reference.name);
        let secret = spec.secret.and_then(|secret| secret.name);
        Ok(Self {
            metadata,
            organization: organization.map(String::into_boxed_str),
            secret: secret.map(String::into_boxed_str),
            readiness,
            packed: Some(packed),
        })
    }
}

impl CachedProject {
    /// What there is of an object that cannot be read.
    pub fn bare(metadata: ObjectMeta) -> Self {
        Self { metadata, organization: None, secret: None, readiness: (false, None), packed: None }
    }

    /// The whole object, but for what the cache does not keep of its metadata.
    pub fn unpacked(&self) -> anyhow::Result<ComposioProject> {
        let metadata = self.metadata.clone();
        let Some(packed) = &self.packed else {
            return Ok(ComposioProject { metadata, spec: ComposioProjectSpec::default(), status: None });
        };
        let Content { spec, status } = packed.content()?;
        Ok(ComposioProject { metadata, spec: spec.into_owned(), status: status.into_owned() })
    }

    /// Name of the ComposioOrganization that it refers to.
    pub fn organization(&self) -> &str {
        self.organization.as_deref().unwrap_or("default")
    }

    /// Name of the Secret that it wants.
    pub fn secret(&self) -> Cow<'_, str> {
        self.secret.as_deref().map_or_else(|| Cow::Owned(self.name_any()), Cow::Borrowed)
    }

    /// Whether it is Ready, and the reason of that where it is one of ours.
    pub fn readiness(&self) -> (bool, Option<Reason>) {
        self.readiness
    }

    /// Names it.
    pub fn reference(&self) -> ObjectRef<ComposioProject> {
        ObjectRef::from_obj(self).into_kind_unchecked(())
    }
}

impl Resource for CachedProject {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ComposioProject::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ComposioProject::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ComposioProject::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ComposioProject::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spec_status_and_what_is_ours_of_the_metadata_come_back_from_the_cache() {
        let whole = json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioProject",
            "metadata": {
                "name": "shop", "namespace": "team-a", "uid": "u", "resourceVersion": "7", "generation": 2,
                "finalizers": ["composio.dev/project"], "labels": {"app": "shop"},
                "annotations": {
                    "composio.dev/reconcile-requested-at": "now",
                    "kubectl.kubernetes.io/last-applied-configuration": "{}"
                }
            },
            "spec": {"organizationRef": {"name": "eu"}, "secret": {"name": "keys"}, "suspend": true},
            "status": {"observedGeneration": 2, "binding": {"name": "keys"}}
        });
        let cached: CachedProject = serde_json::from_value(whole.clone()).unwrap();
        assert_eq!((cached.organization(), &*cached.secret()), ("eu", "keys"));
        let mut wanted: ComposioProject = serde_json::from_value(whole).unwrap();
        wanted.metadata.labels = None;
        wanted.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
        assert_eq!(cached.unpacked().unwrap(), wanted);

        // The first that is published is the model of those after it, which differ in a few words.
        wanted.spec.suspend = None;
        wanted.status.get_or_insert_default().observed_generation = Some(3);
        let next = CachedProject::try_from(wanted.clone()).unwrap();
        assert_eq!(next.unpacked().unwrap(), wanted);
        let sizes = [&cached, &next].map(|cached| cached.packed.as_ref().unwrap().bytes.len());
        assert!(next.packed.as_ref().unwrap().by_model && sizes[1] < 40, "{sizes:?} bytes");
    }

    #[test]
    fn what_is_not_stated_has_its_default_in_the_cache_too() {
        let plain = json!({
            "apiVersion": "composio.dev/v1alpha1", "kind": "ComposioProject",
            "metadata": {"name": "shop", "namespace": "team-a"}, "spec": {}
        });
        let cached: CachedProject = serde_json::from_value(plain).unwrap();
        assert_eq!((cached.organization(), &*cached.secret()), ("default", "shop"));
        let bare = CachedProject::bare(cached.meta().clone());
        assert_eq!(bare.unpacked().unwrap(), cached.unpacked().unwrap());
    }
}
