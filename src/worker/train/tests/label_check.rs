//! Label checks as the server sees them: a run in, a ranked list out.

use std::{collections::BTreeSet, fs};

use serde_json::{Value, json};

use super::{
    drawn::{CLASSES, Drawn, Told},
    failed,
    heads::{set, with},
};
use crate::{
    domain::{
        datasets::split::Split,
        jobs::{
            job::FailureCode,
            label_check::{DoubtCounts, LabelCheck},
        },
        metrics::label_check::DoubtReason,
        spec::{JobKind, Spec},
    },
    protocol::{FoundResult, KnownActivations, LabelCheckRun, ManifestImage, RunResult, WorkerMessage},
    worker::{
        process::{
            child::{Reporter, StopFlag, Stopped},
            run_dir::RunDir,
        },
        train,
    },
};

fn run(set: &Drawn, fields: Value) -> LabelCheckRun {
    let mut document = json!({
        "kind": "label_check", "dataset": "drawn", "backbone": {"weights": "base.safetensors"}, "batch_size": 8,
    });
    for (field, value) in fields.as_object().unwrap() {
        document[field] = value.clone();
    }
    let Spec::LabelCheck(spec) = Spec::parse(&document).unwrap() else {
        panic!("it is of another kind");
    };
    LabelCheckRun {
        train: with(set, json!({"preset": "quick"})),
        spec: *spec,
    }
}

fn checked(run: &LabelCheckRun, dir: &RunDir) -> (LabelCheck, FoundResult, Vec<WorkerMessage>) {
    let told = Told::default();
    let result = train::label_check(run, dir, &Reporter::to(told.clone()), &StopFlag::default());
    let found = match result.unwrap() {
        RunResult::Found(found) => found,
        other => panic!("{other:?}"),
    };
    assert_eq!(found.kind, JobKind::LabelCheck);
    let list = fs::read(dir.file(&found.file.file)).unwrap();
    (serde_json::from_slice(&list).unwrap(), found, told.messages())
}

#[test]
fn wrong_labels_come_first_whatever_split_they_are_in() {
    let mut set = set();
    let flipped = BTreeSet::from([3, 10, 20, 27, 41]);
    set.change(|image| {
        if flipped.contains(&image.id) {
            image.class = image.class.map(|class| (class + 1) % CLASSES.len() as u32);
        }
    });
    let (check, ..) = checked(&run(&set, json!({})), &set.dir("run"));
    assert_eq!((check.images, check.folds), (60, 5));
    assert!(
        check.agreement > 0.75 && check.agreement < 0.95,
        "{}",
        check.agreement
    );
    let first: BTreeSet<u32> = check.listed.iter().take(8).map(|listed| listed.image).collect();
    let found = flipped.intersection(&first).count();
    assert!(found >= 4, "{found} of 5: {:#?}", check.listed);
    let top = &check.listed[0];
    assert_eq!(top.reason, DoubtReason::Label);
    assert!(top.quality < 0.5 && top.confidence > 0.5, "{top:?}");
    assert_ne!(top.given, top.suggested);
    let image = &set.images[top.image as usize];
    assert_eq!(
        (&top.path, top.given.as_str()),
        (&image.path, CLASSES[image.class.unwrap() as usize])
    );
    let truth = CLASSES[top.image as usize % CLASSES.len()];
    assert_eq!(top.suggested, truth);

    let counts = check
        .listed
        .iter()
        .fold(DoubtCounts::default(), |mut counts, listed| {
            match listed.reason {
                DoubtReason::Label => counts.label += 1,
                DoubtReason::Duplicate => counts.duplicate += 1,
                DoubtReason::Outlier => counts.outlier += 1,
                DoubtReason::Unsure => counts.unsure += 1,
            }
            counts
        });
    assert_eq!(counts, check.found);
    assert!(counts.label > 0);
    for (class, row) in check.classes.iter().zip(&check.confident_joint) {
        assert!(row.iter().sum::<u64>() <= class.images);
        assert!(class.threshold.is_some_and(|least| least > 0.3 && least < 1.0));
    }
}

