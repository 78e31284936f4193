//! The program itself, in a process of its own.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::Api;

const WORKER: &str = "FINETUNED_WORKER";

/// A server that can be killed.
pub struct Program {
    pub api: Api,
    child: Child,
}

impl Program {
    pub fn start(data_dir: &Path) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_finetuned")), data_dir)
    }

    /// A server with another program in the worker's place.
    pub fn with_worker(worker: &Path, data_dir: &Path) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_finetuned"));
        server.env(WORKER, worker);
        Self::run(server, data_dir)
    }

    /// A server that, as all that it starts, may have so much memory of its own.
    pub fn within(kilobytes: u64, data_dir: &Path) -> Self {
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            r#"ulimit -d "$1" && shift && exec "$@""#,
            "sh",
            &kilobytes.to_string(),
        ]);
        shell.arg(env!("CARGO_BIN_EXE_finetuned"));
        Self::run(shell, data_dir)
    }

    fn run(mut command: Command, data_dir: &Path) -> Self {
        let has_worker = command.get_envs().any(|(name, _)| name == WORKER);
        if !has_worker {
            command.env(WORKER, env!("CARGO_BIN_EXE_finetuned-worker"));
        }
        let mut child = command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--offline",
                "--min-free-bytes",
                "0",
                "--data-dir",
            ])
            .arg(data_dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let base = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("it says {line:?}"));
        Self {
            api: Api::new(base),
            child,
        }
    }

    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}
