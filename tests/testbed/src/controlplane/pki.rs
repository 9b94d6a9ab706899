//! The certificates and keys of one control plane: a throw-away authority and what it signs.
//!
//! Nothing here starts a process. Private keys are written into the data directory of the control plane
//! (readable by its owner only) and disappear with it; they are never printed.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// The names the API server answers to: loopback, the in-cluster name, and the first address of
/// `--service-cluster-ip-range=10.0.0.0/24`.
const SERVER_NAMES: [&str; 4] = ["127.0.0.1", "localhost", "kubernetes.default.svc", "10.0.0.1"];

/// A client certificate and its private key, both PEM.
#[derive(Clone)]
pub struct ClientCredentials {
    /// The certificate chain, PEM.
    pub certificate_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").finish_non_exhaustive()
    }
}

/// Everything that is signed or generated for one control plane.
pub(crate) struct Pki {
    pub(crate) ca_pem: String,
    pub(crate) admin: ClientCredentials,
    pub(crate) controller_manager: ClientCredentials,
    server: ClientCredentials,
    /// Signs ServiceAccount tokens: an ECDSA pair, which kube-apiserver takes as well as RSA.
    token_public_pem: String,
    token_private_pem: String,
}

/// Where the files of a [`Pki`] lie, for command lines.
pub(crate) struct PkiFiles {
    pub(crate) dir: PathBuf,
    pub(crate) ca: PathBuf,
    pub(crate) server_certificate: PathBuf,
    pub(crate) server_key: PathBuf,
    pub(crate) token_public: PathBuf,
    pub(crate) token_private: PathBuf,
}

impl Pki {
    /// Generates a new authority and everything below it.
    pub(crate) fn generate() -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "composio-operator-testbed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let ca_key = KeyPair::generate()?;
        let ca_pem = params.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(params, ca_key);
        let token = KeyPair::generate()?;
        Ok(Self {
            ca_pem,
            admin: client(&issuer, "testbed-admin", Some("system:masters"))?,
            controller_manager: client(&issuer, "system:kube-controller-manager", None)?,
            server: server(&issuer)?,
            token_public_pem: token.public_key_pem(),
            token_private_pem: token.serialize_pem(),
        })
    }

    /// Writes what the servers read into `dir`, which is created.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<PkiFiles> {
        fs::create_dir_all(dir)?;
        let file = |name: &str, content: &str| -> io::Result<PathBuf> {
            let path = dir.join(name);
            write_private(&path, content)?;
            Ok(path)
        };
        Ok(PkiFiles {
            ca: file("ca.crt", &self.ca_pem)?,
            server_certificate: file("server.crt", &self.server.certificate_pem)?,
            server_key: file("server.key", &self.server.key_pem)?,
            token_public: file("service-account.pub", &self.token_public_pem)?,
            token_private: file("service-account.key", &self.token_private_pem)?,
            dir: dir.to_path_buf(),
        })
    }
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}

fn client(
    issuer: &Issuer<'_, KeyPair>,
    common_name: &str,
    organization: Option<&str>,
) -> Result<ClientCredentials, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    sign(params, issuer)
}

fn server(issuer: &Issuer<'_, KeyPair>) -> Result<ClientCredentials, rcgen::Error> {
    let mut params = CertificateParams::new(SERVER_NAMES.map(String::from))?;
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    sign(params, issuer)
}

fn sign(
    mut params: CertificateParams,
    issuer: &Issuer<'_, KeyPair>,
) -> Result<ClientCredentials, rcgen::Error> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let certificate_pem = params.signed_by(&key, issuer)?.pem();
    Ok(ClientCredentials { certificate_pem, key_pem: key.serialize_pem() })
}
