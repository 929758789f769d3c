//! Lies, and other bad manners, in the HTTP itself and in what every answer is made of.

use std::time::Duration;

use pilotlight_node::Depth::{Deep, Quick};
use pilotlight_node::ErrorCode::{ChainSyncFailed, NetworkUnavailable, RateLimited, SyncTimeout};

use super::{CAUGHT, Lie, Must};
use crate::middle::{Answer, Said, Tell};
use crate::world::Moment::{Early, Late};

const EVERYTHING: &str = "everything";

const fn row(name: &'static str, must: Must, tell: Tell) -> Lie {
    Lie {
        name,
        of: EVERYTHING,
        at: (Early, Quick),
        must,
        tell,
    }
}

fn always(body: impl Into<Vec<u8>>) -> Said {
    Answer::new(200, body).into()
}

#[allow(clippy::too_many_lines)] // A table.
pub fn lies() -> Vec<Lie> {
    vec![
        row("an answer that never ends, in chunks", CAUGHT, |_, _| {
            let piece = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
            Said::Endless {
                head: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
                piece,
                pause: Duration::ZERO,
            }
        }),
        row(
            "an answer that never ends, of no stated length",
            CAUGHT,
            |_, _| Said::Endless {
                head: b"HTTP/1.1 200 OK\r\n\r\n[".to_vec(),
                piece: vec![b' '; 0x10000],
                pause: Duration::ZERO,
            },
        ),
        row("an answer of a gigabyte", CAUGHT, |_, _| Said::Endless {
            head: b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n[".to_vec(),
            piece: vec![b' '; 0x10000],
            pause: Duration::ZERO,
        }),
        row(
            "an answer of more bytes than there are numbers",
            Must::FailOneOf(&[NetworkUnavailable, ChainSyncFailed]),
            |_, _| {
                Said::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n[]".to_vec())
            },
        ),
        row(
            "an answer of a negative length",
            Must::Fail(NetworkUnavailable),
            |_, _| Said::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n[]".to_vec()),
        ),
        row(
            "a chunk of more bytes than there are numbers",
            Must::Fail(NetworkUnavailable),
            |_, _| {
                Said::Bytes(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n[]\r\n0\r\n\r\n".to_vec(),
            )
            },
        ),
        row(
            "headers that never end",
            Must::FailOneOf(&[NetworkUnavailable, ChainSyncFailed]),
            |_, _| Said::Endless {
                head: b"HTTP/1.1 200 OK\r\n".to_vec(),
                piece: b"x-more: and more and more and more and more\r\n".repeat(100),
                pause: Duration::ZERO,
            },
        ),
        row("a bomb of zeros, packed", CAUGHT, |_, _| {
            // Made once: packing takes longer than telling.
            static PACKED: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let packed = PACKED.get_or_init(|| {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                std::io::Write::write_all(&mut packed, &vec![b' '; 20_000_000]).unwrap();
                packed.finish().unwrap()
            });
            Answer::new(200, packed.clone())
                .with("content-encoding", "gzip")
                .into()
        }),
        row("a byte a second", Must::Fail(SyncTimeout), |_, _| Said::Endless {
            head: b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            piece: b" ".to_vec(),
            pause: Duration::from_secs(1),
        }),
        row(
            "a byte a second of the headers",
            Must::Fail(SyncTimeout),
            |_, _| Said::Endless {
                head: b"HTTP/1.1 200 OK\r\nx: ".to_vec(),
                piece: b"y".to_vec(),
                pause: Duration::from_secs(1),
            },
        ),
        row("no answer", Must::Fail(SyncTimeout), |_, _| Said::Silence),
        Lie {
            name: "no answer any more, after some",
            of: EVERYTHING,
            at: (Late, Deep),
            must: Must::Fail(SyncTimeout),
            tell: |asked, truth| {
                if asked.count > 7 {
                    return Said::Silence;
                }
                truth.into()
            },
        },
        row(
            "the end in the middle of an answer",
            Must::Fail(NetworkUnavailable),
            |_, truth| {
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    truth.body.len() + 1
                );
                Said::Bytes([head.as_bytes(), &truth.body].concat())
            },
        ),
        row(
            "the end before an answer",
            Must::Fail(NetworkUnavailable),
            |_, _| Said::Bytes(Vec::new()),
        ),
        row("the way to another server", CAUGHT, |asked, _| {
            let elsewhere = format!("http://127.0.0.1:1{}", asked.path);
            Answer::new(302, "").with("location", &elsewhere).into()
        }),
        row("the way back to itself, for ever", CAUGHT, |asked, _| {
            Answer::new(301, "").with("location", asked.path).into()
        }),
        row("a page for people", CAUGHT, |_, _| {
            always("<!doctype html><html><title>Log in to the hotel's network</title></html>")
        }),
        row("nothing there", CAUGHT, |_, _| {
            Answer::new(404, "Not Found").into()
        }),
        row("too many questions", Must::Fail(RateLimited), |_, _| {
            Answer::new(429, "slow down").with("retry-after", "1").into()
        }),
        row(
            "too many questions, for a thousand years",
            Must::Fail(RateLimited),
            |_, _| {
                Answer::new(429, "slow down")
                    .with("retry-after", "99999999999999999999")
                    .into()
            },
        ),
        row("down for a while", Must::Fail(RateLimited), |_, _| {
            Answer::new(503, "")
                .with("retry-after", "Wed, 21 Oct 2099 07:28:00 GMT")
                .into()
        }),
        row("down", Must::Fail(NetworkUnavailable), |_, _| {
            Answer::new(503, "").into()
        }),
        row("broken", Must::Fail(NetworkUnavailable), |_, _| {
            Answer::new(500, "x".repeat(100_000)).into()
        }),
        row("forbidden", CAUGHT, |_, _| {
            Answer::new(403, "\u{1b}[2J\r\nno").into()
        }),
        row("a success without content", CAUGHT, |_, _| {
            Answer::new(204, "").into()
        }),
        row("a part of an answer", CAUGHT, |_, truth| {
            Answer { status: 206, ..truth }.into()
        }),
        row("another protocol", Must::Fail(NetworkUnavailable), |_, _| {
            Said::Bytes(b"SSH-2.0-OpenSSH_9.7\r\n".to_vec())
        }),
        row(
            "a status that is none",
            Must::FailOneOf(&[NetworkUnavailable, ChainSyncFailed]),
            |_, _| Said::Bytes(b"HTTP/1.1 20000 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
        ),
        row("noise", Must::Fail(NetworkUnavailable), |_, _| {
            Said::Bytes((0..=255u8).cycle().take(10_000).collect())
        }),
        row("empty answers", CAUGHT, |_, _| always("")),
        row("lists in lists in lists", CAUGHT, |_, _| {
            always("[".repeat(200_000))
        }),
        row("things in things in things", CAUGHT, |_, _| {
            always(format!("[{}", r#"{"status":"#.repeat(20_000)))
        }),
        row("numbers beyond their range", CAUGHT, |_, truth| {
            let text = truth.text();
            let words = text.split_inclusive(|c: char| !c.is_ascii_digit());
            always(
                words
                    .map(|word| word.replacen(|c: char| c.is_ascii_digit(), "99999999999", 1))
                    .collect::<String>(),
            )
        }),
        row("bytes that are no text", CAUGHT, |_, mut truth| {
            truth.body.iter_mut().step_by(3).for_each(|byte| *byte |= 0x80);
            always(truth.body)
        }),
        row("null", CAUGHT, |_, _| always("null")),
        row("nulls everywhere", CAUGHT, |_, truth| {
            fn none(value: &mut serde_json::Value) {
                match value {
                    serde_json::Value::Array(items) => items.iter_mut().for_each(none),
                    serde_json::Value::Object(fields) => {
                        fields
                            .values_mut()
                            .for_each(|field| *field = serde_json::Value::Null);
                    }
                    _ => {}
                }
            }
            let mut value = truth.json();
            none(&mut value);
            always(value.to_string())
        }),
        row("words in the place of numbers", CAUGHT, |_, truth| {
            always(truth.text().replace(":1", ":\"1\"").replace(":2", ":\"2\""))
        }),
        row("one thing in the place of many", CAUGHT, |_, truth| {
            let value = truth.json();
            let first = value.as_array().and_then(|items| items.first().cloned());
            always(first.unwrap_or(value).to_string())
        }),
        row("the answer to another question", CAUGHT, |asked, _| {
            always(asked.facts.tip().block_hash().to_string())
        }),
        row("capital letters", Must::Pass, |_, truth| {
            always(truth.text().to_uppercase())
        }),
    ]
}
