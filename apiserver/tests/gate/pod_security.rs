//! Pod Security over the API.

use super::*;

fn pod(name: &str, context: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [
        {"name": "c", "image": "i", "securityContext": context}]}})
}

fn warnings(answer: &Answer) -> Vec<String> {
    let headers = answer.headers.get_all("warning").iter();
    headers.map(|value| value.to_str().expect("text").to_owned()).collect()
}

#[tokio::test]
async fn pods_are_held_to_the_labels_of_their_namespace() {
    let (server, admin) = servers().await;
    let account = |namespace: &str| format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    for (name, level) in [("open", "privileged"), ("strict", "restricted")] {
        let labels = json!({"pod-security.kubernetes.io/enforce": level});
        made(&admin, "/api/v1/namespaces", json!({"metadata": {"name": name, "labels": labels}})).await;
        made(&admin, &account(name), json!({"metadata": {"name": "default"}})).await;
    }
    let privileged = pod("p", json!({"privileged": true}));
    made(&admin, "/api/v1/namespaces/open/pods", privileged.clone()).await;
    let refused = send_json(&admin, Method::POST, "/api/v1/namespaces/strict/pods", &privileged).await;
    let (code, reason, message) = refused.fault();
    assert_eq!((code, reason.as_str()), (403, "Forbidden"));
    assert!(
        message.starts_with(r#"pods "p" is forbidden: violates PodSecurity "restricted:latest": privileged (container "c" must not set securityContext.privileged=true), "#),
        "{message}"
    );
    // A template is warned of: its pods are what will be refused.
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template":
        {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let warned = send_json(&admin, Method::POST, "/apis/apps/v1/namespaces/strict/deployments", &deployment).await;
    assert_eq!(warned.code, 201);
    let said = warnings(&warned);
    assert!(said.iter().any(|text| text.contains("would violate PodSecurity")), "{said:?}");
    // Who tightens a namespace hears of the pods that fall short.
    let patch = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}});
    let tightened = common::send(
        &admin,
        Method::PATCH,
        "/api/v1/namespaces/open",
        "application/merge-patch+json",
        patch.to_string(),
    )
    .await;
    let said = warnings(&tightened).join("\n");
    assert!(said.contains("existing pods in namespace") && said.contains("p: privileged"), "{said}");
    let wrong = json!({"metadata": {"name": "wrong", "labels": {"pod-security.kubernetes.io/enforce": "very"}}});
    assert_eq!(send_json(&admin, Method::POST, "/api/v1/namespaces", &wrong).await.code, 422);
    server.shutdown().await;
}
