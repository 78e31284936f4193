//! Frames to and from the predict child, each way in a task of its own, so that neither pipe ever waits for the other.

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::protocol::frames::{self, PredictRequest};

/// Replies that are read ahead.
const READ_AHEAD: usize = 64;
/// Largest body of a reply, in bytes: an overlay of the largest image that a network may see, which packs badly.
pub const MAX_REPLY_BODY: usize = 64 << 20;

/// A frame of the child.
pub struct Reply {
    pub header: Vec<u8>,
    pub body: Bytes,
}

/// A frame, or why the child has lost the thread and must go.
pub type Frame = Result<Reply, &'static str>;

/// Begins to write requests. Dropping the sender closes the pipe after the last one, which asks the child to leave; so does an error of
/// the pipe, whose reason the child's end will tell.
pub fn write(mut stdin: impl AsyncWrite + Unpin + Send + 'static) -> mpsc::Sender<(PredictRequest, Bytes)> {
    let (sender, mut requests) = mpsc::channel::<(PredictRequest, Bytes)>(1);
    tokio::spawn(async move {
        while let Some((request, image)) = requests.recv().await {
            let Ok(header) = serde_json::to_vec(&request) else {
                continue;
            };
            let prefix = frames::prefix(header.len() as u32, image.len() as u32);
            let head = [&prefix[..], &header].concat();
            if stdin.write_all(&head).await.is_err()
                || stdin.write_all(&image).await.is_err()
                || stdin.flush().await.is_err()
            {
                return;
            }
        }
    });
    sender
}

/// Begins to read frames. The channel ends with the pipe.
pub fn read(mut stdout: impl AsyncRead + Unpin + Send + 'static) -> mpsc::Receiver<Frame> {
    let (sender, replies) = mpsc::channel(READ_AHEAD);
    tokio::spawn(async move {
        loop {
            let frame = read_frame(&mut stdout).await;
            let last = frame.is_err();
            let Some(frame) = frame.transpose() else { return };
            if sender.send(frame).await.is_err() || last {
                return;
            }
        }
    });
    replies
}

/// The next frame; none at the end of the pipe.
async fn read_frame(stdout: &mut (impl AsyncRead + Unpin)) -> Result<Option<Reply>, &'static str> {
    let mut prefix = [0; frames::PREFIX];
    if stdout.read_exact(&mut prefix).await.is_err() {
        return Ok(None);
    }
    let Some((header, body)) = frames::lengths(prefix).filter(|(_, body)| *body <= MAX_REPLY_BODY) else {
        return Err("a frame begins with impossible lengths");
    };
    let mut bytes = vec![0; header + body];
    if stdout.read_exact(&mut bytes).await.is_err() {
        return Ok(None);
    }
    let body = Bytes::from(bytes.split_off(header));
    Ok(Some(Reply { header: bytes, body }))
}
