//! Kubewright.
