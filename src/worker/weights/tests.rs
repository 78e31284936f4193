//! The hub's side of base weights, held to a small server of the same shape.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use tch::Tensor;

use super::{
    hub::from_hub,
    hub_server::{HubServer, Reply, Request},
    loading::{Patience, WeightsFault},
    obtain,
};
use crate::{
    domain::{
        jobs::job::{FailureCode, JobError},
        spec::Architecture,
    },
    files::digest,
    protocol::{HubSource, WeightsSource},
    worker::{
        files::state::{self, StateDict},
        process::{
            child::{Reporter, StopFlag},
            stored::tests::flipping,
        },
    },
};

const QUICK: Patience = Patience {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(5),
    pause: Duration::ZERO,
    tries: 3,
    window: Duration::from_secs(60),
};

/// A file of weights, large enough to be cut in the middle.
fn weights_file() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let tensor = Tensor::arange(100_000, (tch::Kind::Float, tch::Device::Cpu));
    state::write(
        &path,
        &StateDict::from([("fc.weight".to_owned(), tensor)]),
        &BTreeMap::new(),
    )
    .unwrap();
    fs::read(path).unwrap()
}

struct Setting {
    hub: HubSource,
    _cache: tempfile::TempDir,
    messages: Arc<Mutex<Vec<u8>>>,
    reporter: Reporter,
    stop: StopFlag,
}

impl Setting {
    fn new(endpoint: &str) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let hub = HubSource {
            endpoint: endpoint.to_owned(),
            repository: "timm/resnet18.tv_in1k".into(),
            revision: "main".into(),
            described: false,
            offline: false,
            cache: cache.path().to_owned(),
            sha256: None,
            bytes: None,
            token: None,
        };
        let messages = Arc::new(Mutex::new(Vec::new()));
        let reporter = Reporter::to(Shared(messages.clone()));
        Self {
            hub,
            _cache: cache,
            messages,
            reporter,
            stop: StopFlag::default(),
        }
    }

    fn fetch(&self) -> Result<StateDict, JobError> {
        self.fetch_at(&QUICK)
    }

    fn fetch_at(&self, patience: &Patience) -> Result<StateDict, JobError> {
        from_hub(
            &self.hub,
            Architecture::Resnet18,
            patience,
            &self.reporter,
            &self.stop,
        )
        .map(|loaded| loaded.state)
        .map_err(failed)
    }

    fn failure(&self) -> String {
        let error = self.fetch().unwrap_err();
        assert_eq!(error.code, FailureCode::WeightsUnavailable);
        assert!(
            error.message.contains("\"weights\": \"none\""),
            "{}",
            error.message
        );
        let cache = self.hub.cache.to_str().unwrap();
        assert!(!error.message.contains(cache), "{}", error.message);
        error.message
    }

    /// Names of the files in the cache but for the lock and the digest.
    fn cached(&self) -> Vec<String> {
        let folder = self.hub.cache.join("timm--resnet18.tv_in1k/main");
        let entries = fs::read_dir(folder).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter(|name| !name.ends_with(".lock") && !name.ends_with(".sha256"))
            .collect();
        names.sort();
        names
    }

    fn told(&self) -> String {
        String::from_utf8(self.messages.lock().unwrap().clone()).unwrap()
    }
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn failed(fault: WeightsFault) -> JobError {
    match fault {
        WeightsFault::Failed(error) => error,
        WeightsFault::Stopped => panic!("nobody asked for that"),
    }
}

fn assert_whole(state: &StateDict) {
    assert_eq!(state["fc.weight"].size(), [100_000]);
    assert_eq!(state["fc.weight"].double_value(&[99_999]), 99_999.0);
}

