//! A few questions to an Electrum server, one after the other, for the devnet itself.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::Error;

pub(super) struct Talk {
    stream: BufReader<TcpStream>,
    asked: u64,
}

impl Talk {
    /// Connects, and waits for the first answer: the port is open before the server is ready.
    pub(super) async fn to(at: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(at)
            .await
            .map_err(Error::io("connecting to electrs"))?;
        let mut talk = Self {
            stream: BufReader::new(stream),
            asked: 0,
        };
        talk.ask("server.version", &json!(["pilotlight-devnet", "1.4"]))
            .await?;
        Ok(talk)
    }

    pub(super) async fn ask(&mut self, method: &str, params: &Value) -> Result<Value, Error> {
        self.asked += 1;
        let question = json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params});
        let line = format!("{question}\n");
        let written = self.stream.get_mut().write_all(line.as_bytes()).await;
        written.map_err(Error::io("asking electrs"))?;
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).await;
            if read.map_err(Error::io("hearing electrs"))? == 0 {
                return Err(Error::Electrs("it hung up".into()));
            }
            let said: Value = serde_json::from_str(&line)
                .map_err(|e| Error::Electrs(format!("it says what cannot be read: {e}")))?;
            if said["id"] != json!(self.asked) {
                // News of a block.
                continue;
            }
            if !said["error"].is_null() {
                return Err(Error::Electrs(format!("{method}: {}", said["error"])));
            }
            return Ok(said["result"].clone());
        }
    }
}
