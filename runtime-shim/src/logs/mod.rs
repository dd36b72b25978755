//! Container logs in the CRI's format, which every runtime writes and the kubelet reads.
//!
//! A line is `<RFC 3339 time with nanoseconds> <stdout|stderr> <F|P> <text>`. `F` ends a line of the container; `P` is a
//! part of one that was too long, or not ended when the container was.
//!
//! ```
//! use kubewright_runtime_shim::logs::{LogLine, LogStream};
//!
//! let line = LogLine::parse(b"2026-03-01T12:00:00.000000001Z stdout F hello\n").unwrap();
//! assert_eq!((line.stream, line.partial, line.text), (LogStream::Stdout, false, &b"hello"[..]));
//! ```

mod line;
mod time;
mod writer;

pub use line::{LogLine, LogStream, Splitter};
pub use time::{format_timestamp, parse_timestamp};
pub use writer::LogFile;
