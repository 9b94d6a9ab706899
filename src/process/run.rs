//! Start-up, the controllers, shutdown.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PartialObjectMeta;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::wait::{Condition as _, conditions};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use url::Url;

use super::http;
use super::leader::{End, Replica};
use super::metrics::Metrics;
use super::readiness::{Gate, Readiness};
use super::settings::Settings;
use crate::composio::{Lead, is_loopback};
use crate::controller::api_error::words;
use crate::controller::brake::Brake;
use crate::controller::cached::CachedProject;
use crate::controller::context::{Context, Wake};
use crate::controller::events::Events;
use crate::controller::header::HEADER;
use crate::controller::in_use::InUse;
use crate::controller::ledger::Ledger;
use crate::controller::looks::Looks;
use crate::controller::memory::{Absences, Failures, Gaps, InFlight, KeySuspicions, Sightings, Waiters};
use crate::controller::metrics::Caches;
use crate::controller::organizations::{Organizations, State};
use crate::controller::scope::{self, Namespaces};
use crate::controller::secret_watch::{self, Publications};
use crate::controller::{claims, organization, project, stray, tombstones};
use crate::crd::{self, ComposioOrganization, ComposioProject};

/// How long the first looks at organizations and namespaces may keep the projects waiting.
const FIRST_LOOKS: Duration = Duration::from_secs(15);
/// How long scrapers and probes may take at the end to finish what they have begun.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Distance between two looks at something that start-up waits for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

type References<K> = UnboundedReceiver<ObjectRef<K>>;
/// A watch, and the looks that are asked for in it.
struct Watched {
    projects: Api<DeserializeGuard<CachedProject>>,
    secrets: Api<PartialObjectMeta<Secret>>,
    wake: BoxStream<'static, ObjectRef<ComposioProject>>,
}

/// An operator that is about to run: its settings, the API server's client, and what others may watch.
pub struct Operator {
    settings: Settings,
    client: Client,
    readiness: Readiness,
    stop: CancellationToken,
    listener: Option<tokio::net::TcpListener>,
    metrics: Metrics,
}

/// Runs until SIGTERM or Ctrl-C, with the API server that kubeconfig or the pod's ServiceAccount names.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    settings.check().map_err(anyhow::Error::msg)?;
    let no_server = |error: String| {
        anyhow::anyhow!("no API server: {error}; run in a pod with a ServiceAccount, or set KUBECONFIG")
    };
    let mut config = kube::Config::infer().await.map_err(|error| no_server(error.to_string()))?;
    // The controllers repeat what is safe to repeat; the client would repeat creations as well.
    config.default_retry = false;
    if Url::parse(&config.cluster_url.to_string()).is_ok_and(|url| is_loopback(&url)) {
        config.proxy_url = None;
    }
    let client = Client::try_from(config).map_err(|error| no_server(error.to_string()))?;
    let stop = CancellationToken::new();
    let operator = Operator::new(settings, client, stop.clone()).await?;
    let signalled = async move {
        let signal = signal().await;
        info!(signal, "shutting down");
        stop.cancel();
    };
    tokio::spawn(signalled);
    operator.run().await
}

async fn signal() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = tokio::signal::ctrl_c() => "SIGINT",
        },
        Err(_) => tokio::signal::ctrl_c().await.map_or("none", |()| "SIGINT"),
    }
}

impl Operator {
    /// Binds the HTTP address. Cancel `stop` to shut down.
    pub async fn new(settings: Settings, client: Client, stop: CancellationToken) -> anyhow::Result<Self> {
        settings.check().map_err(anyhow::Error::msg)?;
        let listener = Some(http::bind(settings.http_address).await?);
        let lead = if settings.election.leader_elect { Lead::not_yet() } else { Lead::always() };
        let readiness = Readiness::default();
        let metrics = Metrics::new(lead, readiness.clone(), settings.sweep_interval);
        Ok(Self { settings, client, readiness, stop, listener, metrics })
    }

