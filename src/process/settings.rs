//! All settings of the process: flags with environment variables, read here and nowhere else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;

use crate::composio::Limits;

/// What is logged where `RUST_LOG` says nothing. At WARN that crate tells of each try of a watch that is refused, which
/// `controller::watch` does once.
pub const DEFAULT_FILTER: &str = "info,kube_runtime=error";

/// How much longer than the retry period two renewals may be apart, as in client-go.
const JITTER: f64 = 1.2;

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "composio-operator", version, about = "Manages Composio projects as Kubernetes resources")]
// A flag before `run` would be accepted and not count.
#[command(args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do; `run` where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of `run`, where no subcommand is given.
    #[command(flatten)]
    pub run: Settings,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator (default)
    Run(Box<Settings>),
    /// Print the CustomResourceDefinitions as YAML
    Crds {
        /// Write one file per kind into this directory instead
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Remove all finalizers and owner references of the operator, before it is uninstalled
    Release(ReleaseSettings),
}

/// Settings of `release`.
#[derive(Debug, Clone, Args)]
pub struct ReleaseSettings {
    /// The operator's own namespace
    #[arg(
        long,
        env = "COMPOSIO_OPERATOR_NAMESPACE",
        default_value = "composio-system",
        value_name = "NAME",
        value_parser = namespace
    )]
    pub namespace: String,
    /// Namespaces whose ComposioProjects are released, separated by commas [default: all]
    #[arg(
        long,
        env = "COMPOSIO_OPERATOR_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMES",
        value_parser = namespace
    )]
    pub watch_namespaces: Vec<String>,
    /// Do not look whether the operator is running; it would put everything back
    #[arg(long)]
    pub force: bool,
}

/// Settings of a running operator.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The operator's own namespace: its organizations, their keys and the ledger are in it, and nothing else should be
    #[arg(
        long,
        env = "COMPOSIO_OPERATOR_NAMESPACE",
        default_value = "composio-system",
        value_name = "NAME",
        value_parser = namespace
    )]
    pub namespace: String,
    /// Namespaces whose ComposioProjects are managed, separated by commas; Roles in them and in the operator's own suffice
    /// then [default: all]
    #[arg(
        long,
        env = "COMPOSIO_OPERATOR_WATCH_NAMESPACES",
        value_delimiter = ',',
        value_name = "NAMES",
        value_parser = namespace
    )]
    pub watch_namespaces: Vec<String>,
    /// Most passes over ComposioProjects at once, in each watched namespace
    #[arg(long, env = "COMPOSIO_OPERATOR_WORKERS", default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: u16,
    /// Where /livez, /readyz and /metrics are served
    #[arg(
        long,
        env = "COMPOSIO_OPERATOR_HTTP_ADDRESS",
        default_value = "0.0.0.0:8080",
        value_name = "ADDRESS"
    )]
    pub http_address: SocketAddr,
    /// How logs are written; what is logged is set by RUST_LOG [default filter: info,kube_runtime=error]
    #[arg(long, env = "COMPOSIO_OPERATOR_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Longest time from sending a request to Composio to its answer
    #[arg(long, env = "COMPOSIO_OPERATOR_REQUEST_TIMEOUT", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub request_timeout: Duration,
    /// What is added to the request timeout and the send gate of 5s before an unknown outcome counts as settled
    #[arg(long, env = "COMPOSIO_OPERATOR_SETTLE_MARGIN", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub settle_margin: Duration,
    /// Longest time between two looks at a resource
    #[arg(long, env = "COMPOSIO_OPERATOR_OBSERVE_INTERVAL", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub observe_interval: Duration,
    /// Distance between two sweeps: one walk over all projects of an organization, in pages of 50, which finds those that
    /// were deleted at Composio
    #[arg(long, env = "COMPOSIO_OPERATOR_SWEEP_INTERVAL", default_value = "10m", value_name = "DURATION", value_parser = duration)]
    pub sweep_interval: Duration,
    /// How long the record of a deleted project is kept, as proof
    #[arg(long, env = "COMPOSIO_OPERATOR_TOMBSTONE_RETENTION", default_value = "2160h", value_name = "DURATION", value_parser = duration)]
    pub tombstone_retention: Duration,
    /// How long a Secret stays after spec.secret.name has changed, so that workloads can change over
    #[arg(long, env = "COMPOSIO_OPERATOR_SUPERSEDED_RETENTION", default_value = "1h", value_name = "DURATION", value_parser = duration)]
    pub superseded_retention: Duration,
    /// How long running passes and answers that are awaited may take after SIGTERM
    #[arg(long, env = "COMPOSIO_OPERATOR_SHUTDOWN_TIMEOUT", default_value = "25s", value_name = "DURATION", value_parser = duration)]
    pub shutdown_timeout: Duration,
    /// Leader election.
    #[command(flatten)]
    pub election: Election,
}

/// Which of several replicas works.
#[derive(Debug, Clone, Args)]
pub struct Election {
    /// Work only while holding the Lease composio-operator of the operator's namespace; needed for more than one replica
    #[arg(
        long,
        env = "COMPOSIO_OPERATOR_LEADER_ELECT",
        default_value_t = false,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = ArgAction::Set,
        value_name = "BOOL"
    )]
    pub leader_elect: bool,
    /// How long a leader may act after a renewal, and a standby waits for one; at least the request timeout and two retry
    /// periods, because nothing is sent that could outlast the lease
    #[arg(long, env = "COMPOSIO_OPERATOR_LEASE_DURATION", default_value = "45s", value_name = "DURATION", value_parser = duration)]
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up and ends; less than the lease duration
    #[arg(long, env = "COMPOSIO_OPERATOR_RENEW_DEADLINE", default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub renew_deadline: Duration,
    /// Distance between two renewals of the leader, and between two looks of a standby
    #[arg(long, env = "COMPOSIO_OPERATOR_RETRY_PERIOD", default_value = "5s", value_name = "DURATION", value_parser = duration)]
    pub retry_period: Duration,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people; in colour on a terminal.
    Text,
}

