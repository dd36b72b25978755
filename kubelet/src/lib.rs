//! A Kubernetes node agent over any runtime and any network
