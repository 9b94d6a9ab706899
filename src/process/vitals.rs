//! What the process says of itself at every scrape: whether it is ready, and how much memory it has.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::readiness::Readiness;

/// `ready` and `resident_memory_bytes`.
#[derive(Debug)]
pub(super) struct VitalsMetric(pub(super) Readiness);

impl Collector for VitalsMetric {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut gauge = |name, help, unit, value: i64| {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        let is_ready = self.0.closed().is_empty();
        gauge(
            "ready",
            "1 where /readyz answers 200, on a process that stands by too; else 0",
            None,
            is_ready.into(),
        )?;
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let help = "Resident memory of the process";
        resident(&status).map_or(Ok(()), |bytes| gauge("resident_memory", help, Some(&Unit::Bytes), bytes))
    }
}

/// `VmRSS` of `/proc/self/status`, in bytes.
fn resident(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::resident;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmHWM:\t   99 kB\nVmRSS:\t   12 kB\nRssAnon:\t 1 kB\n"), Some(12_288));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
