//! Worlds with a cluster of their own: two of them can share one emulator, as two clusters share Composio.

use std::sync::Arc;

use kube::config::{Kubeconfig, NamedContext};

use super::{World, ample};
use crate::canary::{History, capture_logs};
use crate::controlplane::{ControlPlane, Options};
use crate::emulator::{self, Emulator, Organization};

#[expect(clippy::expect_used, reason = "a cluster that cannot be made fails its test")]
impl World {
    /// A world in a cluster of its own, in which there is nothing: no definition, no namespace, no operator. Its namespaces
    /// are called `composio-system` and `team-a`. Like the shared one, the cluster lives until the process ends.
    pub async fn in_empty_cluster() -> Self {
        let emulator = Emulator::start(emulator::Options::default()).await.expect("an emulator");
        let organization = emulator.control().add_organization(ample("default"));
        Self::in_cluster(Arc::new(emulator), organization).await
    }

    /// One more empty cluster, whose operator calls the same emulator.
    pub async fn second_cluster(&self) -> Self {
        Self::in_cluster(self.emulator.clone(), self.organization.clone()).await
    }

    async fn in_cluster(emulator: Arc<Emulator>, organization: Organization) -> Self {
        capture_logs();
        let control_plane = ControlPlane::start(Options::default()).await.expect("a control plane");
        let control_plane: &'static ControlPlane = Box::leak(Box::new(control_plane));
        let history = History::follow(control_plane.etcd_client_url()).await.expect("the history of etcd");
        let history: &'static History = Box::leak(Box::new(history));
        let names = ["composio-system", "team-a"];
        Self::of(control_plane, history, emulator, organization, names).await
    }

    /// One more organization at Composio, with a limit that no scenario reaches.
    pub fn ample_organization(&self, name: &str) -> Organization {
        self.control.add_organization(ample(name))
    }
}

/// One kubeconfig for several clusters, each as the context of its name. There is no current one.
pub fn contexts<'a>(worlds: impl IntoIterator<Item = (&'a str, &'a World)>) -> Kubeconfig {
    let mut all = Kubeconfig::default();
    for (name, world) in worlds {
        let mut one = world.control_plane.kubeconfig();
        one.clusters.iter_mut().for_each(|cluster| name.clone_into(&mut cluster.name));
        one.auth_infos.iter_mut().for_each(|user| name.clone_into(&mut user.name));
        for NamedContext { name: called, context, .. } in &mut one.contexts {
            name.clone_into(called);
            if let Some(context) = context {
                name.clone_into(&mut context.cluster);
                context.user = Some(name.to_owned());
            }
        }
        all.clusters.append(&mut one.clusters);
        all.auth_infos.append(&mut one.auth_infos);
        all.contexts.append(&mut one.contexts);
    }
    all
}
