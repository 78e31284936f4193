//! Gives `finetuned-worker` (and the tests) the run path of the libtorch that it is linked with, so that it starts without any
//! environment variable. `finetuned` calls no torch symbol, so the linker leaves libtorch out of it.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-changed=build.rs");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else {
        return;
    };
    println!("cargo::rerun-if-changed={}", libtorch.display());
    let lib = libtorch.join("lib");
    let lib = fs::canonicalize(&lib).unwrap_or(lib);
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
