//! A way out through a SOCKS5 proxy (RFC 1928), such as Tor's. No names are looked up on this side.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::host::HostPort;

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const BY_NAME: u8 = 3;

/// Connects to a peer or server by way of the proxy. Not bounded in time: the caller does that.
pub async fn connect(proxy: SocketAddr, to: &HostPort) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.write_all(&[VERSION, 1, NO_AUTHENTICATION]).await?;
    let mut chosen = [0u8; 2];
    stream.read_exact(&mut chosen).await?;
    if chosen != [VERSION, NO_AUTHENTICATION] {
        return Err(refused("it wants a password, or is no SOCKS5 proxy"));
    }
    let name = to.host().as_bytes();
    let length = u8::try_from(name.len()).map_err(|_| refused("the name is too long"))?;
    // Also an address goes as a name: every proxy understands it, and it saves a second form.
    let mut request = vec![VERSION, CONNECT, 0, BY_NAME, length];
    request.extend_from_slice(name);
    request.extend_from_slice(&to.port().to_be_bytes());
    stream.write_all(&request).await?;
    let mut head = [0u8; 4];
    stream.read_exact(&mut head).await?;
    if head[0] != VERSION || head[1] != 0 {
        return Err(refused(&format!("code {}", head[1])));
    }
    // Where the proxy connected from, which nobody needs.
    let rest = match head[3] {
        1 => 4,
        4 => 16,
        BY_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(refused("an address of no known kind")),
    };
    let mut ignored = vec![0u8; rest + 2];
    stream.read_exact(&mut ignored).await?;
    Ok(stream)
}

fn refused(why: &str) -> std::io::Error {
    std::io::Error::other(format!("SOCKS5 proxy: {why}"))
}