#[test]
fn weights_are_fetched_once_and_then_come_from_the_cache() {
    let file = weights_file();
    let server = HubServer::start(move |request| Reply::file(request, &file));
    let setting = Setting::new(&server.endpoint());
    let Setting {
        hub, reporter, stop, ..
    } = &setting;
    let loaded = from_hub(hub, Architecture::Resnet18, &QUICK, reporter, stop).unwrap();
    assert_whole(&loaded.state);
    assert_eq!(loaded.origin.name, "timm/resnet18.tv_in1k@main");
    assert!(
        loaded
            .origin
            .sha256
            .is_some_and(|sha256| digest::is_digest(&sha256))
    );
    assert_eq!(
        server.requests()[0].path,
        "/timm/resnet18.tv_in1k/resolve/main/model.safetensors"
    );
    assert_eq!(setting.cached(), ["model.safetensors"]);
    assert!(
        setting.told().contains("fetched the weights"),
        "{}",
        setting.told()
    );
    assert_whole(&setting.fetch().unwrap());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_redirect_to_storage_is_followed_without_the_token_and_its_digest_is_checked() {
    let file = weights_file();
    let storage = {
        let file = file.clone();
        HubServer::start(move |request| Reply::file(request, &file).with("etag", "\"of-the-storage\""))
    };
    let linked = |file: &[u8], digest: String| {
        let (to, bytes) = (format!("{}/object?signature=1", storage.endpoint()), file.len());
        HubServer::start(move |_| {
            Reply::redirect(to.clone())
                .with("x-linked-size", bytes.to_string())
                .with("x-linked-etag", format!("\"{digest}\""))
        })
    };
    let hub = linked(&file, digest::of_bytes(&file));
    let mut setting = Setting::new(&hub.endpoint());
    setting.hub.token = Some("hf_secret".into());
    assert_whole(&setting.fetch().unwrap());
    let asked = hub.requests();
    assert_eq!(asked[0].header("authorization"), Some("Bearer hf_secret"));
    assert_eq!(storage.requests()[0].header("authorization"), None);

    let lying = linked(&file, "ab".repeat(32));
    let setting = Setting::new(&lying.endpoint());
    let message = setting.failure();
    assert!(message.contains("SHA-256"), "{message}");
    assert!(!message.contains("signature"), "{message}");
    assert!(setting.cached().is_empty(), "{:?}", setting.cached());
}

#[test]
fn a_file_of_another_hash_or_size_than_the_known_one_is_refused() {
    let file = weights_file();
    let server = {
        let file = file.clone();
        HubServer::start(move |request| Reply::file(request, &file))
    };
    let mut setting = Setting::new(&server.endpoint());
    setting.hub.sha256 = Some("0".repeat(64));
    assert!(setting.failure().contains("SHA-256"));
    setting.hub.sha256 = Some(digest::of_bytes(&file));
    setting.hub.bytes = Some(12);
    assert!(setting.failure().contains("12"));
    assert!(setting.cached().is_empty(), "{:?}", setting.cached());
    setting.hub.bytes = Some(file.len() as u64);
    assert_whole(&setting.fetch().unwrap());
}

#[test]
fn a_page_that_comes_instead_of_the_file_does_not_get_into_the_cache() {
    let server = HubServer::start(|_| Reply::new(200, "<html>please log in to this network</html>"));
    let setting = Setting::new(&server.endpoint());
    assert!(setting.failure().contains("not weights"));
    assert!(setting.cached().is_empty(), "{:?}", setting.cached());
}

#[test]
fn a_file_beyond_the_limit_is_not_even_begun() {
    let server = HubServer::start(|request| match request.path.as_str() {
        "/huge" => Reply::new(200, "never asked for in full"),
        _ => Reply::redirect("/huge").with("x-linked-size", (3u64 << 30).to_string()),
    });
    let setting = Setting::new(&server.endpoint());
    assert!(setting.failure().contains("larger than"));
    assert!(setting.cached().is_empty(), "{:?}", setting.cached());
}

/// Sends the first half of the file and breaks off, `cuts` times; after that whatever is asked for.
fn breaking_off(file: Vec<u8>, cuts: usize) -> HubServer {
    HubServer::start(move |request| {
        let mut reply = Reply::file(request, &file).with("etag", "\"v1\"");
        if request.number < cuts {
            reply.cut_after = Some(reply.body.len() / 2);
        }
        reply
    })
}

#[test]
fn a_transfer_that_breaks_off_is_gone_on_with() {
    let server = breaking_off(weights_file(), 2);
    let setting = Setting::new(&server.endpoint());
    assert_whole(&setting.fetch().unwrap());
    let requests = server.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[0].range_start(), None);
    let starts: Vec<_> = requests[1..].iter().map(Request::range_start).collect();
    assert!(starts[0] > Some(100_000) && starts[1] > starts[0], "{starts:?}");
    assert_eq!(requests[1].header("if-range"), Some("\"v1\""));
}

