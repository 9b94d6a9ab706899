//! What can go wrong with a control plane, in words for the person who runs the tests.

use std::path::PathBuf;
use std::time::Duration;

use super::assets::AssetsError;

/// Why there is no (usable) control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No binaries could be found, downloaded or built.
    #[error(transparent)]
    Assets(#[from] AssetsError),
    /// A file or a directory of the control plane could not be written.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done, as an infinitive.
        doing: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A certificate or a key could not be generated.
    #[error("cannot generate certificates: {0}")]
    Pki(#[from] rcgen::Error),
    /// A part ended while it was expected to come up.
    #[error("{part} ended during start-up ({status}); its last lines:\n{tail}\nfull logs: {}", logs.display())]
    Ended {
        /// The program.
        part: &'static str,
        /// How it ended.
        status: String,
        /// The end of its log.
        tail: String,
        /// The directory with the logs of all parts; it is kept.
        logs: PathBuf,
    },
    /// A part did not become ready in time.
    #[error(
        "{part} was not ready after {} s (last answer: {reason}); its last lines:\n{tail}\nfull logs: {}",
        within.as_secs(), logs.display()
    )]
    NotReady {
        /// The program or the thing that was waited for.
        part: &'static str,
        /// How long all of the start-up may take ([`super::Options::start_within`]).
        within: Duration,
        /// What the last look at it gave.
        reason: String,
        /// The end of its log.
        tail: String,
        /// The directory with the logs of all parts; it is kept.
        logs: PathBuf,
    },
    /// No free ports: each attempt lost its port to another process.
    #[error(
        "gave up after {attempts} attempts: another process took the port each time; last lines:\n{tail}"
    )]
    Ports {
        /// How often it was tried.
        attempts: usize,
        /// The end of the log of the last attempt.
        tail: String,
    },
    /// The API server refused something that start-up or a caller needs.
    #[error("the API server refused to {doing}: {source}")]
    Api {
        /// What was being done, as an infinitive.
        doing: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// A kubeconfig cannot be used.
    #[error("unusable kubeconfig: {0}")]
    Kubeconfig(String),
    /// The thread that starts the control plane panicked.
    #[error("the start-up of the control plane panicked; see the message above")]
    Panicked,
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn api(doing: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Api { doing, source: Box::new(source) }
    }
}
