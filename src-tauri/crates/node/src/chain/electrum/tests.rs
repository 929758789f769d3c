//! The line and the client on servers that do what they should not: each ends in a typed error, soon, and nothing piles up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::address::Address;
use super::client::{Client, Reply};
use super::line::Line;
use crate::error::{Error, ErrorCode};

const LIMIT: usize = 100;

/// A line, and the server's end of it.
fn line() -> (Line, BufReader<DuplexStream>) {
    let (ours, theirs) = duplex(1024 * 1024);
    (Line::new(Box::new(ours)), BufReader::new(theirs))
}

async fn question(server: &mut (impl AsyncBufReadExt + Unpin)) -> Value {
    let mut line = String::new();
    server.read_line(&mut line).await.unwrap();
    serde_json::from_str(&line).unwrap_or_default()
}

/// What becomes of a question to which a server says this, and hangs up.
async fn after(said: &[u8]) -> Error {
    let (line, mut server) = line();
    let asked = line.ask("m", json!([]), LIMIT);
    let answers = async {
        question(&mut server).await;
        let _ = server.write_all(said).await;
        drop(server);
    };
    let (asked, ()) = tokio::join!(asked, answers);
    match asked {
        Ok(answer) => panic!("taken for an answer: {:?}", answer.outcome),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_is_no_answer_ends_the_line_with_its_reason() {
    let long = format!("{{\"id\":0,\"result\":\"{}\"}}\n", "a".repeat(100_000));
    let endless = "a".repeat(1024 * 1024);
    let news = "{\"method\":\"blockchain.headers.subscribe\",\"params\":[]}\n".repeat(1_001);
    let deep = format!("{{\"id\":{}\n", "[".repeat(10_000));
    for (said, code) in [
        (&b""[..], ErrorCode::NetworkUnavailable),
        (b"{\"id\":0,\"result\":", ErrorCode::NetworkUnavailable),
        (b"garbage\n", ErrorCode::ChainSyncFailed),
        (b"\xff\xfe\n", ErrorCode::ChainSyncFailed),
        (b"\n", ErrorCode::ChainSyncFailed),
        (b"[]\n", ErrorCode::ChainSyncFailed),
        (b"{}\n", ErrorCode::ChainSyncFailed),
        (b"{\"id\":7,\"result\":1}\n", ErrorCode::ChainSyncFailed),
        (b"{\"id\":-1,\"result\":1}\n", ErrorCode::ChainSyncFailed),
        (b"{\"id\":\"0\",\"result\":1}\n", ErrorCode::ChainSyncFailed),
        (
            b"{\"id\":null,\"error\":{\"code\":-32700,\"message\":\"parse error\"}}\n",
            ErrorCode::ChainSyncFailed,
        ),
        (
            b"{\"id\":null,\"error\":{\"code\":-101,\"message\":\"excessive resource usage\"}}\n",
            ErrorCode::RateLimited,
        ),
        (long.as_bytes(), ErrorCode::ChainSyncFailed),
        (endless.as_bytes(), ErrorCode::ChainSyncFailed),
        (news.as_bytes(), ErrorCode::ChainSyncFailed),
        (deep.as_bytes(), ErrorCode::ChainSyncFailed),
    ] {
        let error = after(said).await;
        let shown = String::from_utf8_lossy(&said[..said.len().min(60)]);
        assert_eq!(error.code(), code, "{shown}: {}", error.detail());
        assert!(error.detail().len() < 400, "{}", error.detail());
    }
}

#[tokio::test]
async fn answers_find_their_questions_in_any_order_among_news() {
    let (line, mut server) = line();
    let asked = futures::future::join_all((0..20).map(|n| line.ask("m", json!([n]), LIMIT)));
    let answers = async {
        let mut questions = Vec::new();
        for _ in 0..20 {
            questions.push(question(&mut server).await);
        }
        questions.reverse();
        for question in questions {
            let news = json!({"method": "blockchain.headers.subscribe", "params": [{}]});
            let answer = json!({"id": question["id"], "result": question["params"][0]});
            server
                .write_all(format!("{news}\n{answer}\n").as_bytes())
                .await
                .unwrap();
        }
    };
    let (asked, ()) = tokio::join!(asked, answers);
    for (n, answer) in asked.into_iter().enumerate() {
        assert_eq!(answer.unwrap().outcome.unwrap().get(), n.to_string());
    }
}

#[tokio::test]
async fn a_dropped_question_harms_nobody_and_its_late_answer_may_be_long() {
    let (line, mut server) = line();
    {
        let dropped = line.ask("large", json!([]), 500_000);
        let heard = question(&mut server);
        tokio::select! {
            biased;
            _ = dropped => panic!("nobody has answered"),
            heard = heard => assert_eq!(heard["method"], "large"),
        }
    }
    let asked = line.ask("small", json!([]), LIMIT);
    let answers = async {
        let second = question(&mut server).await;
        let large = json!({"id": 0, "result": "a".repeat(400_000)});
        let small = json!({"id": second["id"], "result": 1});
        server
            .write_all(format!("{large}\n{small}\n").as_bytes())
            .await
            .unwrap();
    };
    let (asked, ()) = tokio::join!(asked, answers);
    assert_eq!(asked.unwrap().outcome.unwrap().get(), "1");
    assert!(line.stands());
}

#[tokio::test]
async fn a_server_that_owes_too_many_answers_is_left() {
    let (line, _server) = line();
    for _ in 0..1_000 {
        let ask = line.ask("m", json!([]), LIMIT);
        assert!(tokio::time::timeout(Duration::ZERO, ask).await.is_err());
        tokio::task::yield_now().await;
    }
    let error = line.ask("m", json!([]), LIMIT).await.err().unwrap();
    assert_eq!(error.code(), ErrorCode::NetworkUnavailable, "{}", error.detail());
    assert!(!line.stands());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever bytes come, in whatever pieces: an end with a type, never a panic.
    #[test]
    fn bytes_of_any_kind_are_an_error_with_a_type(
        said in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "[\\[\\]{}\":,0-9a-z \n]{0,200}".prop_map(String::into_bytes),
            "\\{\"id\":[0-9]{1,3},\"(result|error|method|x)\":[\"{}\\[\\]0-9a-z:,]{0,40}\\}\n".prop_map(String::into_bytes),
        ]
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (line, mut server) = line();
            let asked = line.ask("m", json!([]), LIMIT);
            let answers = async {
                question(&mut server).await;
                let _ = server.write_all(&said).await;
                drop(server);
            };
            let (asked, ()) = tokio::join!(asked, answers);
            if let Err(error) = asked {
                let code = error.code();
                assert!(
                    [ErrorCode::NetworkUnavailable, ErrorCode::ChainSyncFailed, ErrorCode::RateLimited].contains(&code),
                    "{code:?}"
                );
            }
        });
    }
}