#[test]
fn a_hub_that_falls_silent_or_slow_in_the_middle_is_given_up_and_what_came_is_kept() {
    let impatient = Patience {
        read: Duration::from_secs(1),
        window: Duration::from_millis(100),
        tries: 2,
        ..QUICK
    };
    for (drip, told) in [
        (false, "nothing more came in time"),
        (true, "less than 10000 bytes a second"),
    ] {
        let file = weights_file();
        let server = HubServer::start(move |request| {
            let mut reply = Reply::file(request, &file).with("etag", "\"v1\"");
            reply.cut_after = Some(if request.number == 0 {
                reply.body.len() / 2
            } else {
                0
            });
            (reply.hang, reply.drip) = (!drip, drip);
            reply
        });
        let setting = Setting::new(&server.endpoint());
        let error = setting.fetch_at(&impatient).unwrap_err();
        assert_eq!(error.code, FailureCode::WeightsUnavailable);
        assert!(error.message.contains(told), "{}", error.message);
        assert_eq!(
            setting.cached(),
            ["model.safetensors.part", "model.safetensors.part.json"]
        );
    }
}

#[test]
fn a_later_job_goes_on_where_an_earlier_one_gave_up() {
    let server = breaking_off(weights_file(), 1);
    let setting = Setting::new(&server.endpoint());
    let once = Patience { tries: 1, ..QUICK };
    let error = setting.fetch_at(&once).unwrap_err();
    assert!(error.message.contains("was interrupted"), "{}", error.message);
    assert_eq!(
        setting.cached(),
        ["model.safetensors.part", "model.safetensors.part.json"]
    );
    assert_whole(&setting.fetch_at(&once).unwrap());
    assert!(server.requests()[1].range_start() > Some(0));
    assert_eq!(setting.cached(), ["model.safetensors"]);
}

#[test]
fn what_was_left_of_another_file_is_thrown_away() {
    let file = weights_file();
    let old = {
        let mut other = file.clone();
        other.reverse();
        breaking_off(other, 1)
    };
    let mut setting = Setting::new(&old.endpoint());
    assert!(setting.fetch_at(&Patience { tries: 1, ..QUICK }).is_err());
    // This hub has another file under the same tag: only the hash tells.
    let new = HubServer::start({
        let file = file.clone();
        move |request| Reply::file(request, &file).with("etag", "\"v1\"")
    });
    setting.hub.endpoint = new.endpoint();
    setting.hub.sha256 = Some(digest::of_bytes(&file));
    assert_whole(&setting.fetch().unwrap());
    assert!(new.requests()[0].range_start() > Some(0));
    assert_eq!(new.requests()[1].range_start(), None);
}

#[test]
fn a_hub_that_says_no_is_quoted_with_what_to_do() {
    let denied = HubServer::start(|_| Reply::new(401, ""));
    assert!(
        Setting::new(&denied.endpoint())
            .failure()
            .contains("`--hub-token`")
    );
    assert_eq!(denied.requests().len(), 1);
    let missing = HubServer::start(|_| Reply::new(404, ""));
    assert!(
        Setting::new(&missing.endpoint())
            .failure()
            .contains("no such repository")
    );
    assert_eq!(missing.requests().len(), 1);
    let ill = HubServer::start(|_| Reply::new(503, ""));
    assert!(Setting::new(&ill.endpoint()).failure().contains("503"));
    assert_eq!(ill.requests().len(), 3, "a server's own trouble may pass");
}

#[test]
fn a_redirect_without_end_is_given_up() {
    let server = HubServer::start(|_| Reply::redirect("/again"));
    assert!(Setting::new(&server.endpoint()).failure().contains("redirects"));
    assert_eq!(server.requests().len(), 11);
}

#[test]
fn nobody_there_and_nobody_answering_are_told_apart_from_each_other() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for scheme in ["http", "https"] {
        let message = Setting::new(&format!("{scheme}://{free}")).failure();
        assert!(message.contains("cannot be reached"), "{message}");
        assert!(message.contains(&free.to_string()), "{message}");
    }

    let silent = HubServer::start(|_| Reply {
        hang: true,
        ..Reply::new(200, "")
    });
    let setting = Setting::new(&silent.endpoint());
    let impatient = Patience {
        read: Duration::from_millis(100),
        tries: 2,
        ..QUICK
    };
    let error = setting.fetch_at(&impatient).unwrap_err();
    assert!(error.message.contains("no answer in time"), "{}", error.message);
    assert_eq!(silent.requests().len(), 2);
}

