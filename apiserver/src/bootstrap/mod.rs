//! The objects that a server makes when it starts.