#[test]
fn twins_under_different_labels_are_named_with_each_other() {
    let mut set = set();
    // Image 7 is image 4 again, as a file of its own, under another label.
    let twin = set.images[4].clone();
    set.change(|image| {
        if image.id == 7 {
            *image = ManifestImage {
                id: 7,
                path: "squares/again.png".to_owned(),
                class: Some(2),
                sha256: "7".repeat(64),
                ..twin.clone()
            };
        }
    });
    let (check, ..) = checked(&run(&set, json!({})), &set.dir("run"));
    for (image, other) in [(4, 7), (7, 4)] {
        let listed = check.listed.iter().find(|listed| listed.image == image).unwrap();
        assert_eq!(listed.duplicates, [other], "{listed:?}");
        assert!(listed.reason != DoubtReason::Outlier);
    }
}

#[test]
fn a_second_check_starts_from_kept_features_and_finds_the_same() {
    let set = set();
    let dir = set.dir("first");
    let first_run = run(&set, json!({}));
    let (first, found, told) = checked(&first_run, &dir);
    let used = |told: &[WorkerMessage]| {
        told.iter().any(|message| matches!(message, WorkerMessage::Log { event } if event.message.contains("computed by an earlier job")))
    };
    assert!(!used(&told));
    let left = found.activations[0].clone();
    let mut second = first_run;
    second.train.activations = vec![KnownActivations {
        key: left.key.clone(),
        path: dir.file(&left.file.unwrap().file),
    }];
    let (again, found, told) = checked(&second, &set.dir("second"));
    assert!(used(&told));
    assert_eq!(again, first);
    assert_eq!(
        (found.activations[0].key.as_str(), &found.activations[0].file),
        (left.key.as_str(), &None)
    );
    let mut steps = told.iter().filter_map(|message| match message {
        WorkerMessage::Progress { progress } => Some((progress.step, progress.steps)),
        _ => None,
    });
    assert_eq!(steps.next_back(), Some((11, 11)));
    second.spec.seed += 1;
    let (other, ..) = checked(&second, &set.dir("third"));
    assert_ne!(other.classes, first.classes, "another seed makes other folds");
}

#[test]
fn what_cannot_be_divided_says_what_to_change() {
    let mut set = set();
    let told = |set: &Drawn, fields: Value| {
        let dir = set.dir("refused");
        let reporter = Reporter::to(std::io::sink());
        failed(train::label_check(
            &run(set, fields),
            &dir,
            &reporter,
            &StopFlag::default(),
        ))
    };
    // Twenty images of each class, of which three groups are left.
    set.change(|image| image.path = format!("{}_{}.png", image.id % 3 + 3 * (image.id / 20), image.id));
    let (code, message) = told(&set, json!({"group_by": {}}));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("set `folds` to 3 or less"), "{message}");

    set.change(|image| image.class = None);
    let (code, message) = told(&set, json!({}));
    assert_eq!(code, FailureCode::InvalidData);
    assert!(message.contains("no classes"), "{message}");
}

#[test]
fn a_check_stops_when_it_is_told_to_and_when_its_time_is_over() {
    let set = set();
    let stop = StopFlag::default();
    stop.set();
    let reporter = Reporter::to(std::io::sink());
    let result = train::label_check(&run(&set, json!({})), &set.dir("stopped"), &reporter, &stop);
    assert!(result.unwrap_err().is::<Stopped>());

    let mut late = run(&set, json!({"max_seconds": 1}));
    late.train.common.seconds_used = 1.0;
    let result = train::label_check(&late, &set.dir("late"), &reporter, &StopFlag::default());
    assert_eq!(failed(result).0, FailureCode::TimeLimit);
}

#[test]
fn every_split_takes_part() {
    let set = Drawn::new(30, super::resize_to(), |id| match id % 5 {
        3 => Split::Val,
        4 => Split::Test,
        _ => Split::Train,
    });
    let (check, ..) = checked(&run(&set, json!({"folds": 3})), &set.dir("run"));
    assert_eq!(check.images, 30);
}
