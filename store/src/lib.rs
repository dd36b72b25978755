//! A revisioned, watchable, durable key-value store with etcd's guarantees
