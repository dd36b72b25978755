//! Every path, method and action of Kubernetes 1.36 (`shared/data/openapi` of a directory above, where it is) against what
//! a standard server serves.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use kubewright_apiserver::request::User;
use kubewright_apiserver::server::ApiServer;
use tower::ServiceExt;

/// What is not served, and why.
const ABSENT: [(&str, &str); 15] = [
    // Upstream serves versions that are not stable only if it is told to.
    ("/apis/admissionregistration.k8s.io/v1alpha1/", "off by default"),
    ("/apis/admissionregistration.k8s.io/v1beta1/", "off by default"),
    ("/apis/certificates.k8s.io/v1alpha1/", "off by default"),
    ("/apis/certificates.k8s.io/v1beta1/", "off by default"),
    ("/apis/coordination.k8s.io/v1alpha2/", "off by default"),
    ("/apis/coordination.k8s.io/v1beta1/", "off by default"),
    ("/apis/internal.apiserver.k8s.io/", "off by default"),
    ("/apis/networking.k8s.io/v1beta1/", "off by default"),
    ("/apis/resource.k8s.io/v1alpha3/", "off by default"),
    ("/apis/resource.k8s.io/v1beta1/", "off by default"),
    ("/apis/resource.k8s.io/v1beta2/", "off by default"),
    ("/apis/scheduling.k8s.io/v1alpha2/", "off by default"),
    ("/apis/storage.k8s.io/v1beta1/", "off by default"),
    ("/apis/storagemigration.k8s.io/", "off by default"),
    ("/logs/", "files of the host's /var/log: upstream serves them only if it is told to"),
];

/// Path, method, action.
type Row = (String, String, String);

fn rows() -> Vec<Row> {
    let mut directory = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
    let mut files =
        std::iter::from_fn(|| directory.pop().then(|| directory.join("shared/data/openapi/paths-1.36.csv")));
    let Some(file) = files.find(|path| path.is_file()) else { return Vec::new() };
    let text = std::fs::read_to_string(file).expect("the file can be read");
    let cells = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    cells.map(|cells| (cells[0].to_owned(), cells[1].to_uppercase(), cells[2].to_owned())).collect()
}

fn is_absent(path: &str) -> bool {
    ABSENT.iter().any(|(prefix, _)| format!("{path}/").starts_with(prefix))
}

/// What is wrong with the answer to such a request, if there is no such page or method.
async fn fault(server: &ApiServer, path: &str, method: &str) -> Option<String> {
    let filled = path.replace("{namespace}", "default").replace("{name}", "none").replace("{path}", "p");
    let request = Request::builder().method(method).uri(filled).header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Full::new(Bytes::from_static(b"{}"))).expect("a sound request");
    let response = server.clone().oneshot(request).await.expect("infallible");
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => Some("405".into()),
        StatusCode::NOT_FOUND => {
            let bytes = response.into_body().collect().await.expect("the body is in memory").to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let no_page = text.contains("page not found") || text.contains("could not find the requested resource");
            no_page.then_some(text)
        }
        _ => None,
    }
}

#[tokio::test]
async fn every_path_and_method_of_kubernetes_is_served_but_for_those_listed() {
    let server = super::standard().await.as_user(User::admin());
    let mut missing = Vec::new();
    for (path, method, action) in rows() {
        if action == "connect" && !cfg!(feature = "serve") {
            continue;
        }
        let fault = fault(&server, &path, &method).await;
        match fault {
            Some(_) if is_absent(&path) => {}
            Some(fault) => missing.push(format!("{method} {path} ({action}): {fault}")),
            None => assert!(!is_absent(&path), "{path} is served: take it off the list"),
        }
    }
    assert!(missing.is_empty(), "{} missing:\n{}", missing.len(), missing.join("\n"));
    server.shutdown().await;
}

#[tokio::test]
async fn openapi_names_every_path_and_method_of_kubernetes_but_for_those_listed() {
    let server = super::standard().await.as_user(User::admin());
    let document = super::get(&server, "/openapi/v2").await.json();
    let mut missing = BTreeSet::new();
    for (path, method, action) in rows() {
        // Watches under paths of their own are no way that is advertised to new clients.
        let old = path.contains("/v1/watch/") || path.contains("/v2/watch/");
        let operation = &document["paths"][&path][method.to_lowercase()];
        if operation.is_null() && !is_absent(&path) && !old {
            missing.insert(format!("{method} {path} ({action})"));
        }
    }
    let missing: Vec<_> = missing.into_iter().collect();
    assert!(missing.is_empty(), "{} missing:\n{}", missing.len(), missing.join("\n"));
    server.shutdown().await;
}
