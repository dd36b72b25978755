//! A deterministic Kubernetes scheduler core with upstream's plugins, and its driver
