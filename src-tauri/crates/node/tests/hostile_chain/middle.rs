//! A man in the middle before the devnet's honest Esplora face: passes everything on, until he is told to lie.
//!
//! Speaks HTTP by hand, because some lies are in the HTTP itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::facts::Facts;

/// A question, as a liar sees it.
pub struct Asked<'a> {
    pub path: &'a str,
    /// Which question of this lie it is, from 1.
    pub count: usize,
    /// What is true.
    pub facts: &'a Facts,
}

impl Asked<'_> {
    /// Whether the path has this form; `*` stands for one segment, `**` at the end for all that follow.
    pub fn is(&self, form: &str) -> bool {
        let (mut form, mut path) = (form.split('/'), self.path.split('/'));
        loop {
            match (form.next(), path.next()) {
                (Some("**"), Some(_)) | (None, None) => return true,
                (Some("*"), Some(_)) => {}
                (Some(wanted), Some(given)) if wanted == given => {}
                _ => return false,
            }
        }
    }

    pub fn segment(&self, at: usize) -> &str {
        self.path.split('/').nth(at + 1).unwrap_or_default()
    }
}

/// An answer in HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = Vec::new();
        Self {
            status,
            headers,
            body: body.into(),
        }
    }

    /// The same under another header.
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What is said to a question.
pub enum Said {
    Answer(Answer),
    /// These bytes in the place of HTTP, and the end of the connection.
    Bytes(Vec<u8>),
    /// A beginning, and the same piece again and again for ever.
    Endless {
        head: Vec<u8>,
        piece: Vec<u8>,
        pause: Duration,
    },
    /// Nothing, on a connection that stays open.
    Silence,
}

impl From<Answer> for Said {
    fn from(answer: Answer) -> Self {
        Self::Answer(answer)
    }
}

/// A lie: the question and the true answer in, what is said out.
pub type Tell = fn(&Asked, Answer) -> Said;

struct State {
    honest: String,
    client: reqwest::Client,
    facts: Arc<OnceLock<Facts>>,
    lie: Mutex<Option<Tell>>,
    count: AtomicUsize,
    lied: AtomicUsize,
}

/// The man. Gone when dropped.
pub struct Middle {
    pub url: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Middle {
    /// Honest for now.
    pub async fn before(honest: String, facts: Arc<OnceLock<Facts>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            honest,
            client: reqwest::Client::new(),
            facts,
            lie: Mutex::default(),
            count: AtomicUsize::new(0),
            lied: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { url, state, task }
    }

    /// Tells this lie from now on; none is the truth.
    pub fn tell(&self, lie: Option<Tell>) {
        *self.state.lie.lock().unwrap() = lie;
        self.state.count.store(0, Ordering::SeqCst);
        self.state.lied.store(0, Ordering::SeqCst);
    }

    /// How many questions were asked since then, and how many of the answers were not the truth.
    pub fn counts(&self) -> (usize, usize) {
        (
            self.state.count.load(Ordering::SeqCst),
            self.state.lied.load(Ordering::SeqCst),
        )
    }
}

impl Drop for Middle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, to its end.
async fn serve(mut stream: TcpStream, state: Arc<State>) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let (method, path, body) = question(&mut stream, &mut buffer).await?;
        let truth = honest(&state, &method, &path, body).await?;
        let lie = *state.lie.lock().unwrap();
        let count = state.count.fetch_add(1, Ordering::SeqCst) + 1;
        let mut said = Said::Answer(truth.clone());
        if let (Some(lie), Some(facts)) = (lie, state.facts.get()) {
            let asked = Asked {
                path: &path,
                count,
                facts,
            };
            said = lie(&asked, truth.clone());
            let told = !matches!(&said, Said::Answer(answer) if answer.body == truth.body
                && answer.status == truth.status);
            state.lied.fetch_add(usize::from(told), Ordering::SeqCst);
        }
        say(&mut stream, said).await?;
    }
}

/// The next question: method, path, body.
async fn question(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String, Vec<u8>)> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    let mut first = head.split_whitespace();
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    while buffer.len() < end + length {
        more(stream, buffer).await?;
    }
    let body = buffer[end..end + length].to_vec();
    buffer.drain(..end + length);
    Some((method, path, body))
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(buffer).await.ok()?;
    (read > 0).then_some(())
}

async fn honest(state: &State, method: &str, path: &str, body: Vec<u8>) -> Option<Answer> {
    let url = format!("{}{path}", state.honest);
    let request = match method {
        "POST" => state.client.post(url).body(body),
        _ => state.client.get(url),
    };
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some(Answer::new(status, response.bytes().await.ok()?))
}

async fn say(stream: &mut TcpStream, said: Said) -> Option<()> {
    match said {
        Said::Answer(answer) => {
            let mut lines = vec![format!("HTTP/1.1 {} Said", answer.status)];
            if !answer.headers.iter().any(|(name, _)| *name == "content-length") {
                lines.push(format!("content-length: {}", answer.body.len()));
            }
            let headers = answer.headers.iter();
            lines.extend(headers.map(|(name, value)| format!("{name}: {value}")));
            let head = lines.join("\r\n");
            let whole = [head.as_bytes(), b"\r\n\r\n", &answer.body].concat();
            stream.write_all(&whole).await.ok()
        }
        Said::Bytes(bytes) => {
            stream.write_all(&bytes).await.ok()?;
            stream.shutdown().await.ok()?;
            None
        }
        Said::Endless { head, piece, pause } => {
            stream.write_all(&head).await.ok()?;
            loop {
                stream.write_all(&piece).await.ok()?;
                tokio::time::sleep(pause).await;
            }
        }
        Said::Silence => {
            let mut nothing = Vec::new();
            while more(stream, &mut nothing).await.is_some() {}
            None
        }
    }
}
