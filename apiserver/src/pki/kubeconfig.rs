//! Kubeconfigs with everything inside.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Certificate;

/// A kubeconfig for one user of one cluster, as YAML. It holds a private key: keep it private.
#[must_use]
pub fn kubeconfig(cluster: &str, user: &str, server: &str, authority_pem: &str, client: &Certificate) -> String {
    // Names are quoted as JSON strings, which YAML reads too.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (cluster, user, context) = (quoted(cluster), quoted(user), quoted(&format!("{user}@{cluster}")));
    let (server, authority) = (quoted(server), STANDARD.encode(authority_pem));
    let (certificate, key) = (STANDARD.encode(&client.certificate), STANDARD.encode(&client.key));
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: {cluster}\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {authority}\n\
         users:\n\
         - name: {user}\n\
         \x20 user:\n\
         \x20   client-certificate-data: {certificate}\n\
         \x20   client-key-data: {key}\n\
         contexts:\n\
         - name: {context}\n\
         \x20 context:\n\
         \x20   cluster: {cluster}\n\
         \x20   user: {user}\n\
         current-context: {context}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_as_yaml() {
        let client = Certificate { certificate: "CERT".into(), key: "KEY".into() };
        let text = kubeconfig("kubewright", "admin", "https://127.0.0.1:6443", "CA", &client);
        let value: serde_json::Value = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(value["clusters"][0]["cluster"]["server"], "https://127.0.0.1:6443");
        assert_eq!(value["users"][0]["user"]["client-key-data"], "S0VZ");
        assert_eq!(value["current-context"], value["contexts"][0]["name"]);
    }
}
