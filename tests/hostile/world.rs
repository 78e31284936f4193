//! What a hostile child finds: files, sockets and processes that it would like to have.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const CONTENTS: &str = "keys of everybody";

/// What the child is told; a real one would guess it.
#[derive(Serialize, Deserialize)]
pub struct World {
    /// The folder that it may write to.
    pub own: PathBuf,
    /// The file that it may read.
    pub input: PathBuf,
    pub database: PathBuf,
    /// A file beside its input.
    pub blob: PathBuf,
    /// The server's folder.
    pub data: PathBuf,
    /// The server's process.
    pub server: i32,
    /// A process that it may hurt.
    pub victim: i32,
    pub tcp: u16,
    pub udp: u16,
    pub unix: PathBuf,
    /// Name of an abstract socket.
    pub abstract_name: String,
}

impl World {
    pub fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap()
    }

    pub fn written(&self) -> String {
        serde_json::to_string(self).unwrap()
    }
}

/// The world of one act, and what keeps it alive.
pub struct Stage {
    pub world: World,
    victim: Child,
    _folder: TempDir,
    _sockets: (TcpListener, UdpSocket, UnixListener, UnixListener),
}

impl Stage {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Without symbolic links, as a server's data directory is.
        let data = folder.path().canonicalize().unwrap();
        let own = data.join("runs");
        let blobs = data.join("blobs");
        for each in [&own, &blobs] {
            fs::create_dir(each).unwrap();
        }
        let file = |path: PathBuf| {
            fs::write(&path, CONTENTS).unwrap();
            path
        };
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let unix = data.join("socket");
        let abstract_name = format!("finetuned-hostile-{}", tcp.local_addr().unwrap().port());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let sockets = (
            UnixListener::bind(&unix).unwrap(),
            UnixListener::bind_addr(&address).unwrap(),
        );
        let mut victim = Command::new(env::current_exe().unwrap())
            .arg("victim")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut here = String::new();
        BufReader::new(victim.stdout.take().unwrap())
            .read_line(&mut here)
            .unwrap();
        Self {
            world: World {
                input: file(blobs.join("input")),
                blob: file(blobs.join("other")),
                database: file(data.join("finetuned.db")),
                own,
                data,
                server: std::process::id() as i32,
                victim: victim.id() as i32,
                tcp: tcp.local_addr().unwrap().port(),
                udp: udp.local_addr().unwrap().port(),
                unix,
                abstract_name,
            },
            victim,
            _folder: folder,
            _sockets: (tcp, udp, sockets.0, sockets.1),
        }
    }

    /// Ends it.
    pub fn strike(mut self) {
        self.victim.kill().unwrap();
        self.victim.wait().unwrap();
    }
}
