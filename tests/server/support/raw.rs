//! A connection on which a test sends what no client would, from an address of its choice.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::Api;

/// How long an answer, or the end of a connection, is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

pub const HERE: &str = "127.0.0.1";
/// Another client, for a server that counts by address.
pub const ELSEWHERE: &str = "127.0.0.2";

pub struct Raw {
    pub stream: TcpStream,
    read: Vec<u8>,
}

/// What came back.
pub struct RawAnswer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Raw {
    pub async fn open(api: &Api) -> Self {
        Self::from(api, HERE).await
    }

    pub async fn from(api: &Api, address: &str) -> Self {
        Self::to(host(api).parse().unwrap(), address).await
    }

    pub async fn to(server: SocketAddr, address: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        let address: IpAddr = address.parse().unwrap();
        socket.bind(SocketAddr::new(address, 0)).unwrap();
        let stream = timeout(PATIENCE, socket.connect(server)).await;
        Self {
            stream: stream.expect("no connection").unwrap(),
            read: Vec::new(),
        }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// A request without a body, whose answer is awaited.
    pub async fn get(&mut self, path: &str) -> RawAnswer {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
            .await;
        self.answer().await
    }

    /// The next answer, which says its length.
    pub async fn answer(&mut self) -> RawAnswer {
        let answer = async {
            loop {
                if let Some(answer) = self.complete_answer() {
                    return answer;
                }
                let count = self.stream.read_buf(&mut self.read).await;
                let so_far = String::from_utf8_lossy(&self.read);
                assert!(
                    count.is_ok_and(|count| count > 0),
                    "the connection ended with {so_far:?}"
                );
            }
        };
        timeout(PATIENCE, answer).await.expect("no answer")
    }

    /// The next answer, if it is here.
    pub fn arrived(&mut self) -> Option<RawAnswer> {
        let _ = self.stream.try_read_buf(&mut self.read);
        self.complete_answer()
    }

    fn complete_answer(&mut self) -> Option<RawAnswer> {
        let end = self.read.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        if self.read.len() < end + length {
            return None;
        }
        let mut answer: Vec<u8> = self.read.drain(..end + length).collect();
        Some(RawAnswer {
            status: head[9..12].parse().unwrap(),
            head,
            body: answer.split_off(end),
        })
    }

    /// Waits until the server has ended the connection; nothing more came on it.
    pub async fn ended(&mut self) {
        let end = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await;
        match end.expect("the connection stays open") {
            Ok(0) => {}
            Ok(_) => panic!("more came: {:?}", String::from_utf8_lossy(&self.read)),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        assert!(self.read.is_empty(), "{:?}", String::from_utf8_lossy(&self.read));
    }

    /// Waits until the server has ended the connection, whatever came before.
    pub async fn closed(&mut self) {
        let rest = self.stream.read_to_end(&mut self.read);
        if let Err(error) = timeout(PATIENCE, rest).await.expect("the connection stays open") {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }

    /// Whether the server has ended it already, whatever came before.
    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.stream.try_read_buf(&mut self.read) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != ErrorKind::WouldBlock,
            }
        }
    }

    /// Whether the server has ended it already.
    pub fn has_ended(&mut self) -> bool {
        match self.stream.try_read_buf(&mut self.read) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }
}

impl RawAnswer {
    /// Expects a problem of this name.
    #[track_caller]
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{}{body}", self.head);
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(
            problem["type"],
            format!("urn:finetuned:problem:{slug}"),
            "{problem:#}"
        );
        problem
    }

    pub fn says(&self, line: &str) -> bool {
        self.head.lines().any(|said| said == line)
    }
}

/// Address and port of a server.
pub fn host(api: &Api) -> &str {
    api.base.split_once("://").unwrap().1
}
