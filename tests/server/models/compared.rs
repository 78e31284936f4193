//! Two models on the same images, out of predictions that were made before.

use serde_json::{Value, json};

use super::{quick, train};
use crate::support::{Server, pictures};

#[tokio::test(flavor = "multi_thread")]
async fn two_models_are_compared_by_their_predictions() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(3, 12)).await;
    let first = train(api, quick()).await;
    let mut longer = quick();
    longer["epochs"] = json!(4);
    let second = train(api, longer).await;
    let path = "/v1/models/thing@1/compare/thing?dataset=things";
    let predict = async |model: &str, split: &str| {
        let spec = json!({"kind": "batch-predict", "model": model, "dataset": "things", "split": split});
        let job = api.finished(&api.submit(spec).await).await;
        assert_eq!(job["status"], "succeeded", "{job:#}");
        job
    };

    predict("thing@1", "all").await;
    let problem = api.get(path).await.problem(404, "no-predictions");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("`thing@2`") && detail.contains("batch-predict"),
        "{detail}"
    );
    // That of the validation images alone is none of all images.
    predict("thing@2", "val").await;
    api.get(path).await.problem(404, "no-predictions");
    let job = predict("thing@2", "all").await;

    let found = api.get(path).await.expect(200).json();
    assert_eq!((&found["images"], &found["left_out"]), (&json!(36), &json!(0)));
    assert_eq!(
        (
            &found["first"]["id"],
            &found["second"]["id"],
            &found["second"]["job"]
        ),
        (&first["id"], &second["id"], &job["id"])
    );
    let right = |which: &str| found["right"][which].as_u64().unwrap();
    let total: u64 = ["both", "only_first", "only_second", "neither"]
        .map(right)
        .iter()
        .sum();
    assert_eq!(total, 36);
    for (model, only) in [("first", "only_first"), ("second", "only_second")] {
        let accuracy = (right("both") + right(only)) as f64 / 36.0;
        assert!((found[model]["accuracy"].as_f64().unwrap() - accuracy).abs() < 1e-12);
    }
    let differing = found["differing"].as_array().unwrap();
    assert_eq!(json!(differing.len()), found["differing_images"]);
    assert!(differing.iter().all(|image| image["first"] != image["second"]));

    // The other way round it is the same with the signs changed, and of itself a model does not differ.
    let other = api
        .get("/v1/models/thing/compare/thing@1?dataset=things")
        .await
        .expect(200)
        .json();
    let difference = |found: &Value| found["difference"].as_f64().unwrap();
    assert!((difference(&found) + difference(&other)).abs() < 1e-12);
    assert_eq!(found["p_value"], other["p_value"]);
    let itself = api
        .get("/v1/models/thing/compare/thing?dataset=things&split=train")
        .await
        .expect(200)
        .json();
    assert_eq!((difference(&itself), &itself["p_value"]), (0.0, &json!(1.0)));
    assert_eq!(itself["differing"], json!([]));
    api.get("/v1/models/thing/compare/thing@1?dataset=nothing")
        .await
        .problem(404, "not-found");
    server.stop().await;
}
