//! The two small templates that users write: project names and Secret entries. Single braces around a word of a closed
//! list are replaced; every other brace is literal, so that JSON works and neither Helm nor Flux sees theirs.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::ids::{InvalidId, ProjectName};

static PLACEHOLDER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\{([A-Za-z]+)\}").ok());

/// A template that names something it may not name, or a result that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A `{word}` outside the closed list.
    #[error(
        "{{{word}}} is not a placeholder; allowed are {allowed}; write other braces with anything but letters inside"
    )]
    UnknownPlaceholder {
        /// What stands between the braces.
        word: String,
        /// The allowed ones, as written in a template.
        allowed: String,
    },
    /// The rendered project name is not a legal one.
    #[error("the organization's template {template:?} renders {name:?}: {problem}")]
    ProjectName {
        /// `spec.projectNameTemplate` of the organization.
        template: String,
        /// `spec.projectName` or the name of the resource.
        name: String,
        /// What is wrong with the result.
        problem: InvalidId,
    },
}

/// Replaces each `{word}` by its value in `values`; an unknown word is an error.
pub fn render(template: &str, values: &[(&str, &str)]) -> Result<String, InvalidTemplate> {
    let Some(placeholder) = PLACEHOLDER.as_ref() else {
        return Ok(template.to_owned());
    };
    let value = |word: &str| values.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    if let Some(unknown) = placeholder.captures_iter(template).find(|found| value(&found[1]).is_none()) {
        let allowed = values.iter().map(|(name, _)| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
        return Err(InvalidTemplate::UnknownPlaceholder { word: unknown[1].to_owned(), allowed });
    }
    let rendered = placeholder
        .replace_all(template, |found: &Captures<'_>| value(&found[1]).unwrap_or_default().to_owned());
    Ok(rendered.into_owned())
}

/// Renders the organization's template for one project. `name` is `spec.projectName` or the name of the resource.
pub fn project_name(template: &str, namespace: &str, name: &str) -> Result<ProjectName, InvalidTemplate> {
    let rendered = render(template, &[("name", name), ("namespace", namespace)])?;
    ProjectName::try_from(rendered).map_err(|problem| InvalidTemplate::ProjectName {
        template: template.to_owned(),
        name: name.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_the_environment_from_the_template() {
        assert_eq!(project_name("prod-{name}", "team-a", "shop").unwrap().as_str(), "prod-shop");
        assert_eq!(project_name("{namespace}_{name}", "team-a", "shop").unwrap().as_str(), "team-a_shop");
    }

    #[test]
    fn a_rendered_name_that_composio_would_refuse_is_an_error_that_says_so() {
        let error = project_name("{name}", "team-a", "a.b").unwrap_err().to_string();
        assert!(error.contains("a.b") && error.contains("3 to 75 characters"), "{error}");
        assert!(project_name("{name}", "team-a", "ab").is_err());
    }

    #[test]
    fn other_braces_are_literal_so_that_json_works() {
        let values = [("apiKey", "K"), ("baseUrl", "U")];
        assert_eq!(render(r#"{"key": "{apiKey}", "n": {}}"#, &values).unwrap(), r#"{"key": "K", "n": {}}"#);
    }

    #[test]
    fn a_value_is_not_rendered_again() {
        assert_eq!(render("{a}", &[("a", "{b}"), ("b", "x")]).unwrap(), "{b}");
    }

    #[test]
    fn an_unknown_placeholder_is_named_together_with_the_allowed_ones() {
        let error = render("{apikey}", &[("apiKey", "K")]).unwrap_err().to_string();
        assert!(error.contains("{apikey}") && error.contains("{apiKey}"), "{error}");
    }
}
