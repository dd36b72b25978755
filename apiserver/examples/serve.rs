//! An API server over TLS with RBAC, on a store in memory, for `kubectl`.
//!
//! ```text
//! cargo run -p kubewright-apiserver --features serve,pki --example serve -- pki 127.0.0.1:6443
//! kubectl --kubeconfig pki/admin.kubeconfig get namespaces
//! ```

#![allow(clippy::print_stdout, reason = "an example says what it does")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use kubewright_apiserver::authn::token::{Issuer, SigningKey};
use kubewright_apiserver::connect::KubeletTls;
use kubewright_apiserver::pki::{Pki, PkiConfig};
use kubewright_apiserver::serve::{Listener, Tls};
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| "pki".into());
    let address: SocketAddr = arguments.next().unwrap_or_else(|| "127.0.0.1:6443".into()).parse()?;
    let now = Timestamp::now();

    // Certificates first: what the server shows must name the address that clients reach it at.
    let config = PkiConfig { addresses: vec![address.ip(), "10.96.0.1".parse()?], ..PkiConfig::default() };
    let pki = Pki::load_or_create(&directory, &config, now)?;
    let authority = pki.authority.certificate_pem();
    let tls = Tls::new(&pki.serving.certificate, &pki.serving.key, authority)?;
    let listener = Listener::bind(address, tls).await?;
    let bound = listener.local_address();

    let issuer = "https://kubernetes.default.svc.cluster.local";
    let issuer = Issuer::new(issuer, SigningKey::from_pem(&pki.service_account_key)?);
    let kubelets = KubeletTls::from_pem(&pki.kubelet_client.certificate, &pki.kubelet_client.key, authority)?;
    let server = ApiServer::builder(Arc::new(MemoryStore::new()))
        .service_account_issuer(issuer)
        .client_authorities(authority)
        .front_proxy_authorities(pki.front_proxy_authority.certificate_pem())
        .kubelets(Arc::new(kubelets))
        .advertise(bound, 443)
        .build()
        .await?;

    pki.write_component_kubeconfigs(&format!("https://{bound}"), now)?;
    println!("kubectl --kubeconfig {} get namespaces", pki.kubeconfig_path("admin").display());

    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(listener.measured(server.metrics()).serve(server.clone(), shutdown.clone()));
    tokio::signal::ctrl_c().await?;
    server.drain();
    shutdown.cancel();
    serving.await?;
    server.shutdown().await;
    Ok(())
}
