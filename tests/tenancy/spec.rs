//! What a spec can say: entries of Secrets, labels and annotations, settings, sizes.

use std::net::TcpListener;

use composio_operator::crd::ComposioProject;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value, json};

use crate::scene::{Scene, id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_template_knows_the_own_project_only_and_is_rendered_once() {
    let scene = Scene::start().await;
    // Rendered twice, `{{projectName}Key}` would be the key.
    let named = "api";
    scene
        .apply(
            "mine",
            json!({
                "projectName": named,
                "settings": {"displayName": "{apiKey} {projectId}"},
                "secret": {
                    "template": {
                        "helm": "{{apiKey}}", "flux": "${apiKey}", "split": "{{projectName}Key}", "spaces": "{ apiKey }",
                        "path": "{api.Key} {../apiKey} {0} {}", "open": "{apiKey", "nested": "{{{projectId}}}"
                    },
                    "annotations": {"example.com/note": "{apiKey}"}
                }
            }),
        )
        .await;
    let mine = scene.ends("mine", "True", "Reconciled").await;
    let secret = scene.api::<Secret>().get("mine").await.unwrap();
    let data = secret.data.clone().unwrap();
    let entry = |name: &str| String::from_utf8(data[name].0.clone()).unwrap();
    let (key, id) = (entry("COMPOSIO_API_KEY"), id(&mine));
    assert_eq!(scene.world.control.project_of_key(&key).as_ref(), Some(&id));
    assert!(entry("helm") == format!("{{{key}}}") && entry("flux") == format!("${key}"));
    assert!(entry("nested") == format!("{{{{{id}}}}}"));
    assert!(entry("split") == "{apiKey}", "it was rendered twice");
    for (name, literal) in
        [("spaces", "{ apiKey }"), ("path", "{api.Key} {../apiKey} {0} {}"), ("open", "{apiKey")]
    {
        assert_eq!(entry(name), literal);
    }
    let annotations = secret.metadata.annotations.unwrap();
    assert_eq!(annotations["example.com/note"], "{apiKey}");
    let remote = scene.world.control.project(&id).unwrap();
    assert_eq!(remote.config["display_name"], "{apiKey} {projectId}");
    scene.others_untouched().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_labels_and_sizes_beyond_the_bounds_are_refused_at_apply() {
    let scene = Scene::start().await;
    let sixteen = |text: &str| (0..17).map(|n| (format!("e{n}"), json!(text))).collect::<Map<_, _>>();
    for (field, spec) in [
        ("template", json!({"secret": {"template": {"a": "{organizationKey}"}}})),
        ("template", json!({"secret": {"template": {"a": "{namespace}"}}})),
        ("template", json!({"secret": {"template": {"a": "x".repeat(8193)}}})),
        ("template", json!({"secret": {"template": sixteen("x")}})),
        ("template", json!({"secret": {"template": {"../../etc": "x"}}})),
        ("labels", json!({"secret": {"labels": {"composio.dev/project": "shop"}}})),
        ("labels", json!({"secret": {"labels": {"composio.dev/owner-namespace": "x"}}})),
        ("labels", json!({"secret": {"labels": {"app.kubernetes.io/managed-by": "x"}}})),
        ("labels", json!({"secret": {"labels": {"a": "{apiKey}"}}})),
        (
            "annotations",
            json!({"secret": {"annotations": {"composio.dev/key-issued-at": "2126-01-01T00:00:00Z"}}}),
        ),
        (
            "annotations",
            json!({"secret": {"annotations": {"kubernetes.io/service-account.name": "default"}}}),
        ),
        (
            "logoUrl",
            json!({"settings": {"logoUrl": "file:///var/run/secrets/kubernetes.io/serviceaccount/token"}}),
        ),
        ("displayName", json!({"settings": {"displayName": "x".repeat(257)}})),
    ] {
        let object = json!({"metadata": {"name": "evil"}, "spec": spec});
        let words = scene.refused::<ComposioProject>(object).await;
        assert!(words.contains(field), "{field}: {words}");
    }
    scene.nothing_done().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_in_settings_are_passed_on_and_never_fetched() {
    let scene = Scene::start().await;
    let internal = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    internal.set_nonblocking(true).unwrap();
    let address = internal.local_addr().unwrap();
    let (logo, verifier) =
        (format!("http://{address}/latest/meta-data"), format!("https://{address}/verify"));
    // Composio refuses such a verifier; that is its own to decide.
    scene.apply("refused", json!({"settings": {"oauthCallbackVerifierUrl": verifier}})).await;
    scene.ends("refused", "False", "SettingsNotApplied").await;
    scene.apply("mine", json!({"settings": {"logoUrl": logo}})).await;
    let mine = scene.ends("mine", "True", "Reconciled").await;
    let remote = scene.world.control.project(&id(&mine)).unwrap();
    assert_eq!(remote.config["logo_url"], logo.as_str());
    let connection = internal.accept();
    assert!(connection.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it was fetched");
    scene.others_untouched().await;
    scene.finish(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_much_as_the_api_server_takes_is_worked_off_and_the_neighbour_goes_on() {
    let scene = Scene::start().await;
    let name = "n".repeat(75);
    let text = "{projectName}".repeat(8192 / "{projectName}".len());
    let full = text.replace("{projectName}", &name);
    let template: Map<String, Value> = (0..16).map(|n| (format!("entry-{n}"), json!(text))).collect();
    let annotations: Map<_, _> = (0..32).map(|n| (format!("note-{n}"), json!("x".repeat(4096)))).collect();
    let spec = json!({
        "projectName": name, "secret": {"template": template, "annotations": annotations}
    });
    // An annotation is repeated in the status; no longer than the status takes.
    let request = "r".repeat(200_000);
    let metadata = json!({"name": "huge", "annotations": {"composio.dev/reconcile-requested-at": request}});
    scene.put::<ComposioProject>(json!({"metadata": metadata, "spec": spec})).await;
    let huge = scene.ends("huge", "True", "Reconciled").await;
    let handled = huge.status.unwrap().last_handled_reconcile_at.unwrap();
    assert!(!handled.is_empty() && handled.len() <= 256, "{} characters", handled.len());
    let secret = scene.api::<Secret>().get("huge").await.unwrap();
    let rendered = secret.data.unwrap().into_iter().filter(|(name, _)| name.starts_with("entry-"));
    assert!(rendered.map(|(_, value)| value.0).all(|value| value == full.as_bytes()), "an entry is cut");
    scene.others_untouched().await;
    scene.world.apply("next", json!({})).await;
    scene.world.ready("next").await;
    scene.finish(&[]).await;
}
