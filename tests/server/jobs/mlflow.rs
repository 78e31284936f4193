//! Jobs as runs of MLflow: what is logged, and that each job is one run, whatever fails on the way. `scripts/mlflow` does the same with
//! MLflow's own server.

use serde_json::{Value, json};

use crate::support::{
    Api, Server,
    mlflow::{Fault, Mlflow},
    patience::wait_until,
    pictures,
    program::Program,
};

fn spec(name: &str, epochs: u32) -> Value {
    json!({"dataset": "things", "name": name, "backbone": {"architecture": "resnet20", "weights": "none"}, "image": {"size": 32},
        "epochs": epochs, "batch_size": 8, "split": {"val": 0.25}})
}

async fn trained(api: &Api, name: &str) -> Value {
    let job = api.finished(&api.submit(spec(name, 2)).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    job
}

async fn ended(mlflow: &Mlflow, runs: usize) {
    let all = async || {
        let found = mlflow.runs();
        found.len() == runs && found.iter().all(|run| run.status != "RUNNING")
    };
    wait_until("all runs are logged", all).await;
}

fn milliseconds(time: &Value) -> i64 {
    serde_json::from_value::<finetuned::domain::time::Timestamp>(time.clone())
        .unwrap()
        .0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_a_run_with_its_spec_its_curves_and_its_end() {
    let mlflow = Mlflow::start().await;
    let server = Server::with(|config| {
        config.mlflow.mlflow_url = Some(mlflow.base.parse().unwrap());
        config.mlflow.mlflow_experiment = "flowers".to_owned();
        config.mlflow.mlflow_token = Some("a token".to_owned());
    })
    .await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 16)).await;
    let job = trained(api, "small").await;
    let waiting = api.submit(json!({"dataset": "things", "name": "never", "device": "cuda:9", "backbone": {"weights": "none"}})).await;
    let cancel = format!("/v1/jobs/{}/cancel", waiting["id"].as_str().unwrap());
    api.send(api.request(reqwest::Method::POST, &cancel))
        .await
        .expect(200);
    ended(&mlflow, 2).await;
    assert_eq!(mlflow.experiments(), ["flowers"]);
    let tokens = mlflow.tokens();
    assert!(
        tokens
            .iter()
            .all(|token| token.as_deref() == Some("Bearer a token")),
        "{tokens:?}"
    );

    let runs = mlflow.runs();
    let run = &runs[0];
    assert_eq!((run.name.as_str(), run.status.as_str()), ("small", "FINISHED"));
    assert_eq!(run.start, milliseconds(&job["started_at"]));
    assert_eq!(run.end, milliseconds(&job["finished_at"]));
    for (tag, field) in [
        ("finetuned.job", "id"),
        ("finetuned.model", "model"),
        ("finetuned.kind", "kind"),
    ] {
        assert_eq!(run.tags[tag], job[field].as_str().unwrap());
    }
    for (parameter, value) in [
        ("epochs", "2"),
        ("backbone.architecture", "resnet20"),
        ("image.size", "32"),
    ] {
        assert_eq!(run.params[parameter], value, "{:?}", run.params);
    }
    let path = format!("/v1/jobs/{}/metrics?points=10000", job["id"].as_str().unwrap());
    let curves = api.get(&path).await.expect(200).json();
    for (metric, curve) in [
        ("train/loss", "train_loss"),
        ("val/accuracy", "val_accuracy"),
        ("lr", "lr"),
    ] {
        let curve = curves["series"][curve].as_array().unwrap().iter();
        let told: Vec<(u64, f64)> = curve
            .map(|point| (point["step"].as_u64().unwrap(), point["value"].as_f64().unwrap()))
            .collect();
        let logged: Vec<(u64, f64)> = run.metrics[metric]
            .iter()
            .map(|(_, step, value)| (*step, *value))
            .collect();
        assert!(!told.is_empty());
        assert_eq!(logged, told, "{metric}");
    }
    assert_eq!(
        Some(run.metrics["best/val_accuracy"][0].2),
        job["best"]["val_accuracy"].as_f64()
    );
    assert_eq!(
        (runs[1].name.as_str(), runs[1].status.as_str()),
        ("never", "KILLED")
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_on_the_way_has_one_run_in_the_end() {
    let mlflow = Mlflow::start().await;
    let server = Server::with(|config| config.mlflow.mlflow_url = Some(mlflow.base.parse().unwrap())).await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 16)).await;
    // The experiment, its making, the search; then the run is made and the answer is lost.
    mlflow.fail(&[Fault::None, Fault::None, Fault::None, Fault::AnswerLost]);
    trained(api, "small").await;
    let pending = async || {
        api.get("/metrics")
            .await
            .expect(200)
            .text
            .contains("finetuned_mlflow_pending 1\n")
    };
    wait_until("it is to be tried again", pending).await;
    ended(&mlflow, 1).await;
    assert_eq!(mlflow.experiments(), ["finetuned"]);
    let none = async || {
        api.get("/metrics")
            .await
            .expect(200)
            .text
            .contains("finetuned_mlflow_pending 0\n")
    };
    wait_until("it is crossed off", none).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_forgets_no_run_and_makes_none_twice() {
    let mlflow = Mlflow::start().await;
    let data = tempfile::tempdir().unwrap();
    let variables = [("FINETUNED_MLFLOW_URL", mlflow.base.as_str())];
    let program = Program::with_variables(variables, data.path());
    program.api.upload("things", pictures::flat_archive(2, 16)).await;
    mlflow.fail(&[
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::None,
        Fault::AnswerLost,
    ]);
    trained(&program.api, "small").await;
    wait_until("the run is there", async || !mlflow.runs().is_empty()).await;
    program.kill();
    assert_eq!(mlflow.runs()[0].status, "RUNNING");
    let program = Program::with_variables(variables, data.path());
    ended(&mlflow, 1).await;
    assert!(!mlflow.runs()[0].metrics["val/loss"].is_empty());
    program.kill();
    // Whoever does not use it any more is told of nothing.
    let program = Program::start(data.path());
    trained(&program.api, "quiet").await;
    program.kill();
    let program = Program::with_variables(variables, data.path());
    trained(&program.api, "again").await;
    ended(&mlflow, 2).await;
    assert_eq!(mlflow.runs()[1].name, "again");
    program.kill();
}