type Behaviour = fn(BufReader<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server whose connections behave one after the other like this, the last ones like the last; with how many there were.
async fn serve(behaviours: Vec<Behaviour>) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let number = counter.fetch_add(1, Ordering::SeqCst);
            let behaviour = behaviours[number.min(behaviours.len() - 1)];
            tokio::spawn(behaviour(BufReader::new(stream)));
        }
    });
    let address = Address::new(&url, None).unwrap();
    (Client::new(&url, address), connections)
}

async fn say(stream: &mut BufReader<TcpStream>, question: &Value, what: Value) -> bool {
    let mut answer = json!({"jsonrpc": "2.0", "id": question["id"]});
    answer
        .as_object_mut()
        .unwrap()
        .extend(what.as_object().unwrap().clone());
    stream
        .get_mut()
        .write_all(format!("{answer}\n").as_bytes())
        .await
        .is_ok()
}

/// Shakes hands and answers everything with 1.
fn honest(mut stream: BufReader<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let first = question(&mut stream).await;
        assert_eq!(first["method"], "server.version", "the first thing said");
        say(&mut stream, &first, json!({"result": ["test", "1.4"]})).await;
        loop {
            let next = question(&mut stream).await;
            if next.is_null() || !say(&mut stream, &next, json!({"result": 1})).await {
                return;
            }
        }
    })
}

