//! Kubernetes controllers as pure reconcilers with thin drivers
