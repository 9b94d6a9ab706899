//! A reader of OpenMetrics text 1.0 that refuses what the specification does not allow. Exemplars and timestamps are not
//! read: there are none.

use std::collections::BTreeMap;

use regex::Regex;

/// The metrics of one name.
#[derive(Default)]
pub(crate) struct Family {
    /// `counter`, `histogram` or `gauge`.
    pub(crate) kind: String,
    samples: Vec<Sample>,
}

struct Sample {
    /// What follows the name of the family.
    suffix: String,
    /// As they are written.
    labels: String,
    value: f64,
}

/// Reads a page and checks it: the end, metadata before samples, families that do not mix, suffixes that fit the kind,
/// no series twice, buckets that add up. Panics with what is wrong.
pub(crate) fn parse(page: &str) -> BTreeMap<String, Family> {
    let body = page.strip_suffix("# EOF\n").expect("a page that ends with # EOF");
    let (mut families, mut current) = (BTreeMap::<String, Family>::new(), String::new());
    for line in body.lines() {
        if let Some((keyword, name, text)) = metadata(line) {
            if name != current {
                assert!(!families.contains_key(name), "{name} comes twice");
                name.clone_into(&mut current);
            }
            let family = families.entry(current.clone()).or_default();
            assert!(family.samples.is_empty(), "metadata of {name} after its samples");
            if keyword == "TYPE" {
                text.clone_into(&mut family.kind);
            }
        } else {
            let sample = sample(line, &current);
            let family = families.get_mut(&current).unwrap_or_else(|| panic!("{line:?} without metadata"));
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        no_strange_samples(name, family);
        buckets_add_up(name, family);
    }
    families
}

/// Keyword, name and text of a line such as `# TYPE name counter`.
fn metadata(line: &str) -> Option<(&str, &str, &str)> {
    let (keyword, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, text) = rest.split_once(' ')?;
    assert!(
        ["HELP", "TYPE", "UNIT"].contains(&keyword) && is_name(name),
        "not a line of OpenMetrics: {line:?}"
    );
    Some((keyword, name, text))
}

fn is_name(name: &str) -> bool {
    Regex::new("^[a-zA-Z_:][a-zA-Z0-9_:]*$").expect("an expression").is_match(name)
}

/// A line such as `name_total{label="value"} 1` within the family of this name.
fn sample(line: &str, family: &str) -> Sample {
    let label = r#"[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*""#;
    let form = format!(r"^([a-zA-Z0-9_:]+)(?:\{{({label}(?:,{label})*)\}})? (\S+)$");
    let form = Regex::new(&form).expect("an expression");
    let found = form.captures(line).unwrap_or_else(|| panic!("not a line of OpenMetrics: {line:?}"));
    let suffix = found[1].strip_prefix(family).unwrap_or_else(|| panic!("{line:?} within {family}"));
    let value = found[3].parse().unwrap_or_else(|_| panic!("no number in {line:?}"));
    let labels = found.get(2).map_or("", |labels| labels.as_str());
    Sample { suffix: suffix.to_owned(), labels: labels.to_owned(), value }
}

fn no_strange_samples(name: &str, family: &Family) {
    let suffixes: &[&str] = match family.kind.as_str() {
        "counter" => &["_total", "_created"],
        "histogram" => &["_bucket", "_sum", "_count", "_created"],
        "gauge" => &[""],
        other => panic!("{name} is a {other}"),
    };
    let mut seen = BTreeMap::new();
    for Sample { suffix, labels, value } in &family.samples {
        assert!(suffixes.contains(&suffix.as_str()), "{name}{suffix} in a {}", family.kind);
        assert!(seen.insert((suffix, labels), value).is_none(), "{name}{suffix}{{{labels}}} comes twice");
        assert!(family.kind == "gauge" || *value >= 0.0, "{name}{suffix}{{{labels}}} is {value}");
    }
}

fn buckets_add_up(name: &str, family: &Family) {
    let bound = Regex::new(r#",?le="([^"]+)""#).expect("an expression");
    let mut last = BTreeMap::<String, (f64, f64)>::new();
    for Sample { labels, value, .. } in family.samples.iter().filter(|sample| sample.suffix == "_bucket") {
        let upper: f64 =
            bound.captures(labels).expect("a bucket with its bound")[1].parse().expect("a number");
        let series = bound.replace(labels, "").trim_start_matches(',').to_owned();
        let before = last.insert(series, (upper, *value)).unwrap_or((f64::NEG_INFINITY, 0.0));
        assert!(before.0 < upper && before.1 <= *value, "{name}: buckets that do not add up at {labels}");
    }
    for (series, (upper, value)) in last {
        assert!(upper.is_infinite(), "{name}{{{series}}} has no bucket for everything");
        let mut samples = family.samples.iter();
        let count = samples.find(|sample| sample.suffix == "_count" && sample.labels == series);
        assert_eq!(count.map(|count| count.value), Some(value), "{name}{{{series}}}: count and last bucket");
    }
}

#[test]
fn what_the_specification_does_not_allow_is_refused() {
    let good = "# HELP a_x Text.\n# TYPE a_x histogram\na_x_sum{o=\"1\"} 3\na_x_count{o=\"1\"} 2\n\
                a_x_bucket{le=\"1.0\",o=\"1\"} 1\na_x_bucket{le=\"+Inf\",o=\"1\"} 2\n\
                # HELP a_y Text.\n# TYPE a_y counter\na_y_total 0\n# EOF\n";
    assert_eq!(parse(good).len(), 2);
    for (from, to) in [
        ("# EOF\n", ""),
        ("# EOF\n", "# EOF\n\n"),
        ("a_y_total 0", "a_y 0"),
        ("a_y_total 0", "a_y_total zero"),
        ("a_y_total 0", "a_y_total 0\na_y_total 0"),
        ("a_y_total 0", "a_z_total 0"),
        ("a_y_total 0", ""),
        ("{o=\"1\"} 3", "{o=1} 3"),
        ("# TYPE a_y counter", "# TYPE a_y number"),
        ("+Inf", "2.0"),
        ("{le=\"1.0\",o=\"1\"} 1", "{le=\"1.0\",o=\"1\"} 3"),
        ("count{o=\"1\"} 2", "count{o=\"1\"} 1"),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        assert!(std::panic::catch_unwind(|| parse(&bad)).is_err(), "accepted: {from} as {to:?}");
    }
}
