//! The shell of leader election: reads and writes the Lease, at most one request at a time, and does what
//! `domain::lease` decides. The work is handed in as a future; it runs only while the Lease is held.

use std::time::Duration;

use anyhow::anyhow;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::{Api, Client, ResourceExt};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::settings::Election;
use crate::composio::{BootInstant, Lead};
use crate::controller::api_error::{is_conflict, words};
use crate::controller::context::Context;
use crate::controller::ledger::post_params;
use crate::domain::lease::{Candidate, Decision, Loss, Record, Terms};

/// Name of the Lease in the operator's namespace.
pub(super) const LEASE: &str = "composio-operator";
/// How long the end of the process waits for a renewal that is on its way, and for giving the Lease back.
const FAREWELL: Duration = Duration::from_secs(3);

/// `leader`: 1 while this process leads, asked at every scrape.
#[derive(Debug)]
pub(super) struct LeaderMetric(pub(super) Lead);

impl Collector for LeaderMetric {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::from(self.0.is_held()));
        let help = "1 on the process that leads, 0 on those that stand by; always 1 without leader election";
        gauge.encode(encoder.encode_descriptor("leader", help, None, gauge.metric_type())?)
    }
}

/// How the work has ended.
pub(super) enum End {
    /// All of it, with every answer in its claim.
    Finished,
    /// Something is still open.
    CutShort,
}

/// One replica and its Lease.
pub(super) struct Replica {
    api: Api<Lease>,
    election: Election,
    candidate: Candidate,
    /// As it was read or written last, with what others keep in it.
    object: Option<Lease>,
    lead: Lead,
    holder: String,
}

