//! Gives `finetuned-worker` (and the tests) the run path of the libtorch that it is linked with, so that it starts without any
//! environment variable, and compiles the files of C++ in it. `finetuned` calls no torch symbol, so the linker leaves libtorch out of
//! it. Fetches nothing: that is what `scripts/libtorch` is for. Without the feature `worker` there is nothing to do.

#[cfg(not(feature = "worker"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(feature = "worker")]
fn main() {
    worker::link();
}

#[cfg(feature = "worker")]
mod worker {
    use std::{
        env, fs,
        path::{Path, PathBuf},
    };

    pub fn link() {
        println!("cargo::rerun-if-changed=build.rs");
        println!("cargo::rerun-if-env-changed=LIBTORCH");
        // Without it torch-sys takes the system's own, too.
        let libtorch = env::var_os("LIBTORCH").map_or_else(|| PathBuf::from("/usr"), PathBuf::from);
        // The folder and not a file in it: for a folder cargo looks at the link's own time too, and so notices that it leads
        // elsewhere now, however old the files there are.
        println!("cargo::rerun-if-changed={}", libtorch.display());
        match fs::canonicalize(libtorch.join("lib")) {
            Ok(lib) => {
                println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
                compile_function(&libtorch.join("include"));
            }
            Err(_) => println!(
                "cargo::error=there is no libtorch in {}: run `make libtorch`, or set LIBTORCH to a libtorch 2.11.0",
                libtorch.display()
            ),
        }
    }

    /// What tch cannot do: a function with gradients of its own, operators of oneDNN by name, settings for cards, and steps of many parameters.
    fn compile_function(headers: &Path) {
        const SOURCES: [&str; 4] = [
            "src/worker/nets/winograd/function.cpp",
            "src/worker/nets/fused.cpp",
            "src/worker/device/settings.cpp",
            "src/worker/train/optimizer/together.cpp",
        ];
        for source in SOURCES {
            println!("cargo::rerun-if-changed={source}");
        }
        cc::Build::new()
            .cpp(true)
            .std("c++17")
            // Line tables of libtorch's headers would be 7 MB.
            .debug(false)
            // Their warnings are not ours.
            .flag("-isystem")
            .flag(headers)
            .files(SOURCES)
            .compile("finetuned-function");
    }
}
