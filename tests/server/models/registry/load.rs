//! Aliases that are moved while many ask them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use serde_json::Value;

use super::{id, promote, roll_back, with_two_models};
use crate::support::pictures;

/// Many clients ask an alias while it is moved to and fro.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_every_answer_is_wholly_one_of_the_two_models() {
    const CLIENTS: usize = 16;
    const MOVES: usize = 30;
    let (server, models) = with_two_models().await;
    let api = &server.api;
    let picture = pictures::png(1, 9, 40);
    // What each of the two says by itself, by its id.
    let mut alone = Vec::new();
    for model in &models {
        let answer = api
            .put(&format!("/v1/models/{}/predict", id(model)), picture.clone())
            .await
            .expect(200)
            .json();
        alone.push((id(model).to_owned(), answer["predictions"].clone()));
    }
    assert_ne!(alone[0].1, alone[1].1);
    promote(api, "production", id(&models[0])).await.expect(201);

    let over = Arc::new(AtomicBool::new(false));
    let answers = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (api, picture, alone) = (api.clone(), picture.clone(), alone.clone());
            let (over, answers) = (over.clone(), answers.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let answer = api
                        .put("/v1/models/production/predict", picture.clone())
                        .await
                        .expect(200);
                    let told = answer.headers["model-id"].to_str().unwrap().to_owned();
                    let answer = answer.json();
                    let which = alone
                        .iter()
                        .position(|(model, _)| answer["model"] == model.as_str());
                    let which = which.unwrap_or_else(|| panic!("neither answered: {answer:#}"));
                    assert_eq!(told, alone[which].0);
                    assert_same(&answer["predictions"], &alone[which].1);
                    answers[which].fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for number in 0..MOVES {
        // To the second model and back, half of the times by a rollback. What an alias names is asked right after its move.
        let to = 1 - number % 2;
        let moved = match number % 4 {
            3 => roll_back(api, "production").await.expect(200),
            _ => promote(api, "production", id(&models[to])).await.expect(200),
        };
        assert_eq!(moved.json()["model"], models[to]["id"]);
        let after = api
            .put("/v1/models/production/predict", picture.clone())
            .await
            .expect(200)
            .json();
        assert_eq!(
            after["model"], models[to]["id"],
            "the move is done when it is answered"
        );
    }
    over.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let [first, second] = [&answers[0], &answers[1]].map(|count| count.load(Ordering::SeqCst));
    println!("{MOVES} moves under {CLIENTS} clients: {first} and {second} answers");
    assert!(
        first > MOVES && second > MOVES,
        "{first} and {second} answers are too few to say anything"
    );
    server.stop().await;
}

#[track_caller]
fn assert_same(found: &Value, expected: &Value) {
    let (found, expected) = (found.as_array().unwrap(), expected.as_array().unwrap());
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(
            (&found["label"], &found["index"]),
            (&expected["label"], &expected["index"])
        );
        let apart = found["probability"].as_f64().unwrap() - expected["probability"].as_f64().unwrap();
        assert!(apart.abs() <= 1e-5, "{found} and {expected}");
    }
}