#[test]
fn offline_uses_the_cache_and_nothing_else() {
    let file = weights_file();
    let server = HubServer::start(move |request| Reply::file(request, &file));
    let mut setting = Setting::new(&server.endpoint());
    setting.hub.offline = true;
    assert!(setting.failure().contains("`--offline`"));
    assert!(server.requests().is_empty());
    setting.hub.offline = false;
    setting.fetch().unwrap();
    setting.hub.offline = true;
    assert_whole(&setting.fetch().unwrap());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_cached_file_with_a_flipped_bit_is_fetched_again_and_offline_it_is_an_error() {
    let file = weights_file();
    let served = file.clone();
    let server = HubServer::start(move |request| Reply::file(request, &served));
    let mut setting = Setting::new(&server.endpoint());
    setting.fetch().unwrap();
    let path = setting
        .hub
        .cache
        .join("timm--resnet18.tv_in1k/main/model.safetensors");
    let mut fetched = 1;
    flipping(&path, 5, || {
        setting.hub.offline = true;
        let error = setting.fetch().unwrap_err();
        assert_eq!(error.code, FailureCode::DataDamaged, "{}", error.message);
        setting.hub.offline = false;
        assert_whole(&setting.fetch().unwrap());
        fetched += 1;
        assert_eq!(server.requests().len(), fetched);
        assert!(fs::read(&path).unwrap() == file);
    });
    assert!(setting.told().contains("weights_damaged"), "{}", setting.told());
}

#[test]
fn a_file_that_is_not_what_is_known_of_it_is_not_trained_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.safetensors");
    fs::write(&path, weights_file()).unwrap();
    let sha256 = digest::of_bytes(&weights_file());
    let (reporter, stop) = (Reporter::to(std::io::sink()), StopFlag::default());
    let of = |sha256: Option<&str>| {
        let source = WeightsSource::File {
            path: path.clone(),
            origin: "mdl_1".into(),
            sha256: sha256.map(str::to_owned),
            classes: None,
        };
        obtain(&source, Architecture::Resnet18, &reporter, &stop).map_err(failed)
    };
    assert_whole(&of(Some(&sha256)).unwrap().unwrap().state);
    flipping(&path, 5, || {
        let error = of(Some(&sha256)).unwrap_err();
        assert_eq!(error.code, FailureCode::DataDamaged);
        assert!(error.message.contains("`mdl_1`"), "{}", error.message);
    });
    // An operator's own file, with a digest beside it as `sha256sum` writes it.
    let beside = folder.path().join("own.safetensors.sha256");
    fs::write(beside, format!("{sha256}  own.safetensors\n")).unwrap();
    assert!(of(None).is_ok());
    flipping(&path, 5, || {
        assert_eq!(of(None).unwrap_err().code, FailureCode::DataDamaged)
    });
}

