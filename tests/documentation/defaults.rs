//! Figures that documents tell: each default is the one in force.

use std::time::Duration;

use clap::Parser;
use composio_operator::composio::Limits;
use composio_operator::domain::brake::DEFAULT_LIMIT;
use composio_operator::process::settings::{Cli, DEFAULT_FILTER};
use regex::Regex;
use testbed::documents::{all, read};

#[test]
fn every_default_that_is_told_is_the_one_in_force() {
    let settings = Cli::try_parse_from(["composio-operator"]).expect("the defaults").run;
    let (limits, election) = (settings.limits(), settings.election.clone());
    let seconds = |time: Duration| time.as_secs();
    let told: [(&str, u64); 13] = [
        (r"settle time[^.|]{0,40}?(\d+) s by default", seconds(limits.settle())),
        (r"margin, (\d+) s by default", seconds(limits.settle())),
        (r"margin \(30 s\) = (\d+) s", seconds(limits.settle())),
        (r"send gate \((\d+) s\)", seconds(Limits::GATE)),
        (r"margin \((\d+) s\)", seconds(settings.settle_margin)),
        (r"(?:time-out|request timeout) \((\d+) s\)", seconds(settings.request_timeout)),
        (r"lease duration \((\d+) s\)", seconds(election.lease_duration)),
        (r"renew deadline \((\d+) s\)", seconds(election.renew_deadline)),
        (r"retry period \((\d+) s\)", seconds(election.retry_period)),
        (r"`--sweep-interval` \((\d+) minutes\)", seconds(settings.sweep_interval) / 60),
        (r"`--tombstone-retention` \((\d+) days\)", seconds(settings.tombstone_retention) / 86_400),
        (r"beyond (\d+) an hour", DEFAULT_LIMIT.into()),
        (r"`limits\.deletionsPerHour` \((\d+)", DEFAULT_LIMIT.into()),
    ];
    let documents: Vec<_> = all().into_iter().map(|document| (read(&document), document)).collect();
    for (pattern, default) in told {
        let (pattern, mut times) = (Regex::new(pattern).expect("a pattern"), 0);
        for (text, document) in &documents {
            for found in pattern.captures_iter(text) {
                assert_eq!(found[1], default.to_string(), "{document}: {}", &found[0]);
                times += 1;
            }
        }
        assert!(times > 0, "no document says {pattern} any more");
    }
}

#[test]
fn the_filter_of_the_log_that_is_told_is_the_one_in_force() {
    for document in ["docs/settings.md", "charts/composio-operator/README.md"] {
        let text = read(document);
        assert!(text.contains(&format!(": {DEFAULT_FILTER}")), "{document} tells another one");
    }
}
