//! The documents say what is so: every command in them runs as it stands, and their tables leave nothing out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use finetuned::config::Config;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::support::{
    Api, Server,
    document::{self, Document, spans},
    pictures,
    shell::Shell,
};

/// Documents whose commands run here, each with the name of its test. The others are about working on the project, and about what
/// `make chaos` does.
const RUN: [&str; 9] = [
    "README.md",
    "docs/DATASETS.md",
    "docs/GPU.md",
    "docs/HTTP.md",
    "docs/JOBS.md",
    "docs/MODELS.md",
    "docs/REGISTRY.md",
    "docs/SETTINGS.md",
    "docs/VERSIONS.md",
];
const NOT_RUN: [&str; 4] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/ARCHITECTURE.md",
    "docs/RELIABILITY.md",
];
/// How commands begin that do not run here, and why.
const UNFIT: [(&str, &str); 4] = [
    (
        "make ",
        "builds, or runs these tests; its target is looked up in the Makefile",
    ),
    ("FINETUNED_LIBTORCH=", "chooses the libtorch of a build"),
    ("LIBTORCH=", "chooses the libtorch of a build"),
    ("benches/gpu/", "needs a GPU, and a Python with torch"),
];
const CLASSES: [&str; 3] = ["daisies", "roses", "tulips"];
/// The address in the documents, which is the default one.
const ADDRESS: &str = "http://127.0.0.1:8080";

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_runs_on_an_empty_server() {
    let server = with_weights().await;
    type_in("README.md", &server).await;
    server.stop().await;
}

macro_rules! runs {
    ($($name:ident: $path:literal),+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let server = with_flowers().await;
                type_in($path, &server).await;
                server.stop().await;
            }
        )+
    };
}

runs! {
    the_commands_about_datasets_run: "docs/DATASETS.md",
    the_commands_about_gpus_run: "docs/GPU.md",
    the_commands_about_http_run: "docs/HTTP.md",
    the_commands_about_jobs_run: "docs/JOBS.md",
    the_commands_about_models_run: "docs/MODELS.md",
    the_commands_about_the_registry_run: "docs/REGISTRY.md",
    the_commands_about_settings_run: "docs/SETTINGS.md",
    the_commands_about_versions_run: "docs/VERSIONS.md"
}

/// Types the commands of a document one after another, and waits after each until the server has nothing more to do.
async fn type_in(path: &str, server: &Server) {
    let document = Document::read(path);
    let mut shell = Shell::open(&server.api.base);
    lay_out(shell.folder.path()).await;
    for command in document.commands().iter().filter(|command| !is_unfit(command)) {
        // What is cancelled has to be at work.
        if !command.contains("/cancel") {
            settle(&server.api).await;
        }
        let typed = match command.contains("finetuned serve") {
            true => command
                .replace("127.0.0.1:8080", "127.0.0.1:0")
                .replace("127.0.0.1:8081", "127.0.0.1:0"),
            false => command.replace(ADDRESS, &server.api.base),
        };
        let (status, printed) = shell.run(&typed).await;
        assert_eq!(status, 0, "{path}: `{command}`:\n{printed}");
    }
    settle(&server.api).await;
    let jobs = server.api.get("/v1/jobs?limit=100").await.expect(200).json();
    for job in jobs["data"].as_array().unwrap() {
        assert!(
            ["succeeded", "cancelled"].contains(&job["status"].as_str().unwrap()),
            "{path}: {job:#}"
        );
    }
}

fn is_unfit(command: &str) -> bool {
    UNFIT.iter().any(|(beginning, _)| command.starts_with(beginning))
}

/// Until archives are read and jobs are over.
async fn settle(api: &Api) {
    for (list, unfinished) in [
        ("datasets", &["processing"][..]),
        ("jobs", &["queued", "running"]),
    ] {
        let page = api.get(&format!("/v1/{list}?limit=100")).await.expect(200).json();
        for one in page["data"].as_array().unwrap() {
            if unfinished.contains(&one["status"].as_str().unwrap()) {
                let path = format!("/v1/{list}/{}?wait=280", one["id"].as_str().unwrap());
                let one = api.get(&path).await.expect(200).json();
                assert!(!unfinished.contains(&one["status"].as_str().unwrap()), "{one:#}");
            }
        }
    }
}

/// The files that the documents name, in the folder in which their commands are typed.
async fn lay_out(folder: &Path) {
    let files = [
        ("flowers.zip", flowers()),
        ("rose.jpg", pictures::png(1, 40, 64)),
        ("tulip.jpg", pictures::png(2, 41, 64)),
        ("a.jpg", pictures::png(1, 42, 64)),
        ("b.jpg", pictures::png(1, 43, 64)),
        ("resnet18.safetensors", base().await.weights.clone()),
        ("bundle.zip", base().await.bundle.clone()),
        ("classes.txt", CLASSES.join("\n").into_bytes()),
    ];
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).unwrap();
    }
    fs::create_dir(folder.join("weights")).unwrap();
}

/// Eight drawn images of each class.
fn flowers() -> Vec<u8> {
    let images = CLASSES.iter().enumerate().flat_map(|(class, name)| {
        (0..8).map(move |index| (format!("{name}/{index}.png"), pictures::png(class, index, 64)))
    });
    let images: Vec<_> = images.collect();
    pictures::zip(images.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())))
}

