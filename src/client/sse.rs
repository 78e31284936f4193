//! Reads `text/event-stream` (WHATWG HTML, section 9.2) from chunks of any size.
//!
//! Used by `watch` only. It never waits and never fails: what is no event is skipped, what is larger than the bound is dropped.

/// Longest line or event that is kept; a server's events are a thousand times smaller.
const MAX_BYTES: usize = 1 << 20;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The last `id:` seen, in this event or before it; empty where there was none.
    pub id: String,
    /// `message` where the stream does not name it.
    pub event: String,
    /// The `data:` lines, joined by line feeds.
    pub data: String,
}

/// The state between two chunks.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    begun: bool,
    id: String,
    event: String,
    data: Option<String>,
    /// What the server last asked for with `retry:`, in milliseconds.
    pub retry_milliseconds: Option<u64>,
}

impl Parser {
    /// Takes the next bytes; gives the events that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for &byte in bytes {
            let second_half = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                _ if second_half => {}
                b'\r' | b'\n' => messages.extend(self.end_of_line()),
                _ if self.line.len() < MAX_BYTES => self.line.push(byte),
                _ => {}
            }
        }
        messages
    }

    fn end_of_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let first = !std::mem::replace(&mut self.begun, true);
        let text = if first {
            text.trim_start_matches('\u{feff}')
        } else {
            &text
        };
        if text.is_empty() {
            return self.dispatch();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => self.add_data(value),
            "id" if !value.contains('\0') => value.clone_into(&mut self.id),
            "retry" => self.retry_milliseconds = value.parse().ok().or(self.retry_milliseconds),
            // A comment has an empty name; others are of a later version.
            _ => {}
        }
        None
    }

    fn add_data(&mut self, value: &str) {
        match &mut self.data {
            None => self.data = Some(value.to_owned()),
            Some(data) if data.len() + value.len() < MAX_BYTES => {
                data.push('\n');
                data.push_str(value);
            }
            Some(_) => {}
        }
    }

    fn dispatch(&mut self) -> Option<Message> {
        let event = std::mem::take(&mut self.event);
        let data = self.data.take()?;
        Some(Message {
            id: self.id.clone(),
            event: if event.is_empty() {
                "message".to_owned()
            } else {
                event
            },
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(id: &str, event: &str, data: &str) -> Message {
        Message {
            id: id.into(),
            event: event.into(),
            data: data.into(),
        }
    }

    fn parse(text: &str) -> Vec<Message> {
        Parser::default().push(text.as_bytes())
    }

    #[test]
    fn events_carry_their_id_name_and_data() {
        let text = "retry: 3000\n\nid: 1\nevent: step\ndata: {\"a\":1}\n\nid: 2\nevent: end\ndata: {}\n\n";
        assert_eq!(
            parse(text),
            [message("1", "step", "{\"a\":1}"), message("2", "end", "{}")]
        );
    }

    #[test]
    fn comments_and_unknown_fields_are_skipped() {
        assert_eq!(
            parse(": keep-alive\n\n:\nfuture: x\ndata\ndata: b\n\n"),
            [message("", "message", "\nb")]
        );
    }

    #[test]
    fn data_of_several_lines_is_joined() {
        assert_eq!(
            parse("data: a\ndata:b\ndata:  c\n\n"),
            [message("", "message", "a\nb\n c")]
        );
    }

    #[test]
    fn an_id_holds_until_the_next_one() {
        assert_eq!(
            parse("id: 7\ndata: a\n\ndata: b\n\nid\ndata: c\n\n"),
            [
                message("7", "message", "a"),
                message("7", "message", "b"),
                message("", "message", "c")
            ]
        );
    }

    #[test]
    fn an_event_without_data_or_without_its_empty_line_is_none() {
        assert_eq!(parse("event: step\nid: 3\n\ndata: cut off\n"), []);
    }

    #[test]
    fn the_wish_for_a_pause_is_kept() {
        let mut parser = Parser::default();
        parser.push(b"retry: 250\nretry: soon\n\n");
        assert_eq!(parser.retry_milliseconds, Some(250));
    }

    #[test]
    fn an_endless_line_does_not_fill_the_memory() {
        let mut parser = Parser::default();
        for _ in 0..40 {
            parser.push(&[b'x'; 100_000]);
        }
        assert!(parser.line.len() <= MAX_BYTES);
        assert_eq!(parser.push(b"\ndata: on\n\n"), [message("", "message", "on")]);
    }

    proptest! {
        #[test]
        fn chunks_and_line_ends_change_nothing(cuts in prop::collection::vec(0_usize..200, 0..8), end in prop::sample::select(vec!["\n", "\r\n", "\r"])) {
            let text = "\u{feff}: hi\n\nid: 1\nevent: log\ndata: naïve 日本\ndata: two\n\nid: 2\ndata: x\n\n".replace('\n', end);
            let bytes = text.as_bytes();
            let mut places: Vec<_> = cuts.into_iter().map(|cut| cut % bytes.len()).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let mut parser = Parser::default();
            let found: Vec<_> = places.windows(2).flat_map(|pair| parser.push(&bytes[pair[0]..pair[1]])).collect();
            prop_assert_eq!(found, vec![message("1", "log", "naïve 日本\ntwo"), message("2", "message", "x")]);
        }
    }
}