    /// Its gates.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Where probes and metrics are served.
    pub fn http_address(&self) -> Option<std::net::SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Runs until stopped. Probes and metrics are served from the beginning to the end.
    pub async fn run(mut self) -> anyhow::Result<()> {
        self.readiness.stand_by(self.settings.election.leader_elect);
        let (registry, http_stop) = (Arc::new(self.metrics.registry()), CancellationToken::new());
        if let Some(address) = self.http_address() {
            info!(http.address = %address, "serving /livez, /readyz and /metrics");
        }
        let served = self.listener.take().map(|listener| {
            tokio::spawn(http::serve(listener, self.readiness.clone(), registry, http_stop.clone()))
        });
        let result = Box::pin(self.lead_and_work()).await;
        http_stop.cancel();
        if let Some(served) = served {
            // A scraper that never ends its request must not keep the process from ending.
            let _ = tokio::time::timeout(LAST_ANSWERS, served).await;
        }
        result
    }

    /// Works, or stands by until the lead is free and then works.
    async fn lead_and_work(&self) -> anyhow::Result<()> {
        info!(version = env!("CARGO_PKG_VERSION"), namespace = self.settings.namespace, "starting");
        if self.stop.run_until_cancelled(self.await_crds()).await.is_none() {
            return Ok(());
        }
        self.readiness.open(Gate::CrdsEstablished);
        let halt = self.stop.child_token();
        let work = async {
            match halt.clone().run_until_cancelled_owned(self.start()).await {
                None => Ok(End::Finished),
                Some(Err(error)) => Err(error),
                Some(Ok((context, wakes))) => Ok(self.work(&context, wakes, &halt).await),
            }
        };
        if !self.settings.election.leader_elect {
            self.readiness.open(Gate::LeaseObserved);
            return work.await.map(drop);
        }
        let (client, election) = (self.client.clone(), self.settings.election.clone());
        let lead = self.metrics.lead.clone();
        let mut replica = Replica::new(client, &self.settings.namespace, election, lead);
        if !replica.acquire(|| self.readiness.open(Gate::LeaseObserved), &self.stop).await {
            return Ok(());
        }
        self.readiness.stand_by(false);
        replica.during(Box::pin(work), halt.clone(), &self.stop).await
    }