/// Shakes hands, and hangs up at the first question.
fn fickle(mut stream: BufReader<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let first = question(&mut stream).await;
        say(&mut stream, &first, json!({"result": ["test", "1.4"]})).await;
        question(&mut stream).await;
    })
}

/// Shakes hands, and is silent then.
fn silent(mut stream: BufReader<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let first = question(&mut stream).await;
        say(&mut stream, &first, json!({"result": ["test", "1.4"]})).await;
        std::future::pending::<()>().await;
    })
}

/// Refuses everything but the handshake with this question's own words and number.
fn refusing(mut stream: BufReader<TcpStream>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        let first = question(&mut stream).await;
        say(&mut stream, &first, json!({"result": ["test", "1.4"]})).await;
        loop {
            let next = question(&mut stream).await;
            if next.is_null() {
                return;
            }
            let error = json!({"code": next["params"][0], "message": next["params"][1]});
            say(&mut stream, &next, json!({ "error": error })).await;
        }
    })
}

async fn ask(client: &Client) -> crate::Result<u64> {
    client.must::<u64>("m", json!([]), LIMIT).await
}

#[tokio::test]
async fn many_questions_share_one_connection_and_one_handshake() {
    let (client, connections) = serve(vec![honest]).await;
    let answers = futures::future::join_all((0..100).map(|_| ask(&client))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == 1));
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    assert_eq!(client.requests(), 101);
}

#[tokio::test]
async fn a_connection_that_was_hung_up_is_made_anew_once() {
    let (client, connections) = serve(vec![fickle, honest]).await;
    assert_eq!(ask(&client).await.unwrap(), 1);
    assert_eq!(connections.load(Ordering::SeqCst), 2);

    let (client, connections) = serve(vec![fickle]).await;
    let error = ask(&client).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NetworkUnavailable, "{}", error.detail());
    assert_eq!(connections.load(Ordering::SeqCst), 2, "and not again and again");
}

#[tokio::test]
async fn silence_is_a_time_out_for_all_who_wait_and_the_next_connection_is_new() {
    let (client, connections) = serve(vec![silent, honest]).await;
    let begun = std::time::Instant::now();
    let answers = futures::future::join_all((0..10).map(|_| ask(&client))).await;
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), ErrorCode::SyncTimeout);
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(ask(&client).await.unwrap(), 1);
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn who_waits_for_a_connection_that_fails_does_not_wait_anew() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", closed.local_addr().unwrap());
    // Accepted by the system, and never by anybody: silent before the handshake.
    let client = Client::new(&url, Address::new(&url, None).unwrap());
    let begun = std::time::Instant::now();
    let answers = futures::future::join_all((0..10).map(|_| ask(&client))).await;
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), ErrorCode::SyncTimeout);
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop(closed);
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let (client, _) = serve(vec![refusing]).await;
    for (code, words, expected) in [
        (-101, "excessive resource usage", ErrorCode::RateLimited),
        (-102, "busy", ErrorCode::RateLimited),
        (1, "Excessive Resource Usage", ErrorCode::RateLimited),
        (2, "daemon error: loading", ErrorCode::NetworkUnavailable),
        (-32603, "unavailable index", ErrorCode::NetworkUnavailable),
        (1, "history too large", ErrorCode::ChainSyncFailed),
        (-32601, "unknown method", ErrorCode::ChainSyncFailed),
    ] {
        let error = client
            .must::<u64>("m", json!([code, words]), LIMIT)
            .await
            .unwrap_err();
        assert_eq!(error.code(), expected, "{code} {words}");
    }
    let reply = client
        .ask::<u64>("m", json!([-32601, "unknown method"]), LIMIT)
        .await
        .unwrap();
    assert!(matches!(reply, Reply::Unknown));
    let reply = client.ask::<u64>("m", json!([1, "no"]), LIMIT).await.unwrap();
    assert!(matches!(reply, Reply::Refused(refusal) if refusal.words == "no"));
    let error = client
        .ask::<u64>("m", json!([-101, "slow"]), LIMIT)
        .await
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::RateLimited, "never taken for an answer");
}
