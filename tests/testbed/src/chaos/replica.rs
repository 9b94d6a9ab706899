//! One replica of the operator: the real binary behind a proxy, killed, stopped and started again as it is told. Its log is
//! searched for keys each time it ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use composio_operator::process::settings::Settings;
use kube::config::Kubeconfig;
use rustix::process::Signal;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::tally::{Count, Tally};
use crate::canary::has_key;
use crate::world::Child;

/// How often a replica is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What a replica is told.
#[derive(Debug)]
pub(super) enum Order {
    /// SIGKILL, and a new start.
    Kill,
    /// SIGSTOP, and SIGCONT after this time.
    Stop(Duration),
    /// Nothing: the sender wants to know when it is its turn.
    Say(oneshot::Sender<()>),
}

/// How a replica is run.
pub(super) struct Recipe {
    pub(super) binary: PathBuf,
    pub(super) settings: Settings,
    pub(super) kubeconfig: Kubeconfig,
    pub(super) tally: Arc<Tally>,
}

/// A replica that runs in a task of its own.
pub(super) struct Replica {
    orders: UnboundedSender<Order>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Replica {
    pub(super) fn start(recipe: Recipe) -> Self {
        let (orders, received) = unbounded_channel();
        Self { orders, task: tokio::task::spawn_local(live(recipe, received)) }
    }

    /// Tells it something; it does one thing after the other.
    pub(super) fn tell(&self, order: Order) {
        // An error means that it has failed, which `end` reports.
        let _ = self.orders.send(order);
    }

    /// Waits until it has done all that it was told, or has failed, which [`Replica::end`] reports.
    pub(super) async fn calm(&self) {
        let (done, is_done) = oneshot::channel();
        self.tell(Order::Say(done));
        let _ = is_done.await;
    }

    /// Ends it in good order.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        drop(self.orders);
        self.task.await?
    }
}

async fn live(recipe: Recipe, mut orders: UnboundedReceiver<Order>) -> anyhow::Result<()> {
    let mut child = recipe.launch().await;
    loop {
        let order = tokio::select! {
            order = orders.recv() => order,
            () = sleep(LOOK) => {
                if let Some(status) = child.has_ended() {
                    ensure!(status.code().is_some_and(|code| code != PANICKED),
                        "a replica ended by itself ({status}): {}", child.log_tail());
                    recipe.tally.add(Count::SelfEnded);
                    child = recipe.again(child).await?;
                }
                continue;
            }
        };
        match order {
            Some(Order::Kill) => {
                child.signal(Signal::KILL);
                child.ended().await;
                recipe.tally.add(Count::Kills);
                child = recipe.again(child).await?;
            }
            Some(Order::Stop(time)) => {
                child.signal(Signal::STOP);
                recipe.tally.add(Count::Stops);
                sleep(time).await;
                child.signal(Signal::CONT);
            }
            Some(Order::Say(done)) => drop(done.send(())),
            None => break,
        }
    }
    let page = child.get("/metrics").await.map(|(_, page)| page).unwrap_or_default();
    ensure!(!has_key(&page), "a key is in the metrics of a replica");
    child.signal(Signal::TERM);
    let code = child.ended().await;
    ensure!(code == Some(0), "a replica ended with {code:?} after SIGTERM: {}", child.log_tail());
    searched(&child)
}

/// Exit code of a process that panicked.
const PANICKED: i32 = 101;

impl Recipe {
    async fn launch(&self) -> Child {
        Child::launch_logging(&self.binary, &self.settings, &self.kubeconfig, FILTER).await
    }

    /// A new process after one that has ended.
    async fn again(&self, ended: Child) -> anyhow::Result<Child> {
        searched(&ended)?;
        drop(ended);
        self.tally.add(Count::Restarts);
        Ok(self.launch().await)
    }
}

/// Everything of the operator itself; the libraries at TRACE would write more than they do otherwise.
const FILTER: &str = "debug,composio_operator=trace";

fn searched(child: &Child) -> anyhow::Result<()> {
    ensure!(!has_key(child.log()), "a key is in the log of a replica");
    Ok(())
}
