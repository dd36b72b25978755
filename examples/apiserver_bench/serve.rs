//! Our server as it is measured: a store on disk, TLS, RBAC, API priority and fairness.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use kubewright_apiserver::authn::token::{Issuer, SigningKey};
use kubewright_apiserver::pki::{Pki, PkiConfig};
use kubewright_apiserver::serve::{Listener, Tls};
use kubewright_apiserver::server::ApiServer;
use kubewright_store::{DiskConfig, DiskStore, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Serves until it is told to end.
pub(crate) async fn run(directory: &Path, address: &str) -> Result<()> {
    let store = Arc::new(DiskStore::open(DiskConfig::new(directory.join("store"))).await?);
    let pki = Pki::load_or_create(directory.join("pki"), &PkiConfig::default(), Timestamp::now())?;
    let authority = pki.authority.certificate_pem();
    let tls = Tls::new(&pki.serving.certificate, &pki.serving.key, authority)?;
    let listener = Listener::bind(address.parse()?, tls).await?;
    let issuer = "https://kubernetes.default.svc.cluster.local";
    let server = ApiServer::builder(Arc::clone(&store) as Arc<dyn Store>)
        .client_authorities(authority)
        .front_proxy_authorities(pki.front_proxy_authority.certificate_pem())
        .service_account_issuer(Issuer::new(issuer, SigningKey::from_pem(&pki.service_account_key)?))
        .advertise(listener.local_address(), 443)
        .build()
        .await?;
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(listener.serve(server.clone(), shutdown.clone()));
    signal(SignalKind::terminate())?.recv().await.context("no signal")?;
    server.drain();
    shutdown.cancel();
    serving.await?;
    server.shutdown().await;
    store.close().await;
    Ok(())
}