    /// Waits for what the controllers need.
    async fn start(&self) -> anyhow::Result<(Arc<Context>, Wakes)> {
        let ledger = loop {
            match Ledger::open(self.client.clone(), &self.settings.namespace).await {
                Ok(ledger) => break ledger,
                Err(error) if error.is::<kube::Error>() => {
                    warn!(%error, "the ledger cannot be opened yet; does the operator's namespace exist?");
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(error) => return Err(error),
            }
        };
        self.readiness.open(Gate::LedgerOpen);
        let (wake, wakes) = wakes();
        let instance = std::env::var("HOSTNAME").unwrap_or_else(|_| std::process::id().to_string());
        let context = Context {
            client: self.client.clone(),
            namespace: self.settings.namespace.clone(),
            ledger,
            organizations: Organizations::new(self.metrics.budgets.clone()),
            limits: self.settings.limits(),
            lead: self.metrics.lead.clone(),
            observe_interval: self.settings.observe_interval,
            namespaces: Namespaces::default(),
            sweep_interval: self.settings.sweep_interval,
            in_use: InUse::new(self.settings.watch_namespaces.clone()),
            brake: Brake::default(),
            sightings: Sightings::default(),
            looks: Looks::default(),
            absences: Absences::default(),
            key_suspicions: KeySuspicions::default(),
            gaps: Gaps::default(),
            in_flight: InFlight::default(),
            waiters: Waiters::default(),
            publications: Publications::default(),
            superseded_retention: self.settings.superseded_retention,
            failures: Failures::default(),
            stop: self.stop.clone(),
            tasks: TaskTracker::new(),
            wake,
            events: Events::new(self.client.clone(), instance),
            metrics: self.metrics.reconciles.clone(),
            call_metrics: self.metrics.calls.clone(),
            claims: OnceLock::new(),
        };
        Ok((Arc::new(context), wakes))
    }

    /// Waits until both definitions are established. Without the right to look (namespaced roles) it goes on: the
    /// watches wait by themselves. It goes on as well while a definition is being deleted, which waits for the resources
    /// with a finalizer, and those for this process; the other definition may be gone by then.
    async fn await_crds(&self) {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for name in crd::all().iter().map(ResourceExt::name_any) {
            loop {
                match api.get_opt(&name).await {
                    Ok(found) if conditions::is_crd_established().matches_object(found.as_ref()) => break,
                    Ok(_) if self.is_uninstalling().await => {
                        info!(name, "the CustomResourceDefinitions are being deleted; resources are let go");
                        break;
                    }
                    Ok(_) => warn!(
                        name,
                        "the CustomResourceDefinition is not established; apply the files of crds/"
                    ),
                    Err(kube::Error::Api(status)) if status.is_forbidden() => break,
                    Err(error) => {
                        warn!(name, error = words(&error), "the CustomResourceDefinition cannot be read");
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Whether a definition is being deleted.
    async fn is_uninstalling(&self) -> bool {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for name in crd::all().iter().map(ResourceExt::name_any) {
            let found = api.get_metadata_opt(&name).await;
            if matches!(found, Ok(Some(found)) if found.metadata.deletion_timestamp.is_some()) {
                return true;
            }
        }
        false
    }

    /// Runs the controllers until halted, then lets what is running finish.
    async fn work(&self, context: &Arc<Context>, wakes: Wakes, halt: &CancellationToken) -> End {
        let stop = halt.clone();
        let projects = self.metrics.projects.clone();
        let (organizations, run_organizations) = organization::controller(
            context.clone(),
            stream(wakes.organizations),
            wake_projects_of(context.clone(), projects.clone()),
            stop.clone(),
        );
        let (claims, run_claims) = claims::controller(
            context.clone(),
            stream(wakes.claims),
            wake_organizations_of(context.clone(), organizations.clone()),
            stop.clone(),
        );
        // Set once, here.
        let _ = context.claims.set(claims.clone());
        let _ = self.metrics.organizations.set(organizations.clone());
        let purge = tombstones::purge(context.clone(), self.settings.tombstone_retention, stop.clone());
        let mut running: Vec<BoxFuture<'static, ()>> =
            vec![run_organizations.boxed(), run_claims.boxed(), purge.boxed()];
        if self.settings.watch_namespaces.is_empty() {
            let (context, stop) = (context.clone(), stop.clone());
            let relabelled = wake_projects_in(context.clone(), projects.clone());
            running.push(stray::controller(context.clone(), stop.clone()).boxed());
            running.push(async move { scope::watch(&context, relabelled, stop).await }.boxed());
        }
        let mut stores = Vec::new();
        for Watched { projects, secrets, wake } in self.project_apis(wakes.projects) {
            let workers = self.settings.workers;
            let (store, run) = project::controller(context.clone(), projects, wake, workers, stop.clone());
            running.push(secret_watch::run(context.clone(), secrets, store.clone(), stop.clone()).boxed());
            stores.push(store);
            let (context, organizations) = (context.clone(), organizations.clone());
            let is_cluster_wide = self.settings.watch_namespaces.is_empty();
            let stop = stop.clone();
            let run = async move {
                let first_looks = first_looks(&context, &organizations, is_cluster_wide);
                let _ = stop.run_until_cancelled(first_looks).await;
                run.await;
            };
            running.push(run.boxed());
        }
        let _ = projects.set(stores.clone());
        context.in_use.watched(stores.clone());
        let synced = synced(context.clone(), self.readiness.clone(), organizations, claims, stores);
        let running = async {
            tokio::join!(join_all(running), stop.run_until_cancelled(synced));
            context.tasks.close();
            context.tasks.wait().await;
        };
        let deadline = async {
            self.stop.cancelled().await;
            tokio::time::sleep(self.settings.shutdown_timeout).await;
        };
        tokio::select! {
            () = running => {
                info!("stopped");
                End::Finished
            }
            () = deadline => {
                warn!("stopped before everything had finished; the claims know what is open");
                End::CutShort
            }
        }
    }

    /// One watch per namespace, or one for all; each with the looks that are asked for in it.
    fn project_apis(&self, mut wake: References<ComposioProject>) -> Vec<Watched> {
        if self.settings.watch_namespaces.is_empty() {
            let (projects, secrets) = (Api::all(self.client.clone()), Api::all(self.client.clone()));
            return vec![Watched { projects, secrets, wake: stream(wake).boxed() }];
        }
        let mut namespaces = self.settings.watch_namespaces.clone();
        namespaces.sort();
        namespaces.dedup();
        let (senders, watched): (Vec<_>, Vec<_>) = namespaces
            .into_iter()
            .map(|namespace| {
                let (sender, receiver) = unbounded_channel();
                let watched = Watched {
                    projects: Api::namespaced(self.client.clone(), &namespace),
                    secrets: Api::namespaced(self.client.clone(), &namespace),
                    wake: stream(receiver).boxed(),
                };
                ((namespace, sender), watched)
            })
            .unzip();
        tokio::spawn(async move {
            while let Some(reference) = wake.recv().await {
                let wanted = senders.iter().find(|(name, _)| reference.namespace.as_ref() == Some(name));
                if let Some((_, sender)) = wanted {
                    let _ = sender.send(reference);
                }
            }
        });
        watched
    }
}

/// The receiving ends of [`Wake`].
struct Wakes {
    projects: References<ComposioProject>,
    organizations: References<ComposioOrganization>,
    claims: References<PartialObjectMeta<Secret>>,
}

fn wakes() -> (Wake, Wakes) {
    let (projects, receive_projects) = unbounded_channel();
    let (organizations, receive_organizations) = unbounded_channel();
    let (claims, receive_claims) = unbounded_channel();
    (
        Wake { projects, organizations, claims },
        Wakes { projects: receive_projects, organizations: receive_organizations, claims: receive_claims },
    )
}

fn stream<K: Resource<DynamicType: Send> + Send + 'static>(
    mut receiver: References<K>,
) -> impl futures::Stream<Item = ObjectRef<K>> + Send + 'static
where
    ObjectRef<K>: Send,
{
    futures::stream::poll_fn(move |context| receiver.poll_recv(context))
}

/// Asks for a look at every project of an organization for which calls have become possible.
fn wake_projects_of(context: Arc<Context>, projects: Caches) -> impl Fn(&str) + Send + Sync + 'static {
    move |name| {
        for project in projects.get().into_iter().flatten().flat_map(Store::state) {
            if project.organization() == name {
                let _ = context.wake.projects.send(project.reference());
            }
        }
    }
}

/// Asks for a look at every project in namespaces whose labels have changed, where they matter.
fn wake_projects_in(
    context: Arc<Context>,
    projects: Caches,
) -> impl Fn(&HashSet<String>) + Send + Sync + 'static {
    move |namespaces| {
        for project in projects.get().into_iter().flatten().flat_map(Store::state) {
            let is_in = project.namespace().is_some_and(|namespace| namespaces.contains(&namespace));
            if is_in && context.is_selective(project.organization()) {
                let _ = context.wake.projects.send(project.reference());
            }
        }
    }
}

/// Asks for a look at every organization whose key is in a Secret that has changed.
fn wake_organizations_of(
    context: Arc<Context>,
    organizations: Store<ComposioOrganization>,
) -> impl Fn(&str) + Send + Sync + 'static {
    move |secret| {
        if secret == HEADER {
            context.wake_organizations();
        }
        for organization in organizations.state() {
            if organization.spec.api_key_secret_ref.name == secret {
                let _ = context.wake.organizations.send(ObjectRef::from_obj(&*organization));
            }
        }
    }
}

/// Waits until each organization has been looked at once, so that a restart tells no project that its organization is
/// unknown, and until the labels of the namespaces are known, so that not each project reads them. Bounded: a probe that
/// hangs keeps nobody waiting for long.
async fn first_looks(context: &Context, organizations: &Store<ComposioOrganization>, is_cluster_wide: bool) {
    let is_unproven = |name: &str| matches!(context.organizations.get(name), Some(State::Unproven));
    let looked = async {
        let _ = organizations.wait_until_ready().await;
        let lacks_labels = || {
            let are_needed = || context.organizations.names().iter().any(|name| context.is_selective(name));
            is_cluster_wide && !context.namespaces.is_complete() && are_needed()
        };
        while lacks_labels() || organizations.state().iter().any(|known| is_unproven(&known.name_any())) {
            tokio::time::sleep(LOOK_AGAIN / 20).await;
        }
    };
    let _ = tokio::time::timeout(FIRST_LOOKS, looked).await;
}

async fn synced(
    context: Arc<Context>,
    readiness: Readiness,
    organizations: Store<ComposioOrganization>,
    claims: Store<PartialObjectMeta<Secret>>,
    projects: Vec<Store<CachedProject>>,
) {
    let projects = join_all(projects.iter().map(Store::wait_until_ready));
    let (organizations, claims, projects) =
        tokio::join!(organizations.wait_until_ready(), claims.wait_until_ready(), projects);
    if organizations.is_ok() && claims.is_ok() && projects.iter().all(Result::is_ok) {
        readiness.open(Gate::CachesSynced);
        info!("ready");
        // How large the fleets are is known only now.
        context.organizations.names().iter().for_each(|name| context.wake_unprobed(name));
    }
}
