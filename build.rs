//! Gives `finetuned-worker` (and the tests) the run path of the libtorch that it is linked with, so that it starts without any
//! environment variable. `finetuned` calls no torch symbol, so the linker leaves libtorch out of it. Fetches nothing: that is
//! what `scripts/libtorch` is for.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else {
        return;
    };
    // The folder and not a file in it: for a folder cargo looks at the link's own time too, and so notices that it leads
    // elsewhere now, however old the files there are.
    println!("cargo::rerun-if-changed={}", libtorch.display());
    match fs::canonicalize(libtorch.join("lib")) {
        Ok(lib) => println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display()),
        Err(_) => println!(
            "cargo::error=there is no libtorch in {}: run `make libtorch`, or set LIBTORCH to a libtorch 2.11.0",
            libtorch.display()
        ),
    }
}
