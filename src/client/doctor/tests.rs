use std::fs;

use super::*;
use crate::{data_dir::DataDir, fixtures::Stand};

const WORKER: &str = "#!/bin/sh
case $1 in
--version) echo finetuned-worker VERSION ;;
devices) echo '[{\"name\":\"cpu\",\"description\":\"a processor\",\"threads\":2,\"memory_bytes\":8589934592}]' ;;
esac
";

fn of<'a>(report: &'a Report, check: &str) -> &'a Finding {
    let found = report.findings.iter().find(|finding| finding.check == check);
    found.unwrap_or_else(|| panic!("nothing of {check}: {report}"))
}

#[tokio::test]
async fn a_machine_that_is_well_has_no_problem_and_each_fault_is_named_with_advice() {
    let stand = Stand::new().await;
    stand.store.close().await;
    let mut config = Config {
        worker: Some(stand.script("worker", &WORKER.replace("VERSION", env!("CARGO_PKG_VERSION")))),
        ..Config::for_data_dir(stand.beside("new"))
    };
    config.limits.min_free_bytes = 0;
    let report = examine(&config).await;
    assert!(report.ok, "{report}");
    for check in [
        "settings",
        "worker",
        "libtorch",
        "devices",
        "driver",
        "data_directory",
        "disk_kind",
        "disk_space",
        "disk_sync",
        "hard_links",
        "database",
        "port",
        "open_files",
        "memory",
        "processes",
        "worker_limits",
        "sandbox",
        "weights",
        "clock",
        "hub",
    ] {
        of(&report, check);
    }
    assert!(!config.data_dir.exists(), "looking made the data directory");

    config.data_dir = stand.beside("used");
    let opened = DataDir::open(&config.data_dir, 0).await.unwrap();
    let served = examine(&config).await;
    assert!(served.ok, "{served}");
    assert!(of(&served, "data_directory").text.contains("in use"));
    opened.store.close().await;
    drop(opened);
    fs::remove_file(config.data_dir.join("IDENTITY.json")).unwrap();
    config.worker = Some(stand.script("broken", "#!/bin/sh\necho 'no CUDA today' >&2\nexit 3\n"));
    config.weights.hub_endpoint = "no address".to_owned();
    let report = examine(&config).await;
    assert!(!report.ok);
    for (check, part) in [
        ("settings", "--hub-endpoint"),
        ("libtorch", "no CUDA today"),
        ("files", "IDENTITY.json"),
    ] {
        let found = of(&report, check);
        assert_eq!(found.state, State::Problem, "{found:?}");
        assert!(found.text.contains(part) && found.advice.is_some(), "{found:?}");
    }
    let text = report.to_string();
    assert!(
        text.contains("problem  libtorch") && text.contains("problems: 3"),
        "{text}"
    );
}
