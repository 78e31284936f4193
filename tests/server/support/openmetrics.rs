//! A strict reader of the text format of OpenMetrics 1.0 (its specification, "Text format"): whatever breaks a rule is a panic that names the line.
//! No library that is free for this use checks the rules.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// A metric family with its samples, in their order.
#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub unit: Option<String>,
    has_help: bool,
    /// Name with its suffix, labels, value.
    pub samples: Vec<(String, Labels, f64)>,
}

/// All families of a text, by name.
pub fn read(text: &str) -> BTreeMap<String, Family> {
    let body = text
        .strip_suffix("# EOF\n")
        .expect("it does not end with `# EOF`");
    assert!(
        body.is_empty() || body.ends_with('\n'),
        "the last line does not end"
    );
    let mut families = BTreeMap::<String, Family>::new();
    let mut current = None;
    for line in body.lines() {
        assert!(!line.is_empty() && line.trim() == line, "`{line}`");
        if let Some(descriptor) = line.strip_prefix("# ") {
            let (word, rest) = descriptor.split_once(' ').unwrap_or_else(|| panic!("`{line}`"));
            let (name, value) = rest.split_once(' ').unwrap_or_else(|| panic!("`{line}`"));
            assert!(is_name(name), "`{line}`");
            if current.as_deref() != Some(name) {
                assert!(
                    !families.contains_key(name),
                    "{name} is not in one piece: `{line}`"
                );
                current = Some(name.to_owned());
            }
            describe(
                families.entry(name.to_owned()).or_default(),
                word,
                name,
                value,
                line,
            );
        } else {
            let name = current
                .as_deref()
                .unwrap_or_else(|| panic!("a sample without a family: `{line}`"));
            let family = families.get_mut(name).unwrap();
            let sample = sample(family, name, line);
            family.samples.push(sample);
        }
    }
    for (name, family) in &families {
        check(name, family);
    }
    families
}

fn describe(family: &mut Family, word: &str, name: &str, value: &str, line: &str) {
    assert!(family.samples.is_empty(), "a descriptor after samples: `{line}`");
    match word {
        "TYPE" => {
            assert!(family.kind.is_empty(), "a second `{line}`");
            let known = ["counter", "gauge", "histogram", "info"];
            assert!(known.contains(&value), "an unknown or unexpected type: `{line}`");
            family.kind = value.to_owned();
        }
        "UNIT" => {
            assert!(family.unit.is_none(), "a second `{line}`");
            assert!(
                name.ends_with(&format!("_{value}")),
                "the name has not its unit: `{line}`"
            );
            family.unit = Some(value.to_owned());
        }
        "HELP" => {
            assert!(!family.has_help, "a second `{line}`");
            family.has_help = true;
        }
        _ => panic!("no descriptor: `{line}`"),
    }
}

fn sample(family: &Family, name: &str, line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("`{line}`"));
    let (found, rest) = line.split_at(end);
    let suffix = found
        .strip_prefix(name)
        .unwrap_or_else(|| panic!("of another family: `{line}`"));
    let allowed: &[&str] = match family.kind.as_str() {
        "counter" => &["_total", "_created"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_count", "_sum", "_created"],
        "info" => &["_info"],
        other => panic!("{name} has the type `{other}` before `{line}`"),
    };
    assert!(
        allowed.contains(&suffix),
        "a {} has no `{suffix}`: `{line}`",
        family.kind
    );
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest, line),
        None => (Labels::new(), rest),
    };
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("`{line}`"));
    let value: f64 = match value {
        "+Inf" => f64::INFINITY,
        value => value.parse().unwrap_or_else(|_| panic!("no number: `{line}`")),
    };
    if family.kind != "gauge" {
        assert!(value >= 0.0, "`{line}`");
    }
    (found.to_owned(), labels, value)
}

