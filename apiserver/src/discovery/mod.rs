//! Discovery: what the server serves, which version it is, whether it is well.