/// A small model, as files: it stands for ImageNet's, which lie behind a network.
struct Base {
    weights: Vec<u8>,
    bundle: Vec<u8>,
}

async fn base() -> &'static Base {
    static BASE: OnceCell<Base> = OnceCell::const_new();
    BASE.get_or_init(|| async {
        let server = Server::with(patient).await;
        let api = &server.api;
        api.upload("flowers", flowers()).await;
        train(api, "none").await;
        let export = async |format: &str| {
            let path = format!("/v1/models/flowers/export?format={format}");
            let answer = api.request(reqwest::Method::GET, &path).send().await.unwrap();
            answer.error_for_status().unwrap().bytes().await.unwrap().to_vec()
        };
        let base = Base {
            weights: export("safetensors").await,
            bundle: export("bundle").await,
        };
        server.stop().await;
        base
    })
    .await
}

async fn train(api: &Api, weights: &str) {
    let spec = json!({
        "dataset": "flowers", "name": "flowers", "backbone": {"weights": weights}, "image": {"size": 32}, "epochs": 1
    });
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
}

/// An empty server that has weights for a ResNet-18.
async fn with_weights() -> Server {
    let base = base().await;
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("own-weights");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("resnet18.safetensors"), &base.weights).unwrap();
    Server::on(data, |config| {
        config.weights.weights_dir = Some(folder);
        patient(config);
    })
    .await
}

/// Many of these tests at once keep a machine busy, and none of them is about how long an answer takes.
fn patient(config: &mut Config) {
    config.limits.predict_deadline_seconds = 240;
    config.limits.export_deadline_seconds = 240;
    config.limits.import_deadline_seconds = 240;
    config.limits.preview_deadline_seconds = 240;
}

/// A server with the dataset `flowers`, and with two versions of the model `flowers`.
async fn with_flowers() -> Server {
    let server = with_weights().await;
    server.api.upload("flowers", flowers()).await;
    train(&server.api, "imagenet").await;
    train(&server.api, "imagenet").await;
    server
}

#[test]
fn no_command_is_forgotten() {
    let found: BTreeSet<String> = Document::all()
        .into_iter()
        .map(|document| document.path)
        .collect();
    let known = RUN.iter().chain(&NOT_RUN).map(|path| path.to_string()).collect();
    assert_eq!(found, known, "documents that no test knows, or that are gone");

    let documents = RUN.map(Document::read);
    let typed: Vec<String> = documents.iter().flat_map(Document::commands).collect();
    for document in &documents {
        for block in document.parts().0 {
            let known = ["sh", "json", "csv", "text"].contains(&block.language.as_str());
            assert!(
                known,
                "{}: a block of `{}` may hold commands that nobody runs",
                document.path, block.language
            );
        }
        for span in document.spans() {
            let is_command = ["curl ", "finetuned ", "make "]
                .iter()
                .any(|word| span.starts_with(word));
            let is_known = is_unfit(span) || typed.iter().any(|command| command.starts_with(span));
            assert!(
                !is_command || is_known,
                "{}: no test runs `{span}`",
                document.path
            );
        }
    }
    for (beginning, why) in UNFIT {
        let is_used = typed.iter().any(|command| command.starts_with(beginning));
        assert!(is_used, "no document has `{beginning}` ({why}) any more");
    }
}

#[test]
fn commands_that_do_not_run_here_name_what_is_there() {
    let makefile = fs::read_to_string(document::root().join("Makefile")).unwrap();
    for document in RUN.map(Document::read) {
        let typed = document.commands();
        let spans = document.spans();
        for command in typed.iter().map(String::as_str).chain(spans) {
            let words: Vec<&str> = command.split_whitespace().collect();
            if let Some(target) = words
                .iter()
                .position(|word| *word == "make")
                .and_then(|at| words.get(at + 1))
            {
                assert!(
                    makefile.contains(&format!("\n{target}:")),
                    "{}: `{command}`",
                    document.path
                );
            }
            if ["benches/", "scripts/", "docker/"]
                .iter()
                .any(|folder| command.starts_with(folder))
            {
                assert!(
                    document::root().join(words[0]).exists(),
                    "{}: `{command}`",
                    document.path
                );
            }
        }
    }
}

#[test]
fn links_lead_somewhere() {
    let documents: BTreeMap<String, Document> = Document::all()
        .into_iter()
        .map(|document| (document.path.clone(), document))
        .collect();
    for document in documents.values() {
        let folder = Path::new(&document.path).parent().unwrap();
        for (path, anchor) in document.links() {
            let target = match path {
                "" => document.path.clone(),
                _ if path.starts_with("../") => path[3..].to_owned(),
                _ => folder.join(path).display().to_string(),
            };
            assert!(
                document::root().join(&target).exists(),
                "{}: no {path}",
                document.path
            );
            if let Some(anchor) = anchor {
                let anchors = documents[&target].anchors();
                assert!(
                    anchors.iter().any(|one| one == anchor),
                    "{}: no {path}#{anchor}",
                    document.path
                );
            }
        }
    }
}

#[test]
fn the_readme_is_short() {
    assert!(Document::read("README.md").text.lines().count() <= 120);
    assert!(
        fs::metadata(document::root().join("docs/dashboard.png"))
            .unwrap()
            .len()
            < 200_000
    );
}

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
