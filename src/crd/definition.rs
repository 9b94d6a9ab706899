//! The two definitions as the API server gets them: what the derive cannot say is added here, and they are written as
//! YAML. Fields and rules are not here but at the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::{ComposioOrganization, ComposioProject};

/// Both definitions cannot be written as YAML.
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

/// Both definitions as one stream of YAML documents, for `kubectl apply --server-side -f -`.
pub fn yaml() -> Result<String, YamlError> {
    let texts: Vec<String> = files()?.into_iter().map(|(_, text)| text).collect();
    Ok(texts.join("---\n"))
}

fn completed(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) else {
            continue;
        };
        join_lines(root);
        let properties = root.properties.get_or_insert_default();
        properties.insert("metadata".to_owned(), metadata());
        if let Some(status) = properties.get_mut("status") {
            // The only default of the schema: without it, kstatus calls a brand-new object Current, and Flux and Helm
            // go on before its Secret exists.
            status.default = Some(JSON(json!({"observedGeneration": -1})));
        }
    }
    crd
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

/// Line breaks of doc comments go, at any depth: `kubectl explain` would keep them and break its own lines besides.
fn join_lines(schema: &mut JSONSchemaProps) {
    if let Some(description) = &mut schema.description {
        *description = description.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    let properties = schema.properties.iter_mut().flat_map(|properties| properties.values_mut());
    properties.for_each(join_lines);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        join_lines(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        join_lines(values);
    }
}
