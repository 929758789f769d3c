//! A server between the wallet and a real Electrum server: it passes everything on, or changes what comes back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of an answer.
pub enum Said {
    /// This is said instead, or as it was.
    Answer(Value),
    /// These bytes are.
    Raw(Vec<u8>),
    /// Nothing is.
    Silence,
    /// The connection ends.
    HangUp,
}

/// Given the method, the parameters and the whole honest answer.
pub type Lie = dyn Fn(&str, &Value, Value) -> Said + Send + Sync;

/// The server, gone when dropped.
pub struct Liar {
    address: SocketAddr,
    lie: Arc<Mutex<Arc<Lie>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Liar {
    /// One that tells the truth until [`Self::tell`].
    pub async fn before(real: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let truth: Arc<Lie> = Arc::new(|_, _, answer| Said::Answer(answer));
        let lie = Arc::new(Mutex::new(truth));
        let shared = Arc::clone(&lie);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(carry(client, real, Arc::clone(&shared)));
            }
        });
        Self { address, lie, task }
    }

    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// From now on, this is done with answers.
    pub fn tell(&self, lie: Arc<Lie>) {
        *self.lie.lock().unwrap() = lie;
    }

    /// From now on, the truth.
    pub fn be_honest(&self) {
        self.tell(Arc::new(|_, _, answer| Said::Answer(answer)));
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(client: TcpStream, real: SocketAddr, lie: Arc<Mutex<Arc<Lie>>>) {
    let server = TcpStream::connect(real).await.unwrap();
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let asked: Mutex<HashMap<String, (String, Value)>> = Mutex::default();
    let up = async {
        let mut lines = BufReader::new(from_client).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let question: Value = serde_json::from_str(&line).unwrap();
            let method = question["method"].as_str().unwrap().to_owned();
            let place = (method, question["params"].clone());
            asked.lock().unwrap().insert(question["id"].to_string(), place);
            if to_server.write_all(format!("{line}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut lines = BufReader::new(from_server).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let answer: Value = serde_json::from_str(&line).unwrap();
            let question = asked.lock().unwrap().remove(&answer["id"].to_string());
            let said = match question {
                Some((method, params)) => {
                    let lie = Arc::clone(&lie.lock().unwrap());
                    lie(&method, &params, answer)
                }
                None => Said::Answer(answer),
            };
            let bytes = match said {
                Said::Answer(answer) => format!("{answer}\n").into_bytes(),
                Said::Raw(bytes) => bytes,
                Said::Silence => continue,
                Said::HangUp => return,
            };
            if to_client.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
