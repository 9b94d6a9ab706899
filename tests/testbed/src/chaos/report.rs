//! What came of a run: numbers, what was wrong, and the verdict in one line.

use std::time::Duration;

use super::verdict::Findings;

/// The end of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Reproduces the schedule.
    pub seed: u64,
    /// What happened, in groups: title, and name and number of each.
    pub groups: Vec<(&'static str, Vec<(&'static str, u64)>)>,
    /// Kills, and answers that were lost or came when nobody waited any more.
    pub kills_and_lost_answers: u64,
    /// What is not as it must be at the end.
    pub findings: Findings,
    /// What must not be at any time: keys that changed, claims that passed into another namespace, keys in logs,
    /// replicas that failed.
    pub violations: Vec<String>,
    /// How long the faults lasted.
    pub storm: Duration,
    /// From the last fault until everything was as it must be; `None`: it never was.
    pub convergence: Option<Duration>,
}

impl Report {
    /// Nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.convergence.is_some() && self.findings.is_empty() && self.violations.is_empty()
    }

    /// What must be zero: name and number.
    pub fn zeros(&self) -> Vec<(&'static str, usize)> {
        let found = &self.findings;
        vec![
            ("duplicates", found.duplicates.len()),
            ("leaks", found.leaks.len()),
            ("lost keys", found.lost_keys.len()),
            ("stuck resources", found.stuck.len()),
            ("destroyed projects", found.destroyed.len()),
            ("left-over projects", found.left_over.len()),
            ("violations on the way", self.violations.len()),
            ("human steps", 0),
        ]
    }

    /// All that was wrong, one line each.
    pub fn problems(&self) -> Vec<String> {
        let found = self.findings.all().map(|(kind, text)| format!("{kind}: {text}"));
        found.chain(self.violations.iter().cloned()).collect()
    }

    /// One line, without an end of line.
    pub fn verdict(&self) -> String {
        let Self { seed, kills_and_lost_answers, .. } = self;
        let what = format!("{kills_and_lost_answers} kills and lost answers in {}", seconds(self.storm));
        match self.convergence {
            Some(time) if self.is_good() => {
                format!(
                    "chaos with seed {seed}: {what}; everything was in order {} after the last fault",
                    seconds(time)
                )
            }
            _ => format!("chaos with seed {seed}: {what}; {} things are wrong", self.problems().len().max(1)),
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}
