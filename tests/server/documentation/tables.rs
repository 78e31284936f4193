//! The tables of the documents leave nothing out: settings, calls, fields of a job.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::{Value, json};

use super::flowers::with_flowers;
use crate::support::document::{Document, spans};

#[test]
fn every_setting_is_listed_with_its_default() {
    let output = Command::new(env!("CARGO_BIN_EXE_finetuned"))
        .args(["serve", "--help"])
        .env_clear()
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut flags = BTreeMap::new();
    let mut lines = help.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if let Some(flag) = line.split(' ').next().filter(|word| word.starts_with("--")) {
            let about = lines.next().unwrap();
            let default = about
                .split("[default: ")
                .nth(1)
                .and_then(|rest| rest.split(']').next());
            flags.insert(flag.to_owned(), default.map(str::to_owned));
        }
    }
    assert!(flags.len() > 20, "{help}");
    let document = Document::read("docs/SETTINGS.md");
    let rows = document.rows_below("## All settings");
    let listed = rows.iter().map(|row| {
        (
            spans(row[0])[0].to_owned(),
            spans(row[1]).first().map(|text| text.to_string()),
        )
    });
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), flags);
}

#[test]
fn every_call_is_listed() {
    let description = serde_json::to_value(finetuned::http::openapi()).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        let methods = item
            .as_object()
            .unwrap()
            .keys()
            .map(|method| method.to_uppercase());
        described.extend(methods.map(|method| (path.clone(), method)));
    }
    let document = Document::read("docs/HTTP.md");
    let mut listed = BTreeSet::new();
    for row in document.rows_below("## All calls") {
        let path = spans(row[1])[0];
        listed.extend(
            spans(row[0])
                .into_iter()
                .map(|method| (path.to_owned(), method.to_owned())),
        );
    }
    assert_eq!(listed, described);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_a_job_is_listed_with_its_default() {
    let server = with_flowers().await;
    let api = &server.api;
    let document = Document::read("docs/JOBS.md");
    let schema = api.get("/v1/schemas/job").await.expect(200).json();
    let training = document.rows_below("## Training");
    for (kind, heading) in [
        ("train", "## Training"),
        ("evaluate", "## Measuring a model"),
        ("batch-predict", "## Classifying a dataset"),
        ("compare", "## Comparing backbones"),
        ("label_check", "## Checking labels"),
        ("cross_validate", "## Cross-validation"),
        ("lr_find", "## Finding a learning rate"),
    ] {
        let mut rows = document.rows_below(heading);
        if kind == "lr_find" {
            rows.extend(training.iter().filter(|row| spans(row[0])[0] != "kind").cloned());
        }
        let listed: BTreeSet<String> = rows.iter().map(|row| spans(row[0])[0].to_owned()).collect();
        let of_kind = |one: &&Value| one["properties"]["kind"]["enum"][0] == kind;
        let of_kind = schema["oneOf"].as_array().unwrap().iter().find(of_kind).unwrap();
        assert_eq!(listed, fields(of_kind, ""), "{kind}");

        let mut smallest = json!({"kind": kind, "dataset": "flowers"});
        if of_kind["properties"].get("model").is_some() {
            smallest["model"] = json!("flowers");
        }
        if of_kind["properties"].get("backbones").is_some() {
            smallest["backbones"] = json!(["resnet18"]);
        }
        let resolved = api
            .post("/v1/jobs?dry_run=true", smallest)
            .await
            .expect(200)
            .json();
        for row in rows {
            // Other cells say in words what the default depends on.
            let Some(said) = row[1].strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) else {
                continue;
            };
            let field = spans(row[0])[0];
            let value = &resolved[field.split('.').next().unwrap()];
            let value = field.split('.').skip(1).fold(value, |value, key| &value[key]);
            let is_so = match value {
                Value::String(text) => text == said,
                Value::Number(number) => said.parse().ok() == number.as_f64(),
                other => said.parse::<Value>().is_ok_and(|said| said == *other),
            };
            assert!(is_so, "{kind}: {field} is {value} by default, and not {said}");
        }
    }
    server.stop().await;
}

/// The fields of a schema, those of the objects in it as `object.field`.
fn fields(schema: &Value, before: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, field) in schema["properties"].as_object().unwrap() {
        let path = format!("{before}{name}");
        let forms = field["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        let optional = match forms {
            [one, null] if null["type"] == "null" && one["properties"].is_object() => Some(one),
            [null, one] if null["type"] == "null" && one["properties"].is_object() => Some(one),
            _ => None,
        };
        if field["properties"].is_object() {
            found.extend(fields(field, &format!("{path}.")));
        } else {
            found.extend(
                optional
                    .map(|object| fields(object, &format!("{path}.")))
                    .unwrap_or_default(),
            );
            found.insert(path);
        }
    }
    found
}