impl Replica {
    /// A replica that has seen nothing; `lead` is held while it leads.
    pub(super) fn new(client: Client, namespace: &str, election: Election, lead: Lead) -> Self {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "composio-operator".to_owned());
        let me = format!("{host}_{}", uuid::Uuid::new_v4());
        let terms = Terms { duration: election.lease_duration, renew_deadline: election.renew_deadline };
        let api = Api::namespaced(client, namespace);
        let candidate = Candidate::new(me, terms);
        Self { api, election, candidate, object: None, lead, holder: String::new() }
    }

    /// Waits until this process leads. False: it was stopped before. `observed` is called whenever the Lease was read.
    pub(super) async fn acquire(&mut self, observed: impl Fn(), stop: &CancellationToken) -> bool {
        loop {
            let mut pause = self.election.retry_period.mul_f64(1.0 + 0.2 * Context::spread());
            match stop.run_until_cancelled(self.look()).await {
                None => return false,
                Some(false) => {}
                Some(true) => {
                    observed();
                    match self.candidate.decide(now()) {
                        // Not cancelled: a write whose answer nobody hears would keep everybody waiting.
                        Decision::Create | Decision::Take | Decision::Renew => {
                            if self.write().await {
                                info!(lease.name = LEASE, "this process leads");
                                return true;
                            }
                        }
                        Decision::Wait(left) => {
                            self.tell_holder();
                            pause = pause.min(left);
                        }
                        Decision::Lost(_) => {}
                    }
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return false;
            }
        }
    }

    fn tell_holder(&mut self) {
        if self.holder != self.candidate.holder() {
            self.candidate.holder().clone_into(&mut self.holder);
            info!(lease.holder = self.holder, "standing by");
        }
    }

    /// Does `work` while this process leads. When the Lease is lost, `halt` is cancelled, what waits for an answer is
    /// finished, and the loss is the error. When the work has ended, the Lease is given back.
    pub(super) async fn during(
        mut self,
        work: impl Future<Output = anyhow::Result<End>>,
        halt: CancellationToken,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let (enough, lead) = (CancellationToken::new(), self.lead.clone());
        let until = enough.clone();
        // A task of its own: no work delays a renewal.
        let mut keeping = tokio::spawn(async move {
            let loss = self.keep(&until).await;
            (self, loss)
        });
        tokio::pin!(work);
        let kept = tokio::select! {
            end = &mut work => {
                enough.cancel();
                if matches!(end, Ok(End::Finished) | Err(_)) {
                    give_back(keeping, &lead).await;
                }
                return end.map(drop);
            }
            joined = &mut keeping => joined,
        };
        lead.end();
        let why = match kept {
            Ok((_, Some(loss))) => loss.to_string(),
            Ok((_, None)) | Err(_) => "its task has ended".to_owned(),
        };
        error!(why, "the lease is lost; finishing what waits for an answer");
        halt.cancel();
        work.await?;
        if stop.is_cancelled() {
            return Ok(());
        }
        Err(anyhow!(
            "the lease {LEASE} is lost: {why}; this process ends, and begins anew as a standby where it is restarted"
        ))
    }

    /// Renews until told to stop; why the Lease is lost otherwise.
    async fn keep(&mut self, stop: &CancellationToken) -> Option<Loss> {
        let mut must_look = false;
        loop {
            stop.run_until_cancelled(tokio::time::sleep(self.election.retry_period)).await?;
            // A second try at once where somebody has changed the object, which may have been a renewal of our own.
            for _ in 0..2 {
                if must_look && !self.look().await {
                    break;
                }
                match self.candidate.decide(now()) {
                    Decision::Lost(loss) => return Some(loss),
                    _ => must_look = !self.write().await,
                }
                if !must_look {
                    break;
                }
            }
            if let Decision::Lost(loss) = self.candidate.decide(now()) {
                return Some(loss);
            }
        }
    }

    /// Reads the Lease; false where that failed.
    async fn look(&mut self) -> bool {
        match self.bounded(self.api.get_opt(LEASE)).await {
            Ok(found) => {
                let fallback = self.election.lease_duration;
                let read =
                    |lease: &Lease| (record(lease, fallback), lease.resource_version().unwrap_or_default());
                self.candidate.observe(found.as_ref().map(read), now());
                self.object = found;
                true
            }
            Err(error) => {
                warn!(error = words(&error), lease.name = LEASE, "the Lease cannot be read");
                false
            }
        }
    }

    /// Creates, takes or renews the Lease; false where that failed or nobody knows.
    async fn write(&mut self) -> bool {
        let record = self.candidate.record(Timestamp::now());
        let lease = self.lease(&record);
        // Before it is sent: for others it may count from any moment after this.
        let sent = now();
        let params = post_params();
        let written = match self.candidate.version() {
            Some(_) => self.bounded(self.api.replace(LEASE, &params, &lease)).await,
            None => self.bounded(self.api.create(&params, &lease)).await,
        };
        match written {
            Ok(written) => {
                self.candidate.written(record, written.resource_version().unwrap_or_default(), sent);
                if let Some(until) = self.candidate.leads_until() {
                    self.lead.extend(BootInstant::from_boot(until));
                }
                self.object = Some(written);
                debug!(lease.name = LEASE, "the Lease is ours");
                true
            }
            Err(error) if is_conflict(&error) => {
                debug!(lease.name = LEASE, "somebody else has written the Lease");
                false
            }
            Err(error) => {
                warn!(error = words(&error), lease.name = LEASE, "the Lease cannot be written");
                false
            }
        }
    }

    /// The object to write: as it was read, with another record in it.
    fn lease(&self, record: &Record) -> Lease {
        let mut lease = self.object.clone().unwrap_or_default();
        lease.metadata.name = Some(LEASE.to_owned());
        lease.metadata.managed_fields = None;
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(record.holder.clone());
        spec.lease_duration_seconds = i32::try_from(record.duration.as_secs()).ok();
        spec.acquire_time = record.acquire_time.map(MicroTime);
        spec.renew_time = record.renew_time.map(MicroTime);
        spec.lease_transitions = Some(record.transitions);
        lease
    }

    /// A request with a deadline, so that one that hangs is tried again while there is time.
    async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, kube::Error> {
        let Election { lease_duration, renew_deadline, .. } = self.election;
        let mut limit = renew_deadline / 2;
        if let Some(until) = self.candidate.leads_until() {
            limit = limit.min((until + renew_deadline).saturating_sub(now() + lease_duration));
        }
        let elapsed = |elapsed: tokio::time::error::Elapsed| kube::Error::Service(elapsed.into());
        tokio::time::timeout(limit, request).await.map_err(elapsed)?
    }

    /// Lets others take the Lease at once. Nothing is under way here any more.
    async fn release(&mut self) {
        loop {
            let Some(record) = self.candidate.release(Timestamp::now()) else { return };
            let lease = self.lease(&record);
            match self.api.replace(LEASE, &post_params(), &lease).await {
                Ok(_) => return info!(lease.name = LEASE, "the lease is released"),
                Err(error) if is_conflict(&error) && self.look().await => {}
                Err(error) => {
                    return warn!(error = words(&error), "the Lease was not released; it will run out");
                }
            }
        }
    }
}

/// Waits for the last renewal, and gives the Lease back where there is time.
async fn give_back(keeping: tokio::task::JoinHandle<(Replica, Option<Loss>)>, lead: &Lead) {
    let release = async {
        if let Ok((mut replica, None)) = keeping.await {
            lead.end();
            replica.release().await;
        }
    };
    if tokio::time::timeout(FAREWELL, release).await.is_err() {
        warn!("the Lease was not released in time; it will run out");
    }
}

fn now() -> Duration {
    BootInstant::now().since_boot()
}

/// What an object says. A holder that does not say for how long counts as one of ours.
fn record(lease: &Lease, fallback: Duration) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: seconds.filter(|seconds| *seconds > 0).map_or(fallback, Duration::from_secs),
        acquire_time: spec.acquire_time.map(|time| time.0),
        renew_time: spec.renew_time.map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
