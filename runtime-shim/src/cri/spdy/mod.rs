//! As much of SPDY/3.1 as streaming servers need of their clients: several streams in one connection, each of which can
//! end in either direction on its own.
//!
//! Headers travel in a zlib stream, which may store without compressing, and so that is what is sent. What the server
//! sends in headers is of no use here and is skipped.

mod connection;
mod frame;
mod upgrade;

pub(super) use self::{
    connection::{Connection, StreamReader, StreamWriter},
    upgrade::upgrade,
};
