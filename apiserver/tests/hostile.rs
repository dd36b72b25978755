//! Clients that are slow, broken or hostile, over real TLS on loopback: limits hold, others are served meanwhile, memory
//! stays bounded, and a watcher that falls behind is told so.
//!
//! `crowd` takes the number of clients from `KUBEWRIGHT_HOSTILE_CLIENTS` (default: 300):
//! `KUBEWRIGHT_HOSTILE_CLIENTS=2000 cargo test --release -p kubewright-apiserver --all-features --test hostile crowd`.
#![cfg(all(feature = "serve", feature = "pki"))]

#[path = "hostile/bodies.rs"]
mod bodies;
#[path = "hostile/crowd.rs"]
mod crowd;
#[path = "hostile/http1.rs"]
mod http1;
#[path = "hostile/http2.rs"]
mod http2;
#[path = "hostile/served.rs"]
mod served;
#[path = "hostile/watchers.rs"]
mod watchers;
