//! A hub for tests: a few lines of HTTP/1.1 on a loopback port whose responses the test decides, request by request.
//!
//! Only used by tests. It can do what real servers rarely do on demand: stop in the middle, stall or become slow, and never respond.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// A request as received; names of headers in lower case.
#[derive(Clone, Debug)]
pub struct Request {
    /// From 0, over all connections.
    pub number: usize,
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte requested.
    pub fn range_start(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }
}

/// The test's response.
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Bytes of the body after which the connection is closed.
    pub cut_after: Option<usize>,
    /// Send nothing more, after the body or its truncation, until the client gives up; nothing at all for an empty body.
    pub hang: bool,
    /// After the truncation send a byte now and then, until the client gives up.
    pub drip: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            cut_after: None,
            hang: false,
            drip: false,
        }
    }

    pub fn redirect(to: impl Into<String>) -> Self {
        Self::new(302, "").with("location", to)
    }

    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The file, or the requested range of it.
    pub fn file(request: &Request, whole: &[u8]) -> Self {
        match request.range_start() {
            Some(start) if start < whole.len() => {
                let range = format!("bytes {start}-{}/{}", whole.len() - 1, whole.len());
                Self::new(206, &whole[start..]).with("content-range", range)
            }
            Some(_) => Self::new(416, ""),
            None => Self::new(200, whole),
        }
    }
}

pub struct HubServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl HubServer {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<Request>>>::default();
        let ended = Arc::<AtomicBool>::default();
        let (seen, over, answer) = (requests.clone(), ended.clone(), Arc::new(answer));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, answer) = (seen.clone(), answer.clone());
                // Clients that disconnect in the middle are part of the tests.
                thread::spawn(move || stream.map(|stream| serve(stream, &seen, &*answer)));
            }
        });
        Self {
            address,
            requests,
            ended,
            accepting: Some(accepting),
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(
    mut stream: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &dyn Fn(&Request) -> Reply,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(());
    };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let request = {
        let mut seen = seen.lock().unwrap();
        let number = seen.len();
        let request = Request {
            number,
            path,
            headers,
        };
        seen.push(request.clone());
        request
    };
    let reply = answer(&request);
    if reply.hang && reply.body.is_empty() {
        let _ = stream.read(&mut [0]);
        return Ok(());
    }
    let mut head = format!(
        "HTTP/1.1 {} Reason\r\ncontent-length: {}\r\nconnection: close\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    let end = reply.cut_after.unwrap_or(reply.body.len());
    stream.write_all(&reply.body[..end])?;
    if reply.drip {
        for byte in &reply.body[end..] {
            stream.write_all(&[*byte])?;
            thread::sleep(Duration::from_millis(5));
        }
    }
    if reply.hang {
        let _ = stream.read(&mut [0]);
    }
    Ok(())
}
