//! The boundaries of docs/ARCHITECTURE.md, held by reading the sources.

use std::fs;

use super::{root, rust_files};

/// What a layer may not know: the layers above it.
const ABOVE: [(&str, &[&str]); 11] = [
    (
        "domain/",
        &[
            "store",
            "blobs",
            "http",
            "jobs",
            "inference",
            "worker",
            "protocol",
            "config",
            "client",
        ],
    ),
    (
        "protocol",
        &[
            "store",
            "blobs",
            "http",
            "jobs",
            "inference",
            "worker",
            "config",
            "client",
        ],
    ),
    (
        "store/",
        &[
            "http",
            "jobs",
            "inference",
            "worker",
            "config",
            "client",
            "blobs",
            "data_dir",
        ],
    ),
    (
        "blobs",
        &[
            "http",
            "jobs",
            "inference",
            "worker",
            "config",
            "client",
            "store",
            "data_dir",
        ],
    ),
    (
        "data_dir/",
        &[
            "http",
            "jobs",
            "inference",
            "uploads",
            "worker",
            "config",
            "client",
        ],
    ),
    (
        "manifest/",
        &[
            "store",
            "blobs",
            "http",
            "jobs",
            "inference",
            "uploads",
            "worker",
            "config",
            "client",
        ],
    ),
    ("uploads/", &["http", "jobs", "inference", "worker", "client"]),
    ("jobs/", &["http", "inference", "uploads", "worker", "client"]),
    ("inference/", &["http", "worker", "client"]),
    ("http/", &["worker", "client"]),
    (
        "client/",
        &["http", "store", "blobs", "jobs", "inference", "worker"],
    ),
];

/// Lines of code (no comments) of all sources below `src`, with their path from there.
fn lines() -> Vec<(String, String)> {
    let root = root();
    let mut lines = Vec::new();
    for path in rust_files(&root) {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.starts_with("//"));
        lines.extend(code.map(|line| (name.clone(), line.to_owned())));
    }
    assert!(lines.len() > 1000, "the sources are not where this test looks");
    lines
}

/// Whether a line names this crate or module: as the beginning of a path, not as part of another word.
fn names(line: &str, module: &str) -> bool {
    let needle = format!("{module}::");
    line.match_indices(&needle)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[track_caller]
fn only_within(module: &str, places: &[&str]) {
    let strays: Vec<_> = lines()
        .into_iter()
        .filter(|(file, line)| names(line, module) && !places.iter().any(|place| file.starts_with(place)))
        .collect();
    assert!(
        strays.is_empty(),
        "{module} is used outside {places:?}: {strays:#?}"
    );
}

#[test]
fn each_library_stays_behind_its_module() {
    only_within("sqlx", &["store/"]);
    only_within("axum", &["http/"]);
    only_within("hyper", &["http/"]);
    only_within("tch", &["worker/", "bin/finetuned-worker.rs"]);
    only_within("image", &["worker/"]);
    // What the server writes, its tests read back.
    only_within("zip", &["worker/", "http/responses/zip_stream.rs"]);
    only_within("safetensors", &["worker/"]);
    only_within("prost", &["worker/"]);
    only_within("crc", &["http/responses/event_file.rs"]);
    only_within("hmac", &["jobs/sinks/signing.rs"]);
    for module in ["nvml_wrapper", "sysinfo"] {
        only_within(module, &["http/metrics/devices.rs"]);
    }
    for module in ["opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp"] {
        only_within(module, &["process/traces/"]);
    }
    only_within("landlock", &["process/sandbox/"]);
    only_within("seccompiler", &["process/sandbox/"]);
    only_within("clap", &["config/", "limits.rs", "client/", "bin/"]);
}

/// Everything else is safe Rust, which cannot corrupt memory.
const UNSAFE: &[&str] = &[
    // Calls of the C library and of the kernel.
    "bin/finetuned/allocator.rs",
    "bin/finetuned-worker/allocator.rs",
    "http/connections/registry.rs",
    "http/connections/sockets.rs",
    "process/mod.rs",
    "process/sandbox/support.rs",
    // Libraries opened at run time, and an environment that they read.
    "worker/device.rs",
    "worker/device/driver.rs",
    // Files mapped into memory.
    "worker/files/mapped.rs",
    "worker/files/rows.rs",
    "worker/thumbnails.rs",
    "worker/train/input/pack.rs",
    "worker/train/input/pack_file.rs",
    // The memory of tensors.
    "worker/export/onnx/graph.rs",
    "worker/export/onnx/tests.rs",
    "worker/export/torchscript/mod.rs",
    "worker/files/state.rs",
    "worker/weights/torch_file/mod.rs",
    // What our C++ takes and gives.
    "worker/nets/foreign.rs",
    "worker/nets/fused.rs",
    "worker/device/settings.rs",
    "worker/train/optimizer/together.rs",
    // Threads that write to different places of one tensor.
    "worker/nets/winograd/",
    // SQLite on a disk that fails, in tests.
    "store/faulty_disk.rs",
];

#[test]
fn unsafe_code_stands_in_listed_files() {
    let is_unsafe = |line: &str| {
        line.split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "unsafe")
    };
    let of_code: Vec<_> = lines().into_iter().filter(|(_, line)| is_unsafe(line)).collect();
    let strays: Vec<_> = of_code
        .iter()
        .filter(|(file, _)| !UNSAFE.iter().any(|listed| file.starts_with(listed)))
        .collect();
    assert!(
        strays.is_empty(),
        "list these files, with the reason: {strays:#?}"
    );
    for listed in UNSAFE {
        let found = of_code.iter().any(|(file, _)| file.starts_with(listed));
        assert!(found, "{listed} has no unsafe code any more");
    }
}

/// The worker is compiled into its own program, which brings in what its modules may name.
#[test]
fn the_worker_knows_only_the_protocol_and_the_domain() {
    let allowed = [
        "worker",
        "protocol",
        "domain",
        "files",
        "limits",
        "process::sandbox",
    ];
    for (file, line) in lines()
        .into_iter()
        .filter(|(file, _)| file.starts_with("worker/"))
    {
        assert!(
            !names(&line, "finetuned"),
            "{file} goes around its program: {line}"
        );
    }
    let root = root();
    let program = fs::read_to_string(root.join("bin/finetuned-worker.rs")).unwrap();
    let brought: Vec<_> = program
        .lines()
        .filter_map(|line| line.strip_prefix("use finetuned::"))
        .flat_map(|names| names.trim_matches(['{', '}', ';']).split(", "))
        .map(|name| name.trim_matches(['{', '}', ';']))
        .collect();
    assert!(brought.contains(&"protocol"), "{brought:?}");
    let strays: Vec<_> = brought.iter().filter(|name| !allowed.contains(name)).collect();
    assert!(strays.is_empty(), "the worker is given {strays:?}");
    let library = fs::read_to_string(root.join("lib.rs")).unwrap();
    assert!(!library.contains("mod worker"), "torch would get into the server");
}

#[test]
fn dependencies_run_in_one_direction() {
    for (file, line) in lines() {
        for (layer, forbidden) in ABOVE {
            let upward = forbidden
                .iter()
                .find(|module| file.starts_with(layer) && names(&line, &format!("crate::{module}")));
            assert!(upward.is_none(), "{file} knows {upward:?}: {line}");
        }
    }
}
