//! A shell in a folder of its own, in which one command is typed after another.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

/// How long a command may take.
const COMMAND: Duration = Duration::from_secs(300);
/// What the shell says when a command has ended.
const ENDED: &str = "=== ended with";
/// `finetuned` as it is typed. Where it is to serve, it stops once it says that it listens.
const FINETUNED: &str = r#"#!/bin/sh
case "$1 $2" in
"serve --help") exec "$FINETUNED" "$@" ;;
serve*) ;;
*) exec "$FINETUNED" "$@" ;;
esac
said="$0.said.$$"
mkfifo "$said" || exit 1
"$FINETUNED" "$@" >"$said" &
read -r line <"$said"
rm "$said"
echo "$line"
kill $! 2>/dev/null
wait $! && [ "${line#listening on }" != "$line" ]
"#;
/// A client that takes an error for one, as a person who reads the answer does.
const CURL: &str = "fail-with-body\nsilent\nshow-error\nnoproxy = \"*\"\nmax-time = 240\n";

pub struct Shell {
    pub folder: TempDir,
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    /// A shell whose `finetuned` talks to the server at this address.
    pub fn open(server: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let programs = folder.path().join(".programs");
        fs::create_dir(&programs).unwrap();
        fs::write(programs.join("finetuned"), FINETUNED).unwrap();
        fs::set_permissions(programs.join("finetuned"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(programs.join(".curlrc"), CURL).unwrap();
        let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc", "-o", "pipefail"])
            .current_dir(folder.path())
            .env("PATH", path)
            .env("CURL_HOME", &programs)
            .env("FINETUNED", env!("CARGO_BIN_EXE_finetuned"))
            .env("FINETUNED_SERVER", server)
            // A server that is typed without an address takes none from another test's.
            .env("FINETUNED_LISTEN", "127.0.0.1:0")
            .env("FINETUNED_LISTEN", "127.0.0.1:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()).lines(),
            _child: child,
            folder,
        }
    }

    /// Runs a command to its end, and gives back its exit status and what it printed.
    pub async fn run(&mut self, command: &str) -> (i32, String) {
        let typed = format!("{{ {command}\n}} </dev/null 2>&1; printf '\\n{ENDED} %s\\n' $?\n");
        self.input.write_all(typed.as_bytes()).await.unwrap();
        let mut printed = String::new();
        loop {
            let line = timeout(COMMAND, self.output.next_line()).await;
            let line = line.unwrap_or_else(|_| panic!("`{command}` did not end:\n{printed}"));
            // Of a binary file that is printed only the status is of interest.
            let Ok(line) = line else { continue };
            let line = line.unwrap_or_else(|| panic!("`{command}` ended the shell:\n{printed}"));
            if let Some(status) = line.strip_prefix(ENDED) {
                return (status.trim().parse().unwrap(), printed);
            }
            printed += &line;
            printed.push('\n');
        }
    }
}
