//! The operator in its image, in front of a real API server and of the emulator behind TLS and a name: as in a pod.

use rustix::process::Signal;
use serde_json::{Value, json};
use testbed::chart::RELEASE;
use testbed::tls::TlsFront;
use testbed::world::{Child, World};

use crate::names::NameServer;
use crate::root::Root;

/// Where Composio is.
const NAME: &str = "backend.composio.example";
/// Of the image.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What a kubelet mounts: the account, and how names are found.
async fn mount(root: &Root, world: &World, names: &NameServer) {
    let kubeconfig = world.control_plane.service_account_kubeconfig(&world.system, RELEASE).await;
    let kubeconfig = serde_json::to_value(kubeconfig.expect("an account")).expect("JSON");
    let token = kubeconfig["users"][0]["user"]["token"].as_str().expect("a token");
    root.put(&format!("{ACCOUNT}/token"), token);
    root.put(&format!("{ACCOUNT}/ca.crt"), world.control_plane.ca_pem());
    root.put(&format!("{ACCOUNT}/namespace"), &world.system);
    root.put("/etc/resolv.conf", &names.resolver());
}

/// Starts it, with the two variables that a kubelet sets.
async fn start(root: &Root, world: &World) -> Child {
    let (host, port) = world.control_plane.url().rsplit_once(':').expect("an address");
    let mut command = root.operator();
    command.env("KUBERNETES_SERVICE_HOST", host.trim_start_matches("https://"));
    command.env("KUBERNETES_SERVICE_PORT", port).env("RUST_LOG", "trace");
    let mut child = Child::launch_command(command, &world.settings()).await;
    child.ready().await;
    child
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_nobody_in_the_files_of_the_image_it_finds_composio_by_name_and_trusts_it_by_the_images_certificates()
 {
    let world = World::without_operator().await;
    let names = NameServer::start(NAME);
    let front = TlsFront::start_as(NAME, world.emulator.url()).await.expect("TLS in front of the emulator");
    let endpoint: Value = json!({"endpoint": {"url": front.url()}});
    world.add_organization("default", &world.organization.key, endpoint).await;
    world.granted(&[]).await;
    let root = Root::of_image();
    mount(&root, &world, &names).await;
    let files = root.files();

    let mut child = start(&root, &world).await;
    // An authority that nobody knows is not trusted.
    world.organization_says("default", "False", "EndpointUnreachable", "invalid peer certificate").await;
    child.kill().await;

    // Beside the public authorities, as if it were one of them.
    root.put(CERTIFICATES, &format!("{}\n{}", root.text(CERTIFICATES), front.ca_pem()));
    let mut child = start(&root, &world).await;
    assert_eq!(child.get("/livez").await, Ok((200, "ok\n".to_owned())));
    world.organization_ready("default").await;
    world.apply("shop", json!({})).await;
    world.ready("shop").await;
    assert!(names.answered() > 0, "nobody has asked for {NAME}");
    assert_eq!(root.files(), files, "it has written into its root file system");
    child.signal(Signal::TERM);
    assert_eq!(child.ended().await, Some(0));
    world.finish(&[]).await;
}