/// The labels after `{`, and what comes after `}`.
fn labels<'t>(mut rest: &'t str, line: &str) -> (Labels, &'t str) {
    let mut labels = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("`{line}`"));
        assert!(
            is_name(name) && !name.contains(':') && !name.starts_with("__"),
            "the label `{name}`: `{line}`"
        );
        let mut value = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters
                .next()
                .unwrap_or_else(|| panic!("a value without an end: `{line}`"))
            {
                (end, '"') => break end,
                (_, '\\') => value.push(match characters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, escaped @ ('"' | '\\'))) => escaped,
                    _ => panic!("an unknown escape: `{line}`"),
                }),
                (_, other) => value.push(other),
            }
        };
        assert!(
            labels.insert(name.to_owned(), value).is_none(),
            "`{name}` twice: `{line}`"
        );
        rest = &after[end + 1..];
        match rest.strip_prefix('}') {
            Some(rest) => return (labels, rest),
            None => rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("`{line}`")),
        }
    }
}

fn check(name: &str, family: &Family) {
    assert!(
        !family.kind.is_empty() && family.has_help,
        "{name} is not described"
    );
    let mut seen = BTreeSet::new();
    for (sample, labels, _) in &family.samples {
        assert!(
            seen.insert((sample, labels)),
            "{sample} {labels:?} is there twice"
        );
    }
    if family.kind == "histogram" {
        check_buckets(name, family);
    }
}

/// Buckets grow up to `+Inf`, which is the count.
fn check_buckets(name: &str, family: &Family) {
    let mut by_labels = BTreeMap::<Labels, Vec<(f64, f64)>>::new();
    for (sample, labels, value) in &family.samples {
        if sample.ends_with("_bucket") {
            let mut labels = labels.clone();
            let end = labels
                .remove("le")
                .unwrap_or_else(|| panic!("{name}: a bucket without `le`"));
            let end = if end == "+Inf" {
                f64::INFINITY
            } else {
                end.parse().unwrap()
            };
            by_labels.entry(labels).or_default().push((end, *value));
        }
    }
    for (labels, buckets) in by_labels {
        let grows = buckets
            .windows(2)
            .all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        assert!(grows, "{name} {labels:?}: {buckets:?}");
        let (end, all) = buckets.last().unwrap();
        let of = |suffix: &str| {
            let wanted = format!("{name}{suffix}");
            family
                .samples
                .iter()
                .find(|(sample, found, _)| *sample == wanted && *found == labels)
                .unwrap()
                .2
        };
        assert!(*end == f64::INFINITY && *all == of("_count"), "{name} {labels:?}");
        assert!(of("_sum") >= 0.0);
    }
}

fn is_name(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(is_letter) && text.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn what_follows_the_rules_is_read() {
        let text = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
            a_seconds_sum{x=\"1\"} 1.5\na_seconds_count{x=\"1\"} 2\na_seconds_bucket{le=\"1.0\",x=\"1\"} 1\n\
            a_seconds_bucket{le=\"+Inf\",x=\"1\"} 2\n# HELP b Many.\n# TYPE b counter\nb_total{y=\"q\\\"\\\\\\n\"} 3\n# EOF\n";
        let families = read(text);
        assert_eq!(families["a_seconds"].samples.len(), 4);
        assert_eq!(families["b"].samples[0].1["y"], "q\"\\\n");
    }

    #[test]
    fn whatever_breaks_a_rule_is_refused() {
        let head = "# HELP b Many.\n# TYPE b counter\n";
        for wrong in [
            format!("{head}b_total 1\n"),
            format!("{head}b 1\n# EOF\n"),
            format!("{head}b_total 1\nb_total 2\n# EOF\n"),
            format!("{head}b_total -1\n# EOF\n"),
            format!("{head}b_total{{x=\"1}} 1\n# EOF\n"),
            format!("{head}b_total{{x=\"1\",x=\"2\"}} 1\n# EOF\n"),
            format!("{head}c_total 1\n# EOF\n"),
            format!("{head}b_total 1\n\n# EOF\n"),
            format!("{head}b_total 1\n# TYPE b gauge\n# EOF\n"),
            "# TYPE b counter\nb_total 1\n# EOF\n".to_owned(),
            "b_total 1\n# EOF\n".to_owned(),
            "# HELP b Many.\n# TYPE b counter\n# UNIT b seconds\nb_total 1\n# EOF\n".to_owned(),
            "# HELP h H.\n# TYPE h histogram\nh_sum 1\nh_count 3\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n# EOF\n".to_owned(),
        ] {
            assert!(catch_unwind(|| read(&wrong)).is_err(), "{wrong}");
        }
    }
}
