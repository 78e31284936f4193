//! A worker that is running: what it says, line by line or frame by frame, and how it ends. Every wait has a bound; a worker that is
//! dropped is killed.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use finetuned::protocol::frames;

use crate::confined;

/// Longest wait for anything; far more than any of it takes, so that a loaded machine fails no test.
const PATIENCE: Duration = Duration::from_secs(240);

pub struct Worker<T> {
    process: Child,
    is_confined: bool,
    stdin: Option<ChildStdin>,
    said: Receiver<T>,
    errors: Option<JoinHandle<String>>,
}

impl Worker<String> {
    /// A worker that speaks lines.
    pub fn with_lines(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::start(arguments, |stdout, said| {
            for line in BufReader::new(stdout).lines() {
                said(line.unwrap());
            }
        })
    }
}

impl Worker<serde_json::Value> {
    /// A worker that speaks frames; their headers are what it says.
    pub fn with_frames(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::start(arguments, |mut stdout, said| {
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
    fn start(
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        listen: impl FnOnce(ChildStdout, &dyn Fn(T)) + Send + 'static,
    ) -> Self {
        let arguments: Vec<OsString> = arguments
            .into_iter()
            .map(|each| each.as_ref().to_owned())
            .collect();
        let mut process = Command::new(env!("CARGO_BIN_EXE_finetuned-worker"))
            .args(&arguments)
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
            // Listing devices reads nobody's files.
            is_confined: arguments[0] != "devices",
            said,
            errors: Some(errors),
        }
    }

    /// One that ends before it knows its task.
    pub fn without_task(mut self) -> Self {
        self.is_confined = false;
        self
    }

    /// What it says next; none once it has closed its stdout.
    pub fn next(&self) -> Option<T> {
        match self.said.recv_timeout(PATIENCE) {
            Ok(message) => Some(message),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the worker says nothing"),
        }
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
        if self.is_confined {
            confined::check(self.process.id());
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
