//! The certificates of authorities that an endpoint is trusted by, in place of the platform's.

use reqwest::Certificate;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// At least one usable certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Takes every certificate of a bundle in PEM form; whatever else is in it does not count. The error says what is wrong,
    /// without the content.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let (mut roots, mut probe) = (Vec::new(), RootCertStore::empty());
        for (at, found) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
            let certificate = found.map_err(|_| format!("certificate {} is not in PEM form", at + 1))?;
            probe
                .add(certificate.clone())
                .map_err(|error| format!("certificate {} cannot be used: {error}", at + 1))?;
            roots.push(certificate);
        }
        if roots.is_empty() {
            return Err(
                "there is no certificate in it, which would begin with -----BEGIN CERTIFICATE-----".into()
            );
        }
        Ok(Self(roots))
    }

    pub(super) fn certificates(&self) -> reqwest::Result<Vec<Certificate>> {
        self.0.iter().map(|certificate| Certificate::from_der(certificate)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused_without_its_content() {
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        let no_base64 = "-----BEGIN CERTIFICATE-----\n!secret!\n-----END CERTIFICATE-----\n";
        let no_certificate = "-----BEGIN CERTIFICATE-----\nc2VjcmV0\n-----END CERTIFICATE-----\n";
        let another = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        for (pem, says) in [
            ("", "no certificate"),
            ("secret", "no certificate"),
            (another, "no certificate"),
            (cut, "certificate 1 is not in PEM form"),
            (no_base64, "certificate 1 is not in PEM form"),
            (no_certificate, "certificate 1 cannot be used"),
        ] {
            let problem = Roots::parse(pem).unwrap_err();
            assert!(problem.contains(says) && !problem.contains("secret"), "{pem:?}: {problem}");
        }
    }
}
