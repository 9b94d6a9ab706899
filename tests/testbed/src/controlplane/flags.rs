//! The command lines of the three programs. Each flag that is not self-evident says why it is there.

use std::path::Path;

use super::pki::PkiFiles;

/// `etcd`: `name` is unique, so that its owner can tell it from another etcd on a port that was lost.
pub(crate) fn etcd(name: &str, data: &Path, client_url: &str) -> Vec<String> {
    vec![
        format!("--name={name}"),
        format!("--data-dir={}", data.display()),
        // The data is thrown away: durability would only cost time.
        "--unsafe-no-fsync".into(),
        format!("--listen-client-urls={client_url}"),
        format!("--advertise-client-urls={client_url}"),
        // Nobody asks a peer: any free port does.
        "--listen-peer-urls=http://127.0.0.1:0".into(),
        "--log-level=warn".into(),
    ]
}

/// `kube-apiserver` on loopback.
pub(crate) fn api_server(pki: &PkiFiles, port: u16, etcd_url: &str) -> Vec<String> {
    vec![
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        format!("--etcd-servers={etcd_url}"),
        // Else it writes a directory into the working directory.
        format!("--cert-dir={}", pki.dir.display()),
        format!("--tls-cert-file={}", pki.server_certificate.display()),
        format!("--tls-private-key-file={}", pki.server_key.display()),
        format!("--client-ca-file={}", pki.ca.display()),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki.token_public.display()),
        format!("--service-account-signing-key-file={}", pki.token_private.display()),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        "--authorization-mode=RBAC".into(),
        // No Pods run here, so a Pod need not wait for a ServiceAccount.
        "--disable-admission-plugins=ServiceAccount".into(),
        // Else stopping waits for the removal of an endpoint that nobody reads.
        "--endpoint-reconciler-type=none".into(),
        "--profiling=false".into(),
    ]
}

/// `kube-controller-manager` with the controllers that an operator relies on.
pub(crate) fn controller_manager(pki: &PkiFiles, kubeconfig: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--bind-address=127.0.0.1".into(),
        "--secure-port=0".into(),
        "--leader-elect=false".into(),
        // Without it, foreground deletion and the end of namespaces hang quietly: its own role may not delete.
        "--use-service-account-credentials=true".into(),
        format!("--root-ca-file={}", pki.ca.display()),
        format!("--service-account-private-key-file={}", pki.token_private.display()),
        "--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller,\
         root-ca-certificate-publisher-controller,clusterrole-aggregation-controller"
            .into(),
    ]
}
