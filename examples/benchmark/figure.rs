//! What was measured: figures with their targets, and how things grow with the fleet.

use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// What was aimed at; empty where there is no target.
    pub(crate) target: String,
    /// What was measured.
    pub(crate) measured: String,
    /// Whether the target is met; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
    /// The measured value itself.
    pub(crate) value: f64,
    /// What it is made of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
}

impl Figure {
    /// A figure that should be at most `target`.
    pub(crate) fn at_most(name: impl Into<String>, target: f64, value: f64, unit: &str) -> Self {
        Self {
            name: name.into(),
            target: format!("≤ {}", with_unit(target, unit)),
            measured: with_unit(value, unit),
            met: Some(value <= target),
            value,
            detail: String::new(),
        }
    }

    /// A figure without a target.
    pub(crate) fn plain(name: impl Into<String>, value: f64, unit: &str) -> Self {
        let measured = with_unit(value, unit);
        Self { name: name.into(), target: String::new(), measured, met: None, value, detail: String::new() }
    }

    /// The same with what it is made of.
    pub(crate) fn of(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// `yes`, `no`, or nothing.
    pub(crate) fn verdict(&self) -> &'static str {
        match self.met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        }
    }
}

/// A count as a number to calculate with.
pub(crate) fn number(count: impl TryInto<u32>) -> f64 {
    count.try_into().map_or(f64::INFINITY, f64::from)
}

/// As many digits as mean something.
fn with_unit(value: f64, unit: &str) -> String {
    let number = match value.abs() {
        size if size.fract() == 0.0 => format!("{value:.0}"),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    };
    let number = number.strip_prefix("-0.00").map_or(number.clone(), |rest| format!("0.00{rest}"));
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// One size of the fleet.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Point {
    /// Projects, all of them Ready.
    pub(crate) projects: u32,
    /// Time per project while the fleet grew to this size, from the resource to Ready.
    pub(crate) creation_milliseconds: f64,
    /// Resident memory, in MiB, of the process that has created them.
    pub(crate) memory_after_creation: f64,
    /// Resident memory, in MiB, of a new process that has looked at all of them.
    pub(crate) memory_after_restart: f64,
    /// Time from the start of a process until it has looked at all of them.
    pub(crate) restart_seconds: f64,
    /// Share of one processor that the converged fleet takes, looked at every ten minutes.
    pub(crate) idle_percent: f64,
}
