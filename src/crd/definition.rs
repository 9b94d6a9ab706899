//! The two definitions as the API server gets them: what the derive cannot say is added here, and they are written as
//! YAML. Fields and rules are not here but at the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{ComposioOrganization, ComposioProject};

/// A definition cannot be written as YAML.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the CustomResourceDefinition {name} as YAML: {source}")]
pub struct YamlError {
    name: String,
    source: serde_saphyr::ser::Error,
}

/// Both definitions, as `crds/` keeps them.
pub fn all() -> Vec<CustomResourceDefinition> {
    [ComposioOrganization::crd(), ComposioProject::crd()].into_iter().map(completed).collect()
}

/// The files of `crds/`: name, such as `composioprojects.yaml`, and text.
pub fn files() -> Result<Vec<(String, String)>, YamlError> {
    let file = |crd: CustomResourceDefinition| {
        let text = serde_saphyr::to_string(&crd);
        let name = crd.spec.names.plural;
        match text {
            Ok(text) => Ok((format!("{name}.yaml"), text)),
            Err(source) => Err(YamlError { name, source }),
        }
    };
    all().into_iter().map(file).collect()
}

fn completed(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let schema = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(root) = schema {
            tidy(root);
            complete(root);
        }
    }
    crd
}

/// No field under `spec` has a default, since GitOps tools show defaulted fields as differences. The two that there
/// are:
/// 1. A status that says that nothing was looked at yet. Without it, kstatus calls a brand-new object Current, and Flux
///    and Helm go on before its Secret exists.
/// 2. An empty `spec` for an absent one, where no field is required. When server-side apply drops the last field of a
///    `spec`, it makes `spec: null` of the rest; where there is a default, the API server drops that `null` again, so
///    that going back to `spec: {}` is not refused.
fn complete(root: &mut JSONSchemaProps) {
    let properties = root.properties.get_or_insert_default();
    properties.insert("metadata".to_owned(), metadata());
    if let Some(status) = properties.get_mut("status") {
        status.default = Some(JSON(json!({"observedGeneration": -1})));
    }
    if let Some(spec) = properties.get_mut("spec").filter(|spec| spec.required.is_none()) {
        spec.default = Some(JSON(json!({})));
        root.required = None;
    }
}

/// The API server takes in only restrictions of the name; a rule of the root would be reported without a field.
/// 63 characters, because the name becomes the value of a label.
fn metadata() -> JSONSchemaProps {
    let name = JSONSchemaProps {
        type_: Some("string".to_owned()),
        max_length: Some(63),
        ..JSONSchemaProps::default()
    };
    JSONSchemaProps {
        type_: Some("object".to_owned()),
        properties: Some([("name".to_owned(), name)].into()),
        ..JSONSchemaProps::default()
    }
}

/// At any depth: line breaks of doc comments go, since `kubectl explain` would keep them and break its own lines besides;
/// and an enum does not claim to take `null`: the API server refuses it there, also where it is among the values.
fn tidy(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        *description =
            description.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    if schema.enum_.is_some() {
        schema.nullable = None;
    }
    let properties = schema.properties.iter_mut().flat_map(|properties| properties.values_mut());
    properties.for_each(tidy);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
