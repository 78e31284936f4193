//! Every command in the documents runs as it stands.

use std::{collections::BTreeSet, fs};

use super::flowers::{lay_out, with_flowers, with_weights};
use crate::support::{
    Api, Server,
    document::{self, Document},
    shell::Shell,
};

/// Documents whose commands run here, each with the name of its test. The others are about working on the project, and about what
/// `make chaos` does.
const RUN: [&str; 16] = [
    "README.md",
    "docs/DATASETS.md",
    "docs/GPU.md",
    "docs/HTTP.md",
    "docs/INSTALL.md",
    "docs/JOBS.md",
    "docs/KEYS.md",
    "docs/METRICS.md",
    "docs/MLFLOW.md",
    "docs/MODELS.md",
    "docs/REGISTRY.md",
    "docs/SANDBOX.md",
    "docs/SETTINGS.md",
    "docs/TLS.md",
    "docs/VERSIONS.md",
    "docs/WEBHOOKS.md",
];
const NOT_RUN: [&str; 5] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "docs/ARCHITECTURE.md",
    "docs/PROBLEMS.md",
    "docs/RELIABILITY.md",
];
/// How commands begin that do not run here, and why.
const UNFIT: [(&str, &str); 13] = [
    (
        "make ",
        "builds, or runs these tests; its target is looked up in the Makefile",
    ),
    ("FINETUNED_LIBTORCH=", "chooses the libtorch of a build"),
    ("LIBTORCH=", "chooses the libtorch of a build"),
    ("finetuned weights fetch", "needs a network"),
    (
        "finetuned doctor",
        "looks at the machine, which may have its faults; `data/upkeep.rs` has it",
    ),
    ("benches/gpu/", "needs a GPU, and a Python with torch"),
    ("pip install", "needs a wheel, which `make wheel` makes"),
    ("tar xf", "needs a release, which `make release` makes"),
    ("sudo ", "installs a release on the machine"),
    ("docker ", "needs a container engine"),
    ("kubectl ", "needs a cluster"),
    ("scripts/rootfs", "needs root and Debian's archive"),
    (
        "python3 -B scripts/packages",
        "needs a release, root and Debian's archive",
    ),
];
/// Settings of other programs, which `scripts/proxies` runs.
const OF_PROXIES: [&str; 3] = ["nginx", "caddyfile", "yaml"];
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
    the_commands_about_installing_run: "docs/INSTALL.md",
    the_commands_about_jobs_run: "docs/JOBS.md",
    the_commands_about_keys_run: "docs/KEYS.md",
    the_commands_about_metrics_run: "docs/METRICS.md",
    the_commands_about_mlflow_run: "docs/MLFLOW.md",
    the_commands_about_models_run: "docs/MODELS.md",
    the_commands_about_the_registry_run: "docs/REGISTRY.md",
    the_commands_about_the_sandbox_run: "docs/SANDBOX.md",
    the_commands_about_settings_run: "docs/SETTINGS.md",
    the_commands_about_tls_run: "docs/TLS.md",
    the_commands_about_versions_run: "docs/VERSIONS.md"
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_about_webhooks_run() {
    let server = Server::with(|config| {
        config.webhooks.webhook_targets = vec!["hooks.example.org".parse().unwrap()];
    })
    .await;
    type_in("docs/WEBHOOKS.md", &server).await;
    server.stop().await;
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
            let known = ["sh", "json", "csv", "text", "python"].contains(&block.language.as_str())
                || OF_PROXIES.contains(&block.language.as_str());
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
