//! Connections that stall before there is a request.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::served::{PATIENCE, Served, pour, until_closed};

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn who_never_ends_the_handshake_or_the_headers_is_sent_away() {
    let served = Served::start(|limits| (limits.handshake_timeout, limits.headers_timeout) = (SOON, SOON)).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    let mut slow = served.http1().await;
    slow.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\nx-slow: a").await.unwrap();
    let mut mute = [served.http1().await, served.http2().await];
    served.is_well().await;
    let closed = tokio::time::timeout(PATIENCE, silent.read(&mut [0; 16])).await.expect("it is closed");
    assert!(matches!(closed, Ok(0) | Err(_)));
    assert!(!until_closed(&mut slow).await.starts_with(b"HTTP/1.1 200"));
    for stream in &mut mute {
        until_closed(stream).await;
    }
    served.stop().await;
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let served = Served::start(|_| {}).await;
    let mut greedy = served.http1().await;
    greedy.write_all(b"GET /version HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    let header = format!("x-more: {}\r\n", "a".repeat(8000));
    let (mut reading, mut writing) = tokio::io::split(greedy);
    let writer = tokio::spawn(async move {
        for _ in 0..1000 {
            if writing.write_all(header.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, reading.read_to_end(&mut answer)).await.expect("it is answered");
    writer.await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    served.stop().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_and_are_served_when_others_end() {
    let served = Served::start(|limits| {
        limits.connections_max = 3;
        limits.headers_timeout = SOON;
    })
    .await;
    let idle = [served.http1().await, served.http1().await, served.http1().await];
    // Nobody has to go away: who says nothing makes room.
    served.is_well().await;
    drop(idle);
    served.stop().await;
}

#[tokio::test]
async fn cut_connections_leave_nothing_behind() {
    let served = Served::start(|_| {}).await;
    for _ in 0..50 {
        let mut stream = served.http1().await;
        pour(&mut stream, b"POST /api/v1/namespaces HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n{", 1).await;
        let (tcp, _) = stream.into_inner();
        // Reset, not closed in order.
        tcp.set_zero_linger().unwrap();
        drop(tcp);
    }
    served.stop().await;
}
