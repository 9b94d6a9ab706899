//! What a running operator serves, read from its metrics page, and what a query asks of it: the alerts and the dashboard are
//! compared with it.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::DeleteParams;
use regex::Regex;
use serde_json::{Value, json};
use testbed::eventually::eventually;
use testbed::world::{PATIENCE, World};
use tokio::sync::OnceCell;

/// Labels that Prometheus adds when it scrapes, with what they are in tests.
pub(crate) const SCRAPED: &str = r#"namespace="composio-system",pod="a""#;

/// One line of the page.
struct Sample {
    name: String,
    /// As they are written.
    labels: String,
    value: String,
}

/// A page with something of everything, as far as it comes by itself.
pub(crate) struct Served(Vec<Sample>);

static SERVED: OnceCell<Served> = OnceCell::const_new();

impl Served {
    /// By an operator that has made and deleted projects, holds a deletion back, and has restored a Secret.
    pub(crate) async fn by_an_operator() -> &'static Self {
        SERVED.get_or_init(|| async { Self::parse(&page().await) }).await
    }

    fn parse(page: &str) -> Self {
        let sample = Regex::new(r"(?m)^(\w+)(?:\{(.*)\})? (\S+)$").expect("a pattern");
        let read = |found: regex::Captures<'_>| Sample {
            name: found[1].to_owned(),
            labels: found.get(2).map_or("", |labels| labels.as_str()).to_owned(),
            value: found[3].to_owned(),
        };
        Self(sample.captures_iter(page).map(read).collect())
    }

    /// Names of the labels of a metric; `None` where there is no such metric.
    fn labels(&self, name: &str) -> Option<BTreeSet<String>> {
        let label = Regex::new(r"(\w+)=").expect("a pattern");
        let mut of_it = self.0.iter().filter(|sample| sample.name == name).peekable();
        of_it.peek()?;
        let all = of_it.flat_map(|sample| [sample.labels.as_str(), SCRAPED]);
        Some(all.flat_map(|text| label.captures_iter(text)).map(|found| found[1].to_owned()).collect())
    }

    /// What is wrong with a query: metrics that are not served, and labels that they do not have. `shown` are labels that
    /// its result is expected to have.
    pub(crate) fn mistakes(&self, query: &str, shown: &[&str]) -> Vec<String> {
        let [selector, label, grouping] = [
            r"(composio_operator_\w+)(?:\{([^}]*)\})?",
            r#"(\w+)(?:=|!=|=~|!~)""#,
            r"\b(?:by|on) \(([^)]*)\)",
        ]
        .map(|pattern| Regex::new(pattern).expect("a pattern"));
        let (mut mistakes, mut known) = (Vec::new(), BTreeSet::new());
        for found in selector.captures_iter(query) {
            let Some(labels) = self.labels(&found[1]) else {
                mistakes.push(format!("{} is not served", &found[1]));
                continue;
            };
            let asked = found.get(2).map_or("", |labels| labels.as_str());
            for label in label.captures_iter(asked).filter(|label| !labels.contains(&label[1])) {
                mistakes.push(format!("{} has no label {}", &found[1], &label[1]));
            }
            known.extend(labels);
        }
        let groups = grouping.captures_iter(query).map(|found| found[1].to_owned()).collect::<Vec<_>>();
        let groups: BTreeSet<&str> =
            groups.iter().flat_map(|group| group.split(',')).map(str::trim).collect();
        let unknown = groups.iter().filter(|label| !known.contains(**label));
        mistakes.extend(unknown.map(|label| format!("nothing has the label {label}")));
        let lost = shown.iter().filter(|label| !groups.contains(**label));
        mistakes.extend(lost.map(|label| format!("its result has no label {label}")));
        mistakes
    }

    /// The same as series of promtool: gauges stay, and whatever counts grows.
    pub(crate) fn series(&self) -> Vec<Value> {
        let counts =
            |name: &str| ["_total", "_bucket", "_count", "_sum"].iter().any(|end| name.ends_with(end));
        let series = |Sample { name, labels, value }: &Sample| {
            let comma = if labels.is_empty() { "" } else { "," };
            let values = if counts(name) { "0+1x120".to_owned() } else { format!("{value}x120") };
            json!({"series": format!("{name}{{{labels}{comma}{SCRAPED}}}"), "values": values})
        };
        self.0.iter().map(series).collect()
    }
}

async fn page() -> String {
    let mut world = World::without_operator().await;
    world.sweep_interval = Duration::from_secs(1);
    let limits = json!({"limits": {"deletionsPerHour": 1}});
    world.add_organization("default", &world.organization.key, limits).await;
    world.start_operator().await;
    let names = ["shop", "short-1", "short-2"];
    world.apply("shop", json!({"settings": {"displayName": "Shop"}})).await;
    for name in &names[1..] {
        world.apply(name, json!({"deletionPolicy": "Delete"})).await;
    }
    for name in names {
        world.ready(name).await;
    }
    world.secrets().delete("shop", &DeleteParams::default()).await.expect("a Secret");
    for name in &names[1..] {
        world.projects().delete(name, &DeleteParams::default()).await.expect("a project");
    }
    let page = eventually("a sweep is counted and a deletion is held", PATIENCE, async || {
        let page = world.metrics().await;
        let served = |series: &str| page.lines().any(|line| line.starts_with(series));
        let wanted = [
            "composio_operator_sweeps_total{outcome=\"Complete\"}",
            "composio_operator_held_projects{",
            "composio_operator_projects{ready=\"false\"",
            "composio_operator_api_calls_total{operation=\"Read\",outcome=\"NotFound\"",
        ];
        match wanted.into_iter().find(|series| !served(series)) {
            None => Ok(page),
            Some(missing) => Err(format!("there is no {missing}")),
        }
    })
    .await;
    world.finish(&[]).await;
    page
}
