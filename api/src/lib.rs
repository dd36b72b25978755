//! The Kubernetes object model that Kubewright's components share
