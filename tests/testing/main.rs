//! The test kit, tested, and three operators tested with it: `docs/testing.md` walks through them.

mod aggregated;
mod chosen;
mod garbage;
mod janitor;
mod kit;
mod mirror;
mod website;
