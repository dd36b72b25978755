//! Certificate authority, certificates, service-account keys, kubeconfigs.
