//! Versions of datasets: every change makes one, none ever changes, and what was made from one says which.

use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};

use crate::support::{
    Api, Server,
    api::Answer,
    patience::{wait_until, wait_until_no_work_is_left},
    pictures,
};

/// The pages of a version's images, as one list.
async fn images(api: &Api, query: &str) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all
            .last()
            .map_or(String::new(), |last| format!("&after={}", last["id"]));
        let page = api
            .get(&format!("/v1/datasets/things/images?limit=3{query}{after}"))
            .await
            .expect(200)
            .json();
        all.extend(page["data"].as_array().unwrap().iter().cloned());
        if page["has_more"] == false {
            assert_eq!(page["total"], all.len(), "the total is exact");
            return all;
        }
    }
}

async fn change(api: &Api, method: Method, path: &str, body: Value, if_match: Option<&str>) -> Answer {
    let mut request = api.request(method, path);
    if !body.is_null() {
        request = request.json(&body);
    }
    if let Some(tag) = if_match {
        request = request.header("if-match", tag);
    }
    api.send(request).await
}

async fn add(api: &Api, query: &str, files: Vec<(&str, Vec<u8>)>) -> Answer {
    let mut form = Form::new().text("note", "these are mine");
    for (name, bytes) in files {
        form = form.part("file", Part::bytes(bytes).file_name(name.to_owned()));
    }
    let request = api.request(Method::POST, &format!("/v1/datasets/things/images{query}"));
    api.send(request.multipart(form)).await
}