impl Settings {
    /// Bounds of the safety protocols.
    pub fn limits(&self) -> Limits {
        Limits {
            request_deadline: self.request_timeout,
            gate: Limits::GATE,
            settle_margin: self.settle_margin,
        }
    }

    /// Refuses what cannot work together, and says which flag to change.
    pub fn check(&self) -> Result<(), String> {
        let Election { leader_elect, lease_duration, renew_deadline, retry_period } = self.election;
        if !leader_elect {
            return Ok(());
        }
        let least_deadline = retry_period.mul_f64(JITTER);
        let least_lease = self.request_timeout + retry_period * 2;
        if lease_duration.subsec_nanos() != 0 {
            return Err(format!("--lease-duration {lease_duration:?} is not a number of whole seconds"));
        }
        if renew_deadline <= least_deadline {
            return Err(format!(
                "--renew-deadline {renew_deadline:?} must be more than {least_deadline:?}, which is 1.2 times \
                 --retry-period {retry_period:?}: raise it, or shorten --retry-period"
            ));
        }
        if lease_duration <= renew_deadline {
            return Err(format!(
                "--lease-duration {lease_duration:?} must be more than --renew-deadline {renew_deadline:?}: raise it, \
                 or shorten --renew-deadline"
            ));
        }
        if lease_duration < least_lease {
            return Err(format!(
                "--lease-duration {lease_duration:?} must be at least {least_lease:?}, which is --request-timeout \
                 {:?} and twice --retry-period {retry_period:?}, or no request could be sent: raise it, or shorten \
                 --request-timeout",
                self.request_timeout
            ));
        }
        Ok(())
    }
}

/// Durations such as `30s`, `10m` or `1h 30m`, longer than nothing.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 30s, 10m or 1h");
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

/// The name of a namespace (RFC 1123 label). An empty one would not be refused by anybody later: it makes a path of the
/// API server that is never found.
fn namespace(text: &str) -> Result<String, String> {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_label = (1..=63).contains(&text.len())
        && text.bytes().all(is_inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    match is_label {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{text:?} is not the name of a namespace: 1 to 63 characters of [a-z0-9-], with [a-z0-9] at both ends"
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_run_is_the_default() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["composio-operator", "--namespace", "x", "--watch-namespaces", "a,b"])
            .unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.watch_namespaces, ["a", "b"]);
        assert_eq!(cli.run.limits().settle(), Duration::from_secs(65));
    }

    #[test]
    fn a_namespace_that_cannot_be_is_refused() {
        let parsed = |flag: &str| Cli::try_parse_from(["composio-operator", flag]);
        for flag in [
            "--namespace=",
            "--namespace=Ops",
            "--watch-namespaces=",
            "--watch-namespaces=a,,b",
            "--namespace=-a",
        ] {
            let error = parsed(flag).unwrap_err().to_string();
            assert!(error.contains("is not the name of a namespace"), "{flag}: {error}");
        }
        assert_eq!(parsed("--watch-namespaces=a-1,2").unwrap().run.watch_namespaces, ["a-1", "2"]);
    }

    #[test]
    fn leader_election_is_off_until_it_is_asked_for() {
        let parsed = |flags: &[&str]| {
            Cli::try_parse_from(["composio-operator"].iter().chain(flags)).unwrap().run.election.leader_elect
        };
        assert!(!parsed(&[]));
        assert!(parsed(&["--leader-elect"]) && parsed(&["--leader-elect=true"]));
        assert!(parsed(&["--leader-elect", "--workers=1"]) && !parsed(&["--leader-elect=false"]));
    }

    #[test]
    fn times_that_cannot_work_together_are_refused_with_the_flag_to_change() {
        let check = |flags: &[&str]| {
            let flags = ["composio-operator", "--leader-elect"].iter().chain(flags);
            Cli::try_parse_from(flags).unwrap().run.check()
        };
        assert_eq!(check(&[]), Ok(()), "the defaults");
        assert_eq!(check(&["--lease-duration=40s"]), Ok(()), "just enough for one request");
        for (flags, words) in [
            (["--lease-duration=39s", "--renew-deadline=30s"], "shorten --request-timeout"),
            (["--lease-duration=45500ms", "--renew-deadline=30s"], "whole seconds"),
            (["--lease-duration=45s", "--renew-deadline=45s"], "shorten --renew-deadline"),
            (["--renew-deadline=6s", "--retry-period=5s"], "shorten --retry-period"),
            (["--request-timeout=36s", "--retry-period=5s"], "raise it, or shorten --request-timeout"),
        ] {
            let problem = check(&flags).unwrap_err();
            assert!(problem.contains(words), "{flags:?}: {problem}");
        }
        let alone = ["composio-operator", "--lease-duration=1s"];
        assert_eq!(Cli::try_parse_from(alone).unwrap().run.check(), Ok(()), "nobody asks for a lease");
    }

    #[test]
    fn a_wrong_duration_is_refused_with_a_good_one_as_an_example() {
        let error =
            Cli::try_parse_from(["composio-operator", "--request-timeout", "soon"]).unwrap_err().to_string();
        assert!(error.contains("--request-timeout") && error.contains("30s, 10m or 1h"), "{error}");
        assert!(Cli::try_parse_from(["composio-operator", "--request-timeout", "0s"]).is_err());
    }
}
