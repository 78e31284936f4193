//! The program itself, in a process of its own.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
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

    /// A server with this in its environment.
    pub fn with_variable(name: &str, value: impl AsRef<std::ffi::OsStr>, data_dir: &Path) -> Self {
        Self::with_variables([(name, value)], data_dir)
    }

    /// A server with all of this in its environment.
    pub fn with_variables<'n, V: AsRef<std::ffi::OsStr>>(
        variables: impl IntoIterator<Item = (&'n str, V)>,
        data_dir: &Path,
    ) -> Self {
        let mut server = Command::new(env!("CARGO_BIN_EXE_finetuned"));
        server.envs(variables);
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

    /// A server whose data directory is a disk of its own, so many bytes large, that only it and [`Program::sees`] reach.
    pub fn on_a_disk_of(bytes: u64, data_dir: &Path) -> Self {
        let mut unshare = Command::new("unshare");
        // Mounting takes a privilege: root has it, anybody else in a namespace of users of their own.
        if !rustix::process::geteuid().is_root() {
            unshare.args(["--user", "--map-root-user"]);
        }
        unshare.args([
            "--mount",
            "sh",
            "-c",
            r#"mount -t tmpfs -o size="$1",mode=700 disk "$2" && shift 2 && exec "$@""#,
            "sh",
            &bytes.to_string(),
        ]);
        unshare.arg(data_dir).arg(env!("CARGO_BIN_EXE_finetuned"));
        unshare.env("FINETUNED_BALLAST_BYTES", (4 << 20).to_string());
        Self::run(unshare, data_dir)
    }

    /// A path as this server sees it.
    pub fn sees(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(path.strip_prefix("/").unwrap())
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

    /// Heaps that glibc's malloc has besides the first one: 64 MiB each, aligned to that, of which little is in use.
    pub fn further_heaps(&self) -> usize {
        const HEAP: usize = 64 << 20;
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.child.id())).unwrap();
        let starts = maps.lines().filter(|line| {
            let mut fields = line.split_whitespace();
            let start = fields.next().and_then(|range| range.split('-').next());
            let start = start.and_then(|start| usize::from_str_radix(start, 16).ok());
            let anonymous = fields.next() == Some("rw-p") && fields.count() == 3;
            anonymous && start.is_some_and(|start| start % HEAP == 0)
        });
        starts.count()
    }

    /// Of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
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
