//! All of them at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::served::{Served, pour};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

/// How many clients there are.
fn clients() -> usize {
    std::env::var("KUBEWRIGHT_HOSTILE_CLIENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

/// Memory of this process, in bytes: the server's and the clients'.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_bad_clients_leaves_room_for_good_ones() {
    let served = Arc::new(
        Served::start(|limits| {
            // Short enough to matter here, and long enough for good clients on a machine that all this keeps busy.
            limits.headers_timeout = Duration::from_secs(20);
            limits.stall_timeout = Duration::from_secs(10);
        })
        .await,
    );
    served.is_well().await;
    let (before, clients, over) = (resident(), clients(), CancellationToken::new());
    // Threads of their own: what clients do takes the server's time only as it would from elsewhere.
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut crowd, arrived) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
    for n in 0..clients {
        let (served, over, arrived) = (Arc::clone(&served), over.clone(), Arc::clone(&arrived));
        let bad = async move {
            let mut first = Some(&*arrived);
            while over.run_until_cancelled(misbehave(&served, n, first.take())).await.is_some() {}
        };
        crowd.spawn_on(bad, threads.handle());
    }
    // While they come, and once all of them are at it, others come and are served; each has a bounded time.
    let (mut most, mut rounds, mut all) = (0, 0, None);
    while all.is_none_or(|all| rounds < all + 20) {
        served.is_well().await;
        most = most.max(resident());
        rounds += 1;
        all = all.or_else(|| (arrived.load(Ordering::Relaxed) == clients).then_some(rounds));
    }
    over.cancel();
    while crowd.join_next().await.is_some() {}
    threads.shutdown_background();
    let grown = most.saturating_sub(before) >> 20;
    #[allow(clippy::print_stdout, reason = "what a run with many clients is for")]
    {
        println!("{clients} clients, {rounds} good ones served: {grown} MiB more, theirs included");
    }
    let allowed = 256 + clients / 3;
    assert!(grown < allowed, "{grown} MiB more than before, and not at most {allowed}");
    Arc::into_inner(served).expect("nobody else holds it").stop().await;
}

/// One of the ways to behave badly. Counts itself as arrived when it has a connection for the first time.
async fn misbehave(served: &Served, n: usize, arrived: Option<&AtomicUsize>) {
    let mut stream = served.http1().await;
    if let Some(arrived) = arrived {
        arrived.fetch_add(1, Ordering::Relaxed);
    }
    match n % 6 {
        // Watches, and never reads.
        0 => {
            let head = format!("GET {CONFIGMAPS}?watch=1&resourceVersion=0 HTTP/1.1\r\nhost: a\r\n\r\n");
            pour(&mut stream, head.as_bytes(), 1).await;
            std::future::pending::<()>().await;
        }
        // Asks for the same large thing again and again, and never reads.
        1 => pour(&mut stream, b"GET /openapi/v2 HTTP/1.1\r\nhost: a\r\n\r\n", 100).await,
        // Sends a hundred megabytes in chunks.
        2 => {
            let head = format!("POST {CONFIGMAPS} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
            pour(&mut stream, head.as_bytes(), 1).await;
            let mut chunk = b"10000\r\n".to_vec();
            chunk.extend([b' '; 0x10000]);
            chunk.extend(b"\r\n");
            pour(&mut stream, &chunk, 1600).await;
        }
        // Begins a body, and is reset.
        3 => {
            let head = format!("POST {CONFIGMAPS} HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{{");
            pour(&mut stream, head.as_bytes(), 1).await;
            let (tcp, _) = stream.into_inner();
            let _ = tcp.set_zero_linger();
        }
        // Never ends its headers.
        4 => {
            pour(&mut stream, b"GET / HTTP/1.1\r\nx: ", 1).await;
            while stream.write_all(b"a").await.is_ok() && stream.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        // Ten thousand brackets.
        _ => {
            let body = "[".repeat(10_000);
            let head = format!(
                "POST {CONFIGMAPS} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            pour(&mut stream, format!("{head}{body}").as_bytes(), 1).await;
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 4096]).await;
        }
    }
}
