//! Follows objects until they are Ready: a line each, redrawn on a terminal, printed on every change elsewhere. It watches,
//! it does not ask again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;
use composio_operator::crd::{ComposioOrganization, ComposioProject};
use futures::stream::{BoxStream, select_all};
use futures::{StreamExt, TryStreamExt};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::manifests::Target;
use crate::screen::Screen;

/// How long all together may take. Long, because two cores may serve everything.
const PATIENCE: Duration = Duration::from_mins(3);

/// What conditions say about the present spec.
#[derive(Debug, Clone, PartialEq)]
enum State {
    /// Not looked at yet.
    Unseen,
    /// On its way.
    Waiting {
        reason: String,
        message: String,
    },
    Ready {
        reason: String,
        message: String,
    },
    /// A person has to act.
    Stalled {
        reason: String,
        message: String,
    },
}

type Change = Result<(Target, State), watcher::Error>;

/// Watches until all are Ready. An error, with the object's own message, when one stalls or time is up.
pub(crate) async fn until_ready(
    client: &Client,
    targets: Vec<Target>,
    screen: &Screen,
) -> anyhow::Result<()> {
    let mut changes = select_all(watches(client, &targets));
    let mut lines = Lines::new(targets, screen);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut trouble = String::new();
    while lines.open().is_some() {
        match tokio::time::timeout_at(deadline, changes.next()).await {
            Ok(Some(Ok((target, state)))) => lines.show(&target, state),
            // The watch begins anew by itself.
            Ok(Some(Err(error))) => trouble = format!("; watching them failed: {error}"),
            Ok(None) => bail!("the watch has ended"),
            Err(_) => break,
        }
    }
    lines.end();
    let Some((Target { kind, namespace, name }, state)) = lines.stalled().or_else(|| lines.open()) else {
        return Ok(());
    };
    let object = format!("{kind} {namespace}/{name}");
    let seconds = PATIENCE.as_secs();
    match state {
        State::Stalled { reason, message } => {
            bail!("{object} will not become Ready by itself: {reason}: {message}")
        }
        State::Waiting { reason, message } | State::Ready { reason, message } => {
            bail!("{object} is not Ready after {seconds} s: {reason}: {message}{trouble}")
        }
        State::Unseen => {
            bail!("{object} has no conditions after {seconds} s; does the operator run?{trouble}")
        }
    }
}

/// One watch per namespace and kind.
fn watches(client: &Client, targets: &[Target]) -> Vec<BoxStream<'static, Change>> {
    let mut places: Vec<(&str, &str)> =
        targets.iter().map(|target| (target.namespace.as_str(), target.kind.as_str())).collect();
    places.sort_unstable();
    places.dedup();
    let watch_of = |(namespace, kind)| match kind {
        "ComposioOrganization" => watch(client, namespace, kind, |object: &ComposioOrganization| {
            object.status.as_ref().map(|status| (status.observed_generation, status.conditions.clone()))
        }),
        _ => watch(client, namespace, kind, |object: &ComposioProject| {
            object.status.as_ref().map(|status| (status.observed_generation, status.conditions.clone()))
        }),
    };
    places.into_iter().map(watch_of).collect()
}

fn watch<K>(
    client: &Client,
    namespace: &str,
    kind: &str,
    status: impl Fn(&K) -> Option<(Option<i64>, Vec<Condition>)> + Send + 'static,
) -> BoxStream<'static, Change>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let (namespace, kind) = (namespace.to_owned(), kind.to_owned());
    let change = move |object: K| {
        let target = Target { kind: kind.clone(), namespace: namespace.clone(), name: object.name_any() };
        let current = status(&object).filter(|(observed, _)| *observed == object.meta().generation);
        (target, current.map_or(State::Unseen, |(_, conditions)| state(&conditions)))
    };
    watcher(api, watcher::Config::default()).default_backoff().applied_objects().map_ok(change).boxed()
}

fn state(conditions: &[Condition]) -> State {
    let is_true = |kind: &str| conditions.iter().find(|found| found.type_ == kind && found.status == "True");
    let told = |found: &Condition| (found.reason.clone(), found.message.clone());
    if let Some((reason, message)) = is_true("Ready").map(told) {
        return State::Ready { reason, message };
    }
    if let Some((reason, message)) = is_true("Stalled").map(told) {
        return State::Stalled { reason, message };
    }
    let ready = conditions.iter().find(|found| found.type_ == "Ready").map(told);
    ready.map_or(State::Unseen, |(reason, message)| State::Waiting { reason, message })
}

/// What is shown of each.
struct Lines<'a> {
    screen: &'a Screen,
    started: Instant,
    shown: BTreeMap<Target, (State, Option<ProgressBar>)>,
}

impl<'a> Lines<'a> {
    fn new(targets: Vec<Target>, screen: &'a Screen) -> Self {
        let all = screen.can_redraw.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        let line = |target: Target| {
            let bar = all.as_ref().map(|all| bar(all, &target));
            (target, (State::Unseen, bar))
        };
        Self { screen, started: Instant::now(), shown: targets.into_iter().map(line).collect() }
    }

    /// The first that is on its way.
    fn open(&self) -> Option<(&Target, &State)> {
        self.first(|state| matches!(state, State::Unseen | State::Waiting { .. }))
    }

    /// The first that needs a person.
    fn stalled(&self) -> Option<(&Target, &State)> {
        self.first(|state| matches!(state, State::Stalled { .. }))
    }

    fn first(&self, is_wanted: impl Fn(&State) -> bool) -> Option<(&Target, &State)> {
        let found = self.shown.iter().find(|(_, (state, _))| is_wanted(state));
        found.map(|(target, (state, _))| (target, state))
    }

    /// Shows a change.
    fn show(&mut self, target: &Target, now: State) {
        let Some((shown, bar)) = self.shown.get_mut(target) else {
            return;
        };
        if *shown == now {
            return;
        }
        let seconds = self.started.elapsed().as_secs_f32();
        let text = match &now {
            State::Unseen => String::new(),
            State::Waiting { reason, message } => format!("{reason}: {message}"),
            State::Ready { message, .. } => {
                format!("{} {message} ({seconds:.1} s)", self.screen.good("Ready:"))
            }
            State::Stalled { reason, message } => {
                format!("{} {message}", self.screen.bad(&format!("{reason}:")))
            }
        };
        match (bar, &now) {
            (Some(bar), State::Ready { .. }) => bar.finish_with_message(text),
            (Some(bar), _) => bar.set_message(text),
            (None, State::Unseen) => {}
            (None, _) => println!("  {}  {text}", label(target)),
        }
        *shown = now;
    }

    /// Ends the lines that are still redrawn; they stay.
    fn end(&self) {
        let bars = self.shown.values().filter_map(|(_, bar)| bar.as_ref());
        bars.filter(|bar| !bar.is_finished()).for_each(ProgressBar::abandon);
        if self.screen.can_redraw {
            // The cursor stands at the end of the last one.
            eprintln!();
        }
    }
}

fn label(target: &Target) -> String {
    format!("{:<21}  {:<28}", target.kind, target.to_string())
}

fn bar(all: &MultiProgress, target: &Target) -> ProgressBar {
    let bar = all.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {prefix}  {wide_msg}") {
        bar.set_style(style.tick_strings(&["-", "\\", "|", "/", " "]));
    }
    bar.set_prefix(label(target));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
