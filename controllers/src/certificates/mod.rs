//! Certificate signing requests: approved, signed and cleaned up as Kubernetes' own signers do.
//!
//! A request names its signer. What a signer demands of it is in [`rules`], how a certificate is made in [`Authority`].
//! Three controllers use them: [`approver`] approves kubelets' client certificates by itself, [`signer`] signs what is
//! approved, [`cleaner`] removes what is done with.

pub mod approver;
mod authority;
pub mod cleaner;
mod keys;
mod request;
pub mod rules;
pub mod signer;
#[cfg(test)]
mod tests;
mod usages;

pub use authority::{Authority, AuthorityError, Terms};
pub use request::{Request, RequestError};
pub use signer::Signing;
pub use usages::UsageError;

/// Signs client certificates of anybody; never approved automatically.
pub const API_SERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Signs kubelets' client certificates.
pub const API_SERVER_CLIENT_KUBELET: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs kubelets' serving certificates; never approved automatically.
pub const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signs whatever it is given; requests for it can't be made through `certificates.k8s.io/v1`.
pub const LEGACY_UNKNOWN: &str = "kubernetes.io/legacy-unknown";
