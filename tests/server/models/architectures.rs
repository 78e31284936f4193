//! What the server tells of the networks that it can train.

use serde_json::{Value, json};

use crate::support::{Server, pictures};

#[tokio::test(flavor = "multi_thread")]
async fn architectures_tell_their_size_their_stages_and_where_weights_come_from() {
    let server = Server::start().await;
    server.api.upload("things", pictures::flat_archive(2, 3)).await;
    let list = server.api.get("/v1/architectures").await.expect(200).json();
    assert_eq!(
        (&list["object"], &list["has_more"]),
        (&json!("list"), &json!(false))
    );
    let all = list["data"].as_array().unwrap();
    let named = |name: &str| all.iter().find(|it| it["name"] == name).unwrap().clone();
    assert_eq!(
        named("resnet18"),
        json!({
            "object": "architecture", "name": "resnet18", "parameters": 11_689_512, "multiply_adds": 1_814_073_344u64, "classes": 1000,
            "features": 512, "input_size": 224, "stages": ["stem", "layer1", "layer2", "layer3", "layer4"],
            "weights": ["imagenet", "model", "file", "none"],
        })
    );
    let small = named("resnet20");
    assert_eq!(
        (&small["stages"], &small["weights"]),
        (
            &json!(["stem", "layer1", "layer2", "layer3"]),
            &json!(["none", "model", "file"])
        )
    );

    // Each is one that a job can ask for, and what it is told to have is what a job gets.
    for architecture in all {
        let spec = json!({"dataset": "things", "backbone": {"architecture": architecture["name"]}});
        let resolved = dry_run(&server, spec, 200).await;
        assert_eq!(
            resolved["backbone"]["weights"], architecture["weights"][0],
            "{architecture}"
        );
        assert_eq!(
            resolved["image"]["size"], architecture["input_size"],
            "{architecture}"
        );
    }
    let fault = dry_run(
        &server,
        json!({"dataset": "things", "backbone": {"architecture": "resnet20", "weights": "own.pth"}, "freeze": {"until": "layer4"}}),
        422,
    )
    .await;
    assert_eq!(fault["errors"][0]["pointer"], "/freeze", "{fault:#}");
    server.stop().await;
}

async fn dry_run(server: &Server, spec: Value, status: u16) -> Value {
    let answer = server.api.post("/v1/jobs?dry_run=true", spec).await;
    answer.expect(status).json()
}
