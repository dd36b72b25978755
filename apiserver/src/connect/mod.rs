//! Connections into pods: exec, attach, port-forward, logs, proxy.
