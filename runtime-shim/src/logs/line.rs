use std::{fmt, time::SystemTime};

use super::{format_timestamp, parse_timestamp};

/// Which of a container's outputs a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// Output.
    Stdout,
    /// Error output.
    Stderr,
}

impl LogStream {
    /// Its name in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One line of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When the runtime read it.
    pub timestamp: SystemTime,
    /// Which output it is of.
    pub stream: LogStream,
    /// More of the same line follows (tag `P`).
    pub partial: bool,
    /// What the container wrote, without the line's end.
    pub text: &'a [u8],
}

impl<'a> LogLine<'a> {
    /// Reads a line of a log file, with or without its end. `None` if it is not in the format.
    ///
    /// Tags may be followed by others after a colon; only the first says whether the line is partial.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let mut fields = line.splitn(4, |b| *b == b' ');
        let timestamp = parse_timestamp(std::str::from_utf8(fields.next()?).ok()?)?;
        let stream = match fields.next()? {
            b"stdout" => LogStream::Stdout,
            b"stderr" => LogStream::Stderr,
            _ => return None,
        };
        let partial = match fields.next()?.split(|b| *b == b':').next()? {
            b"F" => false,
            b"P" => true,
            _ => return None,
        };
        Some(Self { timestamp, stream, partial, text: fields.next()? })
    }

    /// Appends the line, with its end, to a buffer.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let tag = if self.partial { "P" } else { "F" };
        out.extend_from_slice(format!("{} {} {tag} ", format_timestamp(self.timestamp), self.stream).as_bytes());
        out.extend_from_slice(self.text);
        out.push(b'\n');
    }
}

/// Cuts one output of a container into log lines.
///
/// It holds back at most [`Splitter::LINE_BYTES_MAX`] bytes; a longer line comes out in parts.
#[derive(Debug)]
pub struct Splitter {
    stream: LogStream,
    held: Vec<u8>,
}

impl Splitter {
    /// The longest text of one log line, in bytes: what containerd cuts at, too.
    pub const LINE_BYTES_MAX: usize = 16 * 1024;

    /// A splitter that holds nothing.
    #[must_use]
    pub const fn new(stream: LogStream) -> Self {
        Self { stream, held: Vec::new() }
    }

    /// Takes what the container wrote, read at `now`, and appends the lines it completes to `out`.
    pub fn push(&mut self, mut chunk: &[u8], now: SystemTime, out: &mut Vec<u8>) {
        while !chunk.is_empty() {
            let room = Self::LINE_BYTES_MAX - self.held.len();
            match chunk.iter().take(room + 1).position(|b| *b == b'\n') {
                Some(end) => {
                    self.held.extend_from_slice(&chunk[..end]);
                    chunk = &chunk[end + 1..];
                    self.emit(false, now, out);
                }
                None if chunk.len() > room => {
                    self.held.extend_from_slice(&chunk[..room]);
                    chunk = &chunk[room..];
                    self.emit(true, now, out);
                }
                None => {
                    self.held.extend_from_slice(chunk);
                    return;
                }
            }
        }
    }

    /// Appends what is held back, as a partial line: the output has ended.
    pub fn finish(&mut self, now: SystemTime, out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            self.emit(true, now, out);
        }
    }

    fn emit(&mut self, partial: bool, timestamp: SystemTime, out: &mut Vec<u8>) {
        LogLine { timestamp, stream: self.stream, partial, text: &self.held }.write_to(out);
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn split(chunks: &[&[u8]]) -> Vec<(bool, Vec<u8>)> {
        let (mut splitter, mut out) = (Splitter::new(LogStream::Stderr), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, UNIX_EPOCH + Duration::from_secs(1), &mut out);
        }
        splitter.finish(UNIX_EPOCH, &mut out);
        out.split_inclusive(|b| *b == b'\n')
            .map(|line| LogLine::parse(line).expect("a log line"))
            .map(|line| (line.partial, line.text.to_vec()))
            .collect()
    }

    #[test]
    fn lines_come_out_whole_however_they_were_cut() {
        let whole = vec![(false, b"one".to_vec()), (false, Vec::new()), (false, b"two three".to_vec())];
        assert_eq!(split(&[b"one\n\ntwo three\n"]), whole);
        assert_eq!(split(&[b"on", b"e\n", b"\ntwo", b" three", b"\n"]), whole);
    }

    #[test]
    fn an_unfinished_line_is_partial() {
        assert_eq!(split(&[b"a\nb"]), [(false, b"a".to_vec()), (true, b"b".to_vec())]);
    }

    #[test]
    fn a_long_line_comes_in_parts_and_its_end_is_full() {
        let long = vec![b'x'; Splitter::LINE_BYTES_MAX + 10];
        let parts = split(&[&long, b"\n"]);
        assert_eq!(
            parts.iter().map(|(p, t)| (*p, t.len())).collect::<Vec<_>>(),
            [(true, Splitter::LINE_BYTES_MAX), (false, 10)]
        );
        let exact = [&long[..Splitter::LINE_BYTES_MAX], b"\n"].concat();
        assert_eq!(split(&[&exact]).len(), 1);
    }

    #[test]
    fn refuses_what_is_no_log_line() {
        for line in ["", "x", "2026-01-01T00:00:00Z stdout", "2026-01-01T00:00:00Z stdin F x"] {
            assert_eq!(LogLine::parse(line.as_bytes()), None, "{line}");
        }
        assert!(LogLine::parse(b"2026-01-01T00:00:00Z stdout P:x y").unwrap().partial);
    }
}
