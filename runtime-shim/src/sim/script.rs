//! The few words of shell that simulated containers understand.

use std::time::Duration;

use crate::logs::LogStream;

/// One thing a simulated program does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Writes a line.
    Print(LogStream, String),
    /// Does nothing for a while.
    Sleep(Duration),
    /// Copies its input to its output until the input ends.
    Cat,
    /// Never ends by itself.
    Forever,
}

/// What a simulated program does from start to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) steps: Vec<Step>,
    pub(super) exit_code: i32,
    /// The exit code that `SIGTERM` makes; `None`: it takes no notice.
    pub(super) exit_code_term: Option<i32>,
}

impl Script {
    /// A server: runs until it is stopped, and then ends well.
    pub(super) fn server() -> Self {
        Self { steps: vec![Step::Forever], exit_code: 0, exit_code_term: Some(0) }
    }

    /// Reads a command. `None` when it uses a word that is not known here.
    pub(super) fn parse(command: &[String]) -> Option<Self> {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            [shell, "-c", text, ..] if matches!(base(shell), "sh" | "bash" | "ash") => Self::parse_text(text),
            words => Self::parse_commands([words.to_vec()]),
        }
    }

    fn parse_text(text: &str) -> Option<Self> {
        let commands = text.split([';', '\n']).map(|command| words(command.trim())).filter(|words| !words.is_empty());
        Self::parse_commands(
            commands
                .map(|words| words.to_vec())
                .collect::<Vec<_>>()
                .iter()
                .map(|words| words.iter().map(String::as_str).collect()),
        )
    }

    fn parse_commands<'a>(commands: impl IntoIterator<Item = Vec<&'a str>>) -> Option<Self> {
        let mut script = Self { steps: Vec::new(), exit_code: 0, exit_code_term: Some(128 + 15) };
        for words in commands {
            let (program, arguments) = words.split_first()?;
            script.exit_code = 0;
            match (base(program), arguments) {
                ("true" | ":", _) => {}
                ("false", _) => script.exit_code = 1,
                ("echo", _) => script.steps.push(echo(arguments)),
                ("cat", []) => script.steps.push(Step::Cat),
                ("sleep", ["infinity"]) => script.steps.push(Step::Forever),
                ("sleep", [time] | [time, "&", "wait"]) => script.steps.push(Step::Sleep(seconds(time)?)),
                ("trap", ["", "TERM"]) => script.exit_code_term = None,
                ("trap", [action, "TERM"]) => script.exit_code_term = Some(exit_code(action.strip_prefix("exit ")?)?),
                ("exit", [code]) => {
                    script.exit_code = exit_code(code)?;
                    return Some(script);
                }
                _ => return None,
            }
        }
        Some(script)
    }

    /// Whether and when it ends by itself, counted from its start.
    pub(super) fn ends_after(&self) -> Option<Duration> {
        self.steps.iter().try_fold(Duration::ZERO, |sum, step| match step {
            Step::Sleep(time) => Some(sum + *time),
            Step::Print(..) => Some(sum),
            Step::Cat | Step::Forever => None,
        })
    }

    /// What it writes, and when, counted from its start.
    pub(super) fn lines(&self) -> Vec<(Duration, LogStream, String)> {
        let mut at = Duration::ZERO;
        let mut lines = Vec::new();
        for step in &self.steps {
            match step {
                Step::Sleep(time) => at += *time,
                Step::Print(stream, text) => lines.push((at, *stream, text.clone())),
                Step::Cat | Step::Forever => break,
            }
        }
        lines
    }

    /// Whether it copies its input to its output.
    pub(super) fn reads_input(&self) -> bool {
        self.steps.contains(&Step::Cat)
    }
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

fn exit_code(text: &str) -> Option<i32> {
    text.parse().ok().filter(|code| (0..256).contains(code))
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

fn echo(arguments: &[&str]) -> Step {
    match arguments {
        [text @ .., ">&2" | "1>&2"] => Step::Print(LogStream::Stderr, text.join(" ")),
        text => Step::Print(LogStream::Stdout, text.join(" ")),
    }
}

/// Splits at blanks outside quotes; quotes are taken away.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote): (Option<String>, Option<char>) = (None, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Script> {
        Script::parse(&["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
    }

    #[test]
    fn a_script_prints_sleeps_and_exits() {
        let script = parse("echo 'one  two'; sleep 2; echo oops >&2; sleep 0.5; exit 3; echo never").unwrap();
        assert_eq!(script.ends_after(), Some(Duration::from_millis(2500)));
        assert_eq!(script.exit_code, 3);
        assert_eq!(
            script.lines(),
            [
                (Duration::ZERO, LogStream::Stdout, "one  two".to_owned()),
                (Duration::from_secs(2), LogStream::Stderr, "oops".to_owned()),
            ]
        );
    }

    #[test]
    fn endless_ones_do_not_end() {
        assert_eq!(parse("sleep infinity").unwrap().ends_after(), None);
        assert_eq!(Script::server().ends_after(), None);
        assert!(Script::parse(&["cat".to_owned()]).unwrap().reads_input());
        assert_eq!(parse("trap '' TERM; sleep 9").unwrap().exit_code_term, None);
        assert_eq!(parse("trap 'exit 7' TERM; sleep 9 & wait").unwrap().exit_code_term, Some(7));
    }

    #[test]
    fn unknown_words_are_not_guessed() {
        assert_eq!(parse("make coffee"), None);
        assert_eq!(parse("exit 256"), None);
        assert_eq!(Script::parse(&[]), None);
    }
}
