//! The controller against a real API server: no binaries, no sockets, no ports.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use kubewright_store::MemoryStore;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_counted() -> Result<(), Box<dyn std::error::Error>> {
    let started = Instant::now();
    // Who may do what is not what this test is about: without roles and bindings to make, the server is there sooner.
    let server = ApiServer::builder(Arc::new(MemoryStore::new())).allow_all().build().await?;
    let client = Client::new(server.as_user(User::admin()), "default");
    println!("the API server was ready after {:.1} ms", started.elapsed().as_secs_f64() * 1000.0);

    let controller = tokio::spawn(outside::run(client.clone()));
    let configs: Api<ConfigMap> = Api::default_namespaced(client);
    let mut config = ConfigMap::default();
    config.metadata.name = Some("settings".into());
    config.data = Some([("a".into(), "1".into()), ("b".into(), "2".into())].into());
    configs.create(&PostParams::default(), &config).await?;

    let counted = |object: Option<&ConfigMap>| {
        object.is_some_and(|object| object.annotations().get(outside::ANNOTATION).is_some_and(|count| count == "2"))
    };
    tokio::time::timeout(Duration::from_secs(10), await_condition(configs, "settings", counted)).await??;
    controller.abort();
    server.shutdown().await;
    Ok(())
}
