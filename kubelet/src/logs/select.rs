use jiff::{SignedDuration, Timestamp};
use kubewright_runtime_shim::logs::{LogLine, LogStream};

/// Which part of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Goes on until the container ends.
    pub follow: bool,
    /// The last lines only.
    pub tail_lines: Option<u64>,
    /// Lines from then on only.
    pub since: Option<Timestamp>,
    /// Puts its time before each line.
    pub timestamps: bool,
    /// Ends after that many bytes.
    pub limit_bytes: Option<u64>,
    /// The log of the run before this one.
    pub previous: bool,
    /// One of the two outputs only.
    pub stream: Option<LogStream>,
}

impl LogOptions {
    /// Reads the options of a request.
    ///
    /// # Errors
    /// Which one is wrong, and why.
    pub fn parse<'q>(query: impl IntoIterator<Item = (&'q str, &'q str)>, now: Timestamp) -> Result<Self, String> {
        let mut out = Self::default();
        let truth = |name: &str, value: &str| match value {
            "" | "1" | "true" | "True" | "TRUE" | "t" | "T" => Ok(true),
            "0" | "false" | "False" | "FALSE" | "f" | "F" => Ok(false),
            _ => Err(format!("{name}: {value:?} is neither true nor false")),
        };
        let number = |name: &str, value: &str, least: u64| match value.parse::<u64>() {
            Ok(number) if number >= least => Ok(number),
            _ => Err(format!("{name}: must be a whole number of at least {least}, not {value:?}")),
        };
        let (mut seconds, mut time) = (None, None);
        for (name, value) in query {
            match name {
                "follow" => out.follow = truth(name, value)?,
                "previous" => out.previous = truth(name, value)?,
                "timestamps" => out.timestamps = truth(name, value)?,
                // `all` is an old word for no limit.
                "tailLines" | "tail" if value.is_empty() || value == "all" => {}
                "tailLines" | "tail" => out.tail_lines = Some(number(name, value, 0)?),
                "limitBytes" => out.limit_bytes = Some(number(name, value, 1)?),
                "sinceSeconds" => seconds = Some(number(name, value, 1)?),
                "sinceTime" => {
                    time = Some(value.parse::<Timestamp>().map_err(|error| format!("{name}: {error}"))?);
                }
                "stream" => {
                    out.stream = match value {
                        "Stdout" => Some(LogStream::Stdout),
                        "Stderr" => Some(LogStream::Stderr),
                        "All" | "" => None,
                        _ => return Err(format!("{name}: must be All, Stdout or Stderr, not {value:?}")),
                    }
                }
                _ => {}
            }
        }
        out.since = match (seconds, time) {
            (Some(_), Some(_)) => return Err("at most one of `sinceTime` or `sinceSeconds` may be specified".into()),
            (Some(seconds), None) => {
                let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
                Some(now.checked_sub(ago).unwrap_or(Timestamp::MIN))
            }
            (None, time) => time,
        };
        Ok(out)
    }
}

/// Turns lines of a log file into what is to be sent.
#[derive(Debug)]
pub struct LogSelector {
    options: LogOptions,
    left: Option<u64>,
    /// The last line was only a part: the next one goes on with it.
    inside: bool,
}

impl LogSelector {
    /// For one request.
    #[must_use]
    pub const fn new(options: LogOptions) -> Self {
        let left = options.limit_bytes;
        Self { options, left, inside: false }
    }

    /// Takes a line of the file and appends what is to be sent of it. Returns whether more may be sent after it.
    pub fn push(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(parsed) = LogLine::parse(line) else {
            return true; // a torn line, or none of ours
        };
        let early = self.options.since.is_some_and(|since| crate::clock::timestamp(parsed.timestamp) < since);
        if early || self.options.stream.is_some_and(|stream| stream != parsed.stream) {
            return true;
        }
        let begin = out.len();
        if self.options.timestamps && !self.inside {
            let stamp = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            out.extend_from_slice(stamp);
            out.push(b' ');
        }
        out.extend_from_slice(parsed.text);
        self.inside = parsed.partial;
        if !parsed.partial {
            out.push(b'\n');
        }
        if let Some(left) = &mut self.left {
            let added = (out.len() - begin) as u64;
            if added >= *left {
                out.truncate(begin + usize::try_from(*left).unwrap_or(usize::MAX));
                *left = 0;
                return false;
            }
            *left -= added;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 4] = [
        "2026-01-01T00:00:01.000000000Z stdout F one",
        "2026-01-01T00:00:02.000000000Z stderr F two",
        "2026-01-01T00:00:03.000000000Z stdout P thr",
        "2026-01-01T00:00:04.000000000Z stdout F ee",
    ];

    fn select(query: &[(&str, &str)]) -> String {
        let now = "2026-01-01T00:00:05Z".parse().unwrap();
        let mut selector = LogSelector::new(LogOptions::parse(query.iter().copied(), now).unwrap());
        let mut out = Vec::new();
        for line in LINES {
            if !selector.push(line.as_bytes(), &mut out) {
                break;
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_selected() {
        assert_eq!(select(&[]), "one\ntwo\nthree\n");
        assert_eq!(select(&[("sinceTime", "2026-01-01T00:00:02Z")]), "two\nthree\n");
        assert_eq!(select(&[("sinceSeconds", "3")]), "two\nthree\n");
        assert_eq!(select(&[("limitBytes", "6")]), "one\ntw");
        assert_eq!(select(&[("stream", "Stderr")]), "two\n");
        assert_eq!(select(&[("timestamps", "true"), ("sinceSeconds", "2")]), "2026-01-01T00:00:03.000000000Z three\n");
    }

    #[test]
    fn wrong_options_are_refused() {
        let parse = |query: &[(&str, &str)]| LogOptions::parse(query.iter().copied(), Timestamp::UNIX_EPOCH);
        assert!(parse(&[("tailLines", "-1")]).is_err());
        assert!(parse(&[("limitBytes", "0")]).is_err());
        assert!(parse(&[("follow", "maybe")]).is_err());
        assert!(parse(&[("sinceTime", "today")]).is_err());
        assert!(parse(&[("sinceTime", "2026-01-01T00:00:02Z"), ("sinceSeconds", "1")]).is_err());
        assert_eq!(parse(&[("tailLines", "10"), ("follow", "1")]).unwrap().tail_lines, Some(10));
    }
}