fn names(dataset: &Value) -> Vec<&str> {
    let classes = dataset["classes"].as_array().unwrap();
    classes
        .iter()
        .map(|class| class["name"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_label_makes_the_next_version_and_the_one_before_stays() {
    let server = Server::start().await;
    let api = &server.api;
    let first = api.upload("things", pictures::flat_archive(2, 4)).await;
    assert_eq!(
        (&first["version"], &first["latest_version"]),
        (&json!(1), &json!(1))
    );
    let before = images(api, "").await;
    assert_eq!(before.len(), 8);
    assert_eq!(
        (&before[0]["path"], &before[0]["class"], &before[0]["width"]),
        (&json!("class-0/000.png"), &json!("class-0"), &json!(40))
    );

    let path = "/v1/datasets/things/images/0";
    let changed = change(
        api,
        Method::PATCH,
        path,
        json!({"class": "a new one"}),
        Some("\"v1\""),
    )
    .await
    .expect(200);
    assert_eq!(changed.headers["etag"], "\"v2\"");
    let second = changed.json();
    assert_eq!(
        (&second["version"], &second["latest_version"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(names(&second), ["a new one", "class-0", "class-1"]);
    assert_eq!(second["classes"][0]["images"], 1);
    assert_ne!(second["content_sha256"], first["content_sha256"]);
    assert_eq!(
        (&second["sha256"], &second["images"]),
        (&first["sha256"], &json!(8))
    );

    // What was there is there.
    let old = api.get("/v1/datasets/things?version=1").await.expect(200);
    assert_eq!(old.headers["etag"], "\"v1\"");
    let old = old.json();
    assert_eq!(
        (&old["content_sha256"], &old["latest_version"]),
        (&first["content_sha256"], &json!(2))
    );
    assert_eq!(old["classes"], first["classes"]);
    assert_eq!(images(api, "&version=1").await, before);
    let named = api.get("/v1/datasets/things@1").await.expect(200).json();
    assert_eq!(named, old);
    let after = images(api, "").await;
    assert_eq!(
        (&after[0]["class"], &after[0]["sha256"]),
        (&json!("a new one"), &before[0]["sha256"])
    );
    assert_eq!(after[1..], before[1..]);
    assert_eq!(images(api, "&class=class-0").await.len(), 3);
    assert_eq!(images(api, "&class=class-1&split=train").await.len(), 4);
    assert_eq!(images(api, "&split=val").await.len(), 0);

    // What is so already makes no version, and who has seen an old one is told.
    let same = change(
        api,
        Method::PATCH,
        path,
        json!({"class": "a new one", "split": "train"}),
        None,
    )
    .await
    .expect(200);
    assert_eq!(same.json()["version"], 2);
    change(
        api,
        Method::PATCH,
        path,
        json!({"class": "class-0"}),
        Some("\"v1\""),
    )
    .await
    .problem(412, "version-changed");
    change(
        api,
        Method::DELETE,
        "/v1/datasets/things@1/images/0",
        Value::Null,
        None,
    )
    .await
    .problem(412, "version-changed");
    let back = change(
        api,
        Method::PATCH,
        path,
        json!({"class": "class-0"}),
        Some("\"v1\", \"v2\""),
    )
    .await
    .expect(200)
    .json();
    assert_eq!(
        (&back["version"], &back["content_sha256"]),
        (&json!(3), &first["content_sha256"])
    );

    let list = api
        .get("/v1/datasets/things/versions?order=asc")
        .await
        .expect(200)
        .json();
    let kinds: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| &version["change"]["kind"])
        .collect();
    assert_eq!(kinds, ["upload", "edit", "edit"]);
    assert_eq!(list["data"][1]["change"]["relabelled"], 1);
    let page = api
        .get("/v1/datasets/things/versions?after=2")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (
            page["data"].as_array().unwrap().len(),
            &page["data"][0]["version"]
        ),
        (1, &json!(1))
    );
    let second = api.get("/v1/datasets/things/versions/2").await.expect(200).json();
    assert_eq!(
        second["classes"][0]["splits"],
        json!({"train": 1, "val": 0, "test": 0})
    );
    api.get("/v1/datasets/things/versions/4")
        .await
        .problem(404, "not-found");
    api.get("/v1/datasets/things?version=4")
        .await
        .problem(404, "not-found");
    api.get("/v1/datasets/things@x").await.problem(404, "not-found");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_are_one_version_or_none() {
    let server = Server::start().await;
    let api = &server.api;
    api.upload("things", pictures::flat_archive(2, 3)).await;
    let path = "/v1/datasets/things/images";
    let edits = json!({"images": [
        {"id": 0, "class": "class-1"}, {"id": 1, "split": "val"}, {"id": 2, "remove": true}, {"id": 5, "class": " <b>", "split": "test"}
    ]});
    let second = change(api, Method::PATCH, path, edits, None)
        .await
        .expect(200)
        .json();
    assert_eq!((&second["version"], &second["images"]), (&json!(2), &json!(5)));
    assert_eq!(second["splits"], json!({"train": 3, "val": 1, "test": 1}));
    assert_eq!(names(&second), ["<b>", "class-0", "class-1"]);
    assert_eq!(
        second["classes"][0]["splits"],
        json!({"train": 0, "val": 0, "test": 1})
    );
    let made = api.get("/v1/datasets/things/versions/2").await.expect(200).json();
    assert_eq!(
        made["change"],
        json!({"kind": "edit", "added": 0, "removed": 1, "relabelled": 2, "moved": 2})
    );
    let ids: Vec<_> = images(api, "")
        .await
        .iter()
        .map(|image| image["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [0, 1, 3, 4, 5]);

    // One that is not there, or not right, and nothing happens.
    let refused = change(
        api,
        Method::PATCH,
        path,
        json!({"images": [{"id": 0, "class": "x"}, {"id": 2, "class": "x"}]}),
        None,
    )
    .await
    .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/images/1/id");
    let refused = change(
        api,
        Method::PATCH,
        path,
        json!({"images": [{"id": 0, "class": "../up"}]}),
        None,
    )
    .await
    .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/images/0/class");
    for (id, body) in [
        ("2", json!({"class": "x"})),
        ("99", json!({"class": "x"})),
        ("x", json!({"class": "x"})),
    ] {
        let gone = format!("{path}/{id}");
        change(api, Method::PATCH, &gone, body, None)
            .await
            .problem(404, "not-found");
        change(api, Method::DELETE, &gone, Value::Null, None)
            .await
            .problem(404, "not-found");
    }
    change(
        api,
        Method::PATCH,
        "/v1/datasets/things/images/0",
        json!({}),
        None,
    )
    .await
    .problem(422, "invalid");
    change(
        api,
        Method::PATCH,
        "/v1/datasets/things/images/0",
        json!({"class": "x"}),
        Some("v2"),
    )
    .await
    .problem(400, "if-match-invalid");
    let all: Vec<Value> = [0, 1, 3, 4, 5]
        .iter()
        .map(|id| json!({"id": id, "remove": true}))
        .collect();
    change(api, Method::PATCH, path, json!({"images": all}), None)
        .await
        .problem(422, "dataset-empty");
    assert_eq!(api.get("/v1/datasets/things").await.expect(200).json(), second);

    let removed = change(
        api,
        Method::DELETE,
        "/v1/datasets/things/images/0",
        Value::Null,
        None,
    )
    .await
    .expect(204);
    assert_eq!(removed.headers["etag"], "\"v3\"");

    // Changes at the same time are made one after another; of those that insist on one version, one is made.
    let edit = |id: u32, tag: Option<&'static str>| {
        change(
            api,
            Method::PATCH,
            path,
            json!({"images": [{"id": id, "class": format!("of {id}")}]}),
            tag,
        )
    };
    let (one, other, third) = tokio::join!(edit(1, None), edit(3, None), edit(4, None));
    assert_eq!([one.status, other.status, third.status], [200; 3]);
    let dataset = api.get("/v1/datasets/things").await.expect(200).json();
    assert_eq!(
        (&dataset["version"], names(&dataset)),
        (&json!(6), vec!["<b>", "of 1", "of 3", "of 4"])
    );
    let swap = |class: &'static str| {
        change(
            api,
            Method::PATCH,
            path,
            json!({"images": [{"id": 1, "class": class}]}),
            Some("\"v6\""),
        )
    };
    let (one, other) = tokio::join!(swap("x"), swap("y"));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_added_and_stored_once() {
    let server = Server::start().await;
    let api = &server.api;
    let first = api.upload("things", pictures::flat_archive(2, 3)).await;
    let known = pictures::png(0, 1, 40);
    let mut broken = pictures::file(&pictures::picture(0, 9, 64), image::ImageFormat::Jpeg);
    broken.truncate(broken.len() / 3);
    let files = vec![
        ("new one.png", pictures::png(1, 50, 64)),
        (
            "../../wide.jpg",
            pictures::file(&pictures::picture(1, 51, 30), image::ImageFormat::Jpeg),
        ),
        ("known.png", known.clone()),
        ("broken.jpg", broken),
        ("notes.txt", b"no picture at all".to_vec()),
        ("again.png", pictures::png(1, 50, 64)),
    ];
    let answer = add(api, "?class=class-2&split=val", files.clone())
        .await
        .expect(201);
    let id = first["id"].as_str().unwrap();
    assert_eq!(
        answer.headers["location"],
        format!("/v1/datasets/{id}/versions/2")
    );
    assert_eq!(answer.headers["etag"], "\"v2\"");
    let added = answer.json();
    assert_eq!(
        (&added["dataset"]["images"], &added["dataset"]["splits"]["val"]),
        (&json!(8), &json!(2))
    );
    let paths: Vec<_> = added["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| (&image["id"], &image["path"]))
        .collect();
    assert_eq!(
        paths,
        [
            (&json!(6), &json!("class-2/new one.png")),
            (&json!(7), &json!("class-2/wide.jpg"))
        ]
    );
    assert_eq!(added["images"][0]["class"], "class-2");
    let mut skipped: Vec<_> = added["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            (
                entry["path"].as_str().unwrap(),
                entry["codes"][0].as_str().unwrap(),
            )
        })
        .collect();
    skipped.sort_unstable();
    let paths: Vec<_> = skipped.iter().map(|(path, _)| *path).collect();
    assert_eq!(
        paths,
        [
            "broken.jpg",
            "class-2/again.png",
            "class-2/known.png",
            "notes.txt"
        ]
    );
    assert_eq!((skipped[1].1, skipped[2].1), ("duplicate", "duplicate"));
    assert_eq!(names(&added["dataset"]), ["class-0", "class-1", "class-2"]);
    assert_eq!(
        images(api, "&class=class-2&split=val").await,
        *added["images"].as_array().unwrap()
    );
    assert_eq!(images(api, "&version=1").await.len(), 6);

    // The same once more, as after a broken connection: nothing is new.
    let blobs = blobs_of(&server);
    let again = add(api, "?class=class-2&split=val", files)
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&again["dataset"]["version"], &again["images"]),
        (&json!(2), &json!([]))
    );
    swept(&server, &blobs).await;

    // A single one is the body, as `curl --data-binary @rose.png` sends it.
    let single = pictures::png(0, 60, 40);
    let request = api
        .request(
            Method::POST,
            "/v1/datasets/things/images?class=class-0&name=single.png",
        )
        .body(single);
    let third = api.send(request).await.expect(201).json();
    assert_eq!(
        (&third["dataset"]["version"], &third["images"][0]["id"]),
        (&json!(3), &json!(8))
    );
    // A changed label stores a manifest and nothing else.
    let before = blobs_of(&server).len();
    change(
        api,
        Method::PATCH,
        "/v1/datasets/things/images/8",
        json!({"class": "class-1"}),
        None,
    )
    .await
    .expect(200);
    assert_eq!(blobs_of(&server).len(), before + 1);

    // What cannot be added.
    let refused = add(api, "?class=class-0", vec![("notes.txt", b"no picture".to_vec())])
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/files/0");
    assert!(
        refused["errors"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("notes.txt: "),
        "{refused:#}"
    );
    let refused = add(api, "", vec![("a.png", known.clone())])
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["pointer"], "/class");
    add(api, "?class=a%2Fb", vec![("a.png", known.clone())])
        .await
        .problem(422, "invalid");
    add(api, "?class=a", Vec::new())
        .await
        .problem(400, "form-invalid");
    let stale = Form::new().part("file", Part::bytes(pictures::png(0, 61, 40)).file_name("a.png"));
    let request = api
        .request(Method::POST, "/v1/datasets/things/images?class=a")
        .header("if-match", "\"v1\"");
    api.send(request.multipart(stale))
        .await
        .problem(412, "version-changed");
    assert_eq!(
        api.get("/v1/datasets/things").await.expect(200).json()["version"],
        4
    );
    wait_until_no_work_is_left(&server).await;
    server.stop().await;
}

fn blobs_of(server: &Server) -> Vec<String> {
    let mut names = Vec::new();
    for folder in std::fs::read_dir(server.data_dir().join("blobs")).unwrap() {
        for blob in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            names.push(blob.unwrap().file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

/// Waits until the blobs are these.
async fn swept(server: &Server, blobs: &[String]) {
    wait_until("blobs that no version names go", async || {
        blobs_of(server) == blobs
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unlabelled_dataset_takes_images_without_class_and_no_labels() {
    let server = Server::start().await;
    let api = &server.api;
    let files: Vec<(String, Vec<u8>)> = (0..3)
        .map(|index| (format!("{index}.png"), pictures::png(0, index, 40)))
        .collect();
    let archive = pictures::zip(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    api.upload("things", archive).await;
    let added = add(api, "", vec![("a.png", pictures::png(1, 9, 40))])
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&added["dataset"]["images"], &added["images"][0]["class"]),
        (&json!(4), &Value::Null)
    );
    let refused = add(api, "?class=x", vec![("b.png", pictures::png(1, 8, 40))])
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "unlabelled");
    let refused = change(
        api,
        Method::PATCH,
        "/v1/datasets/things/images/0",
        json!({"class": "x"}),
        None,
    )
    .await
    .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "unlabelled");
    change(
        api,
        Method::DELETE,
        "/v1/datasets/things/images/3",
        Value::Null,
        None,
    )
    .await
    .expect(204);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_models_are_pinned_to_a_version() {
    let server = Server::start().await;
    let api = &server.api;
    let first = api.upload("things", pictures::flat_archive(2, 6)).await;
    // A device that is not there keeps the job in the queue.
    let spec = json!({"dataset": "things", "device": "cuda:9", "backbone": {"weights": "none"}});
    let waiting = api.submit(spec.clone()).await;
    let more: Vec<(String, Vec<u8>)> = (0..4)
        .map(|index| (format!("{index}.png"), pictures::png(1, 70 + index, 48)))
        .collect();
    let more = more
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.clone()))
        .collect();
    let second = add(api, "?class=class-1", more).await.expect(201).json()["dataset"].clone();
    let waiting = api
        .get(&format!("/v1/jobs/{}", waiting["id"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    assert_eq!(
        waiting["dataset"],
        json!({"id": first["id"], "version": 1, "content_sha256": first["content_sha256"]})
    );
    let old = json!({"dataset": "things@1", "device": "cuda:9", "backbone": {"weights": "none"}});
    assert_eq!(api.submit(old).await["dataset"]["version"], 1);
    assert_eq!(api.submit(spec).await["dataset"]["version"], 2);
    api.post("/v1/jobs", json!({"dataset": "things@3"}))
        .await
        .problem(422, "invalid");
    api.delete("/v1/datasets/things")
        .await
        .problem(409, "dataset-in-use");
    api.delete("/v1/datasets/things@1")
        .await
        .problem(422, "version-not-deletable");

    // A training over both segments; what it made says which version that was.
    let spec = json!({
        "dataset": "things", "name": "things", "epochs": 1, "image": {"size": 32}, "batch_size": 4, "freeze": "none",
        "backbone": {"weights": "none"}
    });
    let job = api.finished(&api.submit(spec).await).await;
    assert_eq!(job["status"], "succeeded", "{job:#}");
    let model = api
        .get(&format!("/v1/models/{}", job["model"].as_str().unwrap()))
        .await
        .expect(200)
        .json();
    let lineage = &model["card"]["dataset"];
    assert_eq!(
        (&lineage["version"], &lineage["content_sha256"]),
        (&json!(2), &second["content_sha256"])
    );
    let metrics = &model["card"]["metrics"];
    let counted = metrics["train_images"].as_u64().unwrap() + metrics["val_images"].as_u64().unwrap();
    assert_eq!(counted, 16);

    // A version that cannot train is refused, another one of the same dataset is not.
    let all = images(api, "&class=class-1").await;
    let edits: Vec<Value> = all
        .iter()
        .map(|image| json!({"id": image["id"], "class": "class-0"}))
        .collect();
    change(
        api,
        Method::PATCH,
        "/v1/datasets/things/images",
        json!({"images": edits}),
        None,
    )
    .await
    .expect(200);
    let refused = api
        .post("/v1/jobs", json!({"dataset": "things"}))
        .await
        .problem(422, "invalid");
    assert_eq!(refused["errors"][0]["code"], "one_class");
    api.post("/v1/jobs?dry_run=true", json!({"dataset": "things@2"}))
        .await
        .expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_is_stored_with_every_image_and_counted() {
    let server = Server::start().await;
    let api = &server.api;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for class in 0..2 {
        for index in 0..10 {
            files.push((
                format!("c{class}/p{}_{index}.png", index / 2),
                pictures::png(class, index, 40),
            ));
        }
        // A twin of the first.
        files.push((format!("c{class}/p9_twin.png"), pictures::png(class, 0, 40)));
        files.push((format!("c{class}/p8_last.png"), pictures::png(class, 11, 40)));
    }
    let archive = pictures::zip(files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())));
    api.upload("things", archive).await;
    let path = "/v1/datasets/things/split";
    let spec = json!({"val": 0.25, "test": 0.25, "seed": 4});
    let answer = change(api, Method::POST, path, spec.clone(), Some("\"v1\""))
        .await
        .expect(201);
    assert!(
        answer.headers["location"]
            .to_str()
            .unwrap()
            .ends_with("/versions/2")
    );
    let dataset = answer.json();
    assert_eq!(dataset["splits"], json!({"train": 12, "val": 6, "test": 6}));
    assert_eq!(
        [0, 1].map(|class| &dataset["classes"][class]["splits"]),
        [&json!({"train": 6, "val": 3, "test": 3}); 2]
    );
    let all = images(api, "").await;
    let of = |image: &Value| {
        (
            image["class"].clone(),
            image["split"].clone(),
            image["sha256"].clone(),
        )
    };
    for image in &all {
        for twin in all.iter().filter(|twin| twin["sha256"] == image["sha256"]) {
            assert_eq!(of(twin), of(image), "twins lie on one side");
        }
    }
    assert_eq!(images(api, "&split=val&class=c1").await.len(), 3);
    let same = change(api, Method::POST, path, spec, None)
        .await
        .expect(200)
        .json();
    assert_eq!(same, dataset, "the same wish is fulfilled already");
    let version = api.get("/v1/datasets/things/versions/2").await.expect(200).json();
    assert_eq!(
        (&version["change"]["kind"], &version["change"]["split"]["seed"]),
        (&json!("split"), &json!(4))
    );

    let grouped = json!({"val": 0.3, "seed": 1, "group_by": {"separator": "_", "parts": 1}});
    change(api, Method::POST, path, grouped, None).await.expect(201);
    let all = images(api, "").await;
    let group = |image: &Value| {
        image["path"]
            .as_str()
            .unwrap()
            .split(['/', '_'])
            .nth(1)
            .unwrap()
            .to_owned()
    };
    for image in &all {
        for other in all.iter().filter(|other| group(other) == group(image)) {
            assert_eq!(other["split"], image["split"], "groups lie on one side");
        }
    }
    assert!(all.iter().any(|image| image["split"] == "val"));
    change(api, Method::POST, path, json!({"val": 0.99}), None)
        .await
        .problem(422, "invalid");
    change(api, Method::POST, path, json!({"share": 0.2}), None)
        .await
        .problem(422, "invalid");
    server.stop().await;
}
