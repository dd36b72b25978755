//! Service networking for Kubernetes nodes: a rule compiler and its data planes