#[test]
fn two_jobs_at_once_fetch_one_file() {
    let file = weights_file();
    let server = HubServer::start(move |request| Reply::file(request, &file));
    let setting = Setting::new(&server.endpoint());
    let fetch = || {
        let (hub, reporter) = (setting.hub.clone(), setting.reporter.clone());
        let stop = setting.stop.clone();
        move || from_hub(&hub, Architecture::Resnet18, &QUICK, &reporter, &stop).map(|_| ())
    };
    let jobs: Vec<_> = (0..4).map(|_| std::thread::spawn(fetch())).collect();
    for job in jobs {
        job.join().unwrap().unwrap();
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_job_that_is_stopped_leaves_what_it_fetched_to_the_next() {
    let (file, stop) = (weights_file(), StopFlag::default());
    let server = {
        let stop = stop.clone();
        HubServer::start(move |request| {
            // Set before the first byte is on its way: what arrives is still kept.
            if request.number == 0 {
                stop.set();
            }
            Reply::file(request, &file).with("etag", "\"v1\"")
        })
    };
    let mut setting = Setting::new(&server.endpoint());
    setting.stop = stop;
    let Setting {
        hub, reporter, stop, ..
    } = &setting;
    let stopped = from_hub(hub, Architecture::Resnet18, &QUICK, reporter, stop);
    assert!(matches!(stopped, Err(WeightsFault::Stopped)), "{stopped:?}");
    setting.stop = StopFlag::default();
    assert_whole(&setting.fetch().unwrap());
    assert!(server.requests()[1].range_start() > Some(0));
}

#[test]
fn a_name_that_would_leave_the_cache_is_refused() {
    let mut setting = Setting::new("http://127.0.0.1:9");
    for repository in ["../../etc", "a//b", "/a", "a/..", ""] {
        setting.hub.repository = repository.into();
        assert!(setting.failure().contains("not a valid name"), "{repository}");
    }
}

#[test]
fn the_other_sources_need_no_hub() {
    let reporter = Reporter::to(std::io::sink());
    let stop = StopFlag::default();
    let of =
        |source: &WeightsSource| obtain(source, Architecture::Resnet18, &reporter, &stop).map_err(failed);
    assert!(of(&WeightsSource::None).unwrap().is_none());
    let message = "there is no model `x`".to_owned();
    let gone = of(&WeightsSource::Unavailable {
        message: message.clone(),
    });
    assert_eq!(gone.unwrap_err().message, message);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.safetensors");
    let file = WeightsSource::File {
        sha256: None,
        classes: None,
        path: path.clone(),
        origin: "own.safetensors".into(),
    };
    let missing = of(&file).unwrap_err();
    assert!(missing.message.contains("own.safetensors"), "{}", missing.message);
    fs::write(&path, weights_file()).unwrap();
    assert_whole(&of(&file).unwrap().unwrap().state);
}

/// A hub with one repository that describes itself.
fn describing(architecture: &'static str) -> HubServer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let network = crate::worker::nets::Network::drawn(Architecture::Resnet18, 2, 1, tch::Device::Cpu);
    state::write(&path, network.state(), &BTreeMap::new()).unwrap();
    let weights = fs::read(path).unwrap();
    HubServer::start(move |request| {
        match request.path.rsplit('/').next() {
        Some("config.json") => Reply::new(
            200,
            serde_json::json!({
                "architecture": architecture, "num_classes": 2, "label_names": ["bee", "ant"],
                "pretrained_cfg": {"input_size": [3, 288, 288], "interpolation": "bicubic", "crop_pct": 0.95, "mean": [0.5, 0.5, 0.5],
                    "std": [0.25, 0.25, 0.25]},
            })
            .to_string(),
        ),
        Some("model.safetensors") => Reply::file(request, &weights),
        _ => Reply::new(404, ""),
    }
    })
}

#[test]
fn a_repository_that_nobody_listed_brings_its_preprocessing_and_the_names_of_its_classes() {
    let server = describing("resnet18");
    let mut setting = Setting::new(&server.endpoint());
    setting.hub.repository = "someone/insects".into();
    setting.hub.described = true;
    let Setting {
        hub, reporter, stop, ..
    } = &setting;
    for _ in 0..2 {
        let about = super::describe(hub, Architecture::Resnet18, reporter, stop).unwrap();
        assert_eq!((about.recipe.native_size, about.recipe.crop_share), (288, 0.95));
        assert_eq!((about.recipe.mean, about.recipe.std), ([0.5; 3], [0.25; 3]));
        let loaded = from_hub(hub, Architecture::Resnet18, &QUICK, reporter, stop).unwrap();
        assert_eq!(loaded.classes, Some(vec!["bee".to_owned(), "ant".to_owned()]));
        assert_eq!(loaded.origin.name, "someone/insects@main");
    }
    let paths: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.path)
        .collect();
    let at = "/someone/insects/resolve/main";
    assert_eq!(
        paths,
        [format!("{at}/config.json"), format!("{at}/model.safetensors")]
    );
}

#[test]
fn a_repository_of_another_network_is_named_before_its_weights_are_fetched() {
    for (architecture, told) in [
        ("resnet34", "`backbone.architecture` to `resnet34`"),
        ("maxvit", "`maxvit`, which is not one"),
    ] {
        let server = describing(architecture);
        let mut setting = Setting::new(&server.endpoint());
        setting.hub.described = true;
        let Setting {
            hub, reporter, stop, ..
        } = &setting;
        let error = failed(super::describe(hub, Architecture::Resnet18, reporter, stop).unwrap_err());
        assert_eq!(error.code, FailureCode::WeightsUnavailable);
        assert!(error.message.contains(told), "{}", error.message);
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn the_ways_in_which_a_hub_says_no_are_told_apart() {
    for (status, token, told) in [
        (401, None, "gated or private, or does not exist"),
        (401, Some("hf_secret"), "does not accept the server's token"),
        (403, Some("hf_secret"), "Accept the repository's conditions"),
        (
            404,
            None,
            "Check the name of the repository in `backbone.weights`",
        ),
        (
            410,
            None,
            "Check the name of the repository in `backbone.weights`",
        ),
    ] {
        let server = HubServer::start(move |_| Reply::new(status, ""));
        let mut setting = Setting::new(&server.endpoint());
        setting.hub.token = token.map(str::to_owned);
        setting.hub.described = true;
        let message = setting.failure();
        assert!(
            message.contains(told) && message.contains(&status.to_string()),
            "{message}"
        );
        assert!(!message.contains("hf_secret"), "{message}");
    }
}
