//! Serving over TCP and TLS.
