//! Downloads the official builds and checks them before they are used.
//!
//! The envtest archive (published by kubernetes-sigs/controller-tools) has etcd and kube-apiserver, but no
//! kube-controller-manager; that one is published with each release of Kubernetes, for Linux only.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;
use futures::TryStreamExt;
use sha2::{Digest, Sha256, Sha512};

use super::Part;
use crate::controlplane::install_crypto_provider;
use crate::programs::cache::hex;
use crate::programs::progress::Progress;

const VERSION: &str = "v1.36.2";

/// A machine without a network goes on to the next place after this.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// A download that stands still for this long is given up.
const SILENCE: Duration = Duration::from_secs(30);

/// What must be true of a downloaded file.
#[derive(Clone, Debug)]
pub enum Checksum {
    /// SHA-256, hexadecimal.
    Sha256(String),
    /// SHA-512, hexadecimal.
    Sha512(String),
    /// SHA-256 as published beside the file, under its address with `.sha256` at the end. It notices a broken
    /// download, but no forged one.
    PublishedSha256,
}

/// A file to download.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// Its address.
    pub url: String,
    /// What it must be.
    pub checksum: Checksum,
}

/// The official builds of one version for one machine.
#[derive(Clone, Debug)]
pub struct Release {
    /// The name of the entry in the cache.
    pub name: String,
    /// The envtest archive (tar, gzip) with etcd and kube-apiserver.
    pub archive: Artifact,
    /// The program kube-controller-manager.
    pub controller_manager: Artifact,
}

impl Release {
    /// What is pinned for this machine, if anything is.
    ///
    /// The digests of the archives are those of `envtest-releases.yaml` in kubernetes-sigs/controller-tools. No
    /// digest of the controller manager for arm64 was at hand when this was written, so the published one counts.
    pub fn for_this_machine() -> Option<Self> {
        let (arch, archive, controller_manager) = match (std::env::consts::OS, std::env::consts::ARCH) {
            ("linux", "x86_64") => (
                "amd64",
                "ea743186c8a799f5cf8faf16969f86189d003cb7d130e0ac4b58789f1e5748dc\
                 f30ebe91c837a10d5ac415383da3e10b9e64d65785c938c23e739781cfb76f08",
                Checksum::Sha256("6332e45474baf6362f50394d8f7c6002274db04d68fe51dbe2229ef5c0b21e3c".into()),
            ),
            ("linux", "aarch64") => (
                "arm64",
                "2d72ee985a8e262a3c57dc9f7f0fd891f6a8c7bf7ebaa2db6dc6d8eac8ae2818\
                 1afe51c1f368b67756cdb40b10de9b205609e1726e5f27f7c6d824dd9c6649ac",
                Checksum::PublishedSha256,
            ),
            _ => return None,
        };
        let name = format!("envtest-{VERSION}-linux-{arch}");
        Some(Self {
            archive: Artifact {
                url: format!(
                    "https://github.com/kubernetes-sigs/controller-tools/releases/download/envtest-{VERSION}/{name}.tar.gz"
                ),
                checksum: Checksum::Sha512(archive.into()),
            },
            controller_manager: Artifact {
                url: format!("https://dl.k8s.io/release/{VERSION}/bin/linux/{arch}/kube-controller-manager"),
                checksum: controller_manager,
            },
            name,
        })
    }
}

/// Downloads into `dir`.
pub(super) fn into(dir: &Path, release: &Release, progress: &Progress) -> Result<(), String> {
    let archive = dir.join("envtest.tar.gz");
    let controller_manager = dir.join(Part::ControllerManager.name());
    // A thread of its own, because the caller may be inside a runtime, where another one cannot be driven.
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| format!("no runtime: {error}"))?;
            runtime.block_on(async {
                fetch(&release.archive, &archive, progress).await?;
                fetch(&release.controller_manager, &controller_manager, progress).await
            })
        });
        work.join().unwrap_or_else(|_| Err("the download panicked".into()))
    })?;
    fs::set_permissions(&controller_manager, fs::Permissions::from_mode(0o755))
        .map_err(|error| format!("cannot make it executable: {error}"))?;
    progress.detail("unpacking");
    unpack(&archive, dir).map_err(|error| format!("cannot unpack {}: {error}", release.archive.url))?;
    fs::remove_file(&archive).map_err(|error| format!("cannot remove the archive: {error}"))
}

async fn fetch(artifact: &Artifact, to: &Path, progress: &Progress) -> Result<(), String> {
    install_crypto_provider();
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_WITHIN)
        .read_timeout(SILENCE)
        .build()
        .map_err(|error| reason("prepare a download", &error))?;
    let (mut hasher, expected) = match &artifact.checksum {
        Checksum::Sha256(digest) => (Hasher::Sha256(Sha256::new()), digest.clone()),
        Checksum::Sha512(digest) => (Hasher::Sha512(Sha512::new()), digest.clone()),
        Checksum::PublishedSha256 => {
            (Hasher::Sha256(Sha256::new()), published(&client, &artifact.url).await?)
        }
    };
    let response = get(&client, &artifact.url).await?;
    let total = response.content_length();
    let mut file = File::create(to).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    let mut received = 0_u64;
    let mut stream = response.bytes_stream();
    let failed = |error: reqwest::Error| reason(&format!("read {}", artifact.url), &error);
    while let Some(chunk) = stream.try_next().await.map_err(failed)? {
        hasher.update(&chunk);
        file.write_all(&chunk).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
        received += chunk.len() as u64;
        progress.detail(amount(received, total));
    }
    let got = hasher.digest();
    if got == expected {
        return Ok(());
    }
    Err(format!("{} is not what it should be: its digest is {got}, not {expected}", artifact.url))
}

async fn get(client: &reqwest::Client, url: &str) -> Result<reqwest::Response, String> {
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    answer.map_err(|error| reason(&format!("get {url}"), &error))
}

async fn published(client: &reqwest::Client, url: &str) -> Result<String, String> {
    let url = format!("{url}.sha256");
    let text =
        get(client, &url).await?.text().await.map_err(|error| reason(&format!("read {url}"), &error))?;
    let digest = text.split_whitespace().next().unwrap_or_default();
    if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digest.to_ascii_lowercase());
    }
    Err(format!("{url} holds no SHA-256"))
}

/// The error with what is behind it: reqwest says "error sending request" and keeps the cause to itself.
fn reason(doing: &str, error: &reqwest::Error) -> String {
    let mut text = format!("cannot {doing}");
    let mut cause = std::error::Error::source(error);
    if cause.is_none() || error.is_status() {
        text = format!("{text}: {error}");
    }
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn amount(received: u64, total: Option<u64>) -> String {
    let megabytes = |bytes: u64| bytes / 1_000_000;
    match total {
        Some(total) => format!("{} of {} MB", megabytes(received), megabytes(total)),
        None => format!("{} MB", megabytes(received)),
    }
}

/// Takes the two programs out of the archive by file name; whatever else it holds is passed over.
fn unpack(archive: &Path, dir: &Path) -> std::io::Result<()> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = entry.path()?.file_name().map(|name| name.to_string_lossy().into_owned());
        let wanted =
            [Part::Etcd, Part::ApiServer].into_iter().find(|part| name.as_deref() == Some(part.name()));
        if let Some(part) = wanted.filter(|_| entry.header().entry_type().is_file()) {
            let path = dir.join(part.name());
            std::io::copy(&mut entry, &mut File::create(&path)?)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn digest(self) -> String {
        match self {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Sha512(hasher) => hex(&hasher.finalize()),
        }
    }
}
