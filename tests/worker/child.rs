//! A worker that is running: what it says, line by line or frame by frame, and how it ends. Every wait has a bound; a worker that is
//! dropped is killed.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use finetuned::protocol::frames;

/// Longest wait for anything; far more than any of it takes, so that a loaded machine fails no test.
const PATIENCE: Duration = Duration::from_secs(240);

pub struct Worker<T> {
    process: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<T>,
    errors: Option<JoinHandle<String>>,
}

impl Worker<String> {
    /// A worker that speaks lines.
    pub fn with_lines(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::speaking_lines(worker(arguments))
    }

    /// A worker that speaks lines and gets no more than this much address space: allocations beyond it fail, as on a device that is full.
    pub fn with_lines_within(bytes: u64, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new("/bin/sh");
        let script = format!("ulimit -v {}; exec \"$@\"", bytes / 1024);
        let program = env!("CARGO_BIN_EXE_finetuned-worker");
        command.args(["-c", &script, "sh", program]).args(arguments);
        Self::speaking_lines(command)
    }

    fn speaking_lines(command: Command) -> Self {
        Self::start(command, |stdout, said| {
            for line in BufReader::new(stdout).lines() {
                said(line.unwrap());
            }
        })
    }
}

fn worker(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finetuned-worker"));
    command.args(arguments);
    command
}

impl Worker<serde_json::Value> {
    /// A worker that speaks frames; their headers are what it says.
    pub fn with_frames(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::start(worker(arguments), |mut stdout, said| {
            let mut prefix = [0; frames::PREFIX];
            while stdout.read_exact(&mut prefix).is_ok() {
                let (header, body) = frames::lengths(prefix).unwrap();
                assert_eq!(body, 0);
                let mut bytes = vec![0; header];
                stdout.read_exact(&mut bytes).unwrap();
                said(serde_json::from_slice(&bytes).unwrap());
            }
        })
    }
}

impl<T: Send + 'static> Worker<T> {
    fn start(mut command: Command, listen: impl FnOnce(ChildStdout, &dyn Fn(T)) + Send + 'static) -> Self {
        let mut process = command
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, said) = mpsc::channel();
        let stdout = process.stdout.take().unwrap();
        thread::spawn(move || {
            listen(stdout, &|message| {
                let _ = sender.send(message);
            })
        });
        let mut stderr = process.stderr.take().unwrap();
        let errors = thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self {
            stdin: process.stdin.take(),
            process,
            said,
            errors: Some(errors),
        }
    }

    /// What it says next; none once it has closed its stdout.
    pub fn next(&self) -> Option<T> {
        match self.said.recv_timeout(PATIENCE) {
            Ok(message) => Some(message),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the worker says nothing"),
        }
    }

    /// The most address space that it has had so far.
    pub fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmPeak:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Everything that it still says, how it ended and what it wrote to stderr. Its stdin stays as it is until then.
    pub fn end(mut self) -> (Vec<T>, ExitStatus, String) {
        let mut rest = Vec::new();
        while let Some(message) = self.next() {
            rest.push(message);
        }
        let status = self.process.wait().unwrap();
        let errors = self.errors.take().unwrap().join().unwrap();
        (rest, status, errors)
    }
}

impl<T> Drop for Worker<T> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
