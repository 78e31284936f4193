//! Reads an event stream line by line, as a browser would.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;

/// How long a stream may be silent.
const SILENCE: Duration = Duration::from_secs(120);

/// One event as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    pub id: i64,
    pub kind: String,
    pub data: Value,
}

/// An open stream.
pub struct Stream {
    response: Response,
    text: String,
    pub comments: usize,
    pub retry: Option<u64>,
}

impl Stream {
    pub fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            text: String::new(),
            comments: 0,
            retry: None,
        }
    }

    /// The next event; none at the end of the stream.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(event) = self.read(&block) {
                    return Some(event);
                }
                continue;
            }
            let chunk = timeout(SILENCE, self.response.chunk())
                .await
                .expect("the stream is silent")
                .ok()??;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// Everything up to the end of the stream.
    pub async fn rest(&mut self) -> Vec<Received> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// Reads on until an event of this kind.
    pub async fn until(&mut self, kind: &str) -> Received {
        loop {
            let event = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the stream ended before `{kind}`"));
            if event.kind == kind {
                return event;
            }
        }
    }

    fn read(&mut self, block: &str) -> Option<Received> {
        let field = |name: &str| {
            block
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        self.comments += block.lines().filter(|line| line.starts_with(':')).count();
        self.retry = field("retry").map(|retry| retry.parse().unwrap()).or(self.retry);
        let data = serde_json::from_str(field("data")?).unwrap();
        Some(Received {
            id: field("id").unwrap().parse().unwrap(),
            kind: field("event").unwrap().to_owned(),
            data,
        })
    }
}
