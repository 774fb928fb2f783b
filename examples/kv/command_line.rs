//! `CommandLine`: what the program was started with.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serve_forever::Endpoint;

pub(crate) const USAGE: &str = "usage: kv [--max-memory BYTES] [--busy-poll MICROSECONDS] [ENDPOINT]";

/// The options, and the endpoint to listen at.
#[derive(Debug)]
pub(crate) struct CommandLine {
    pub(crate) endpoint: Endpoint,
    pub(crate) max_memory: usize,
    pub(crate) busy_poll: Option<Duration>,
}

impl CommandLine {
    /// Reads the arguments behind the program's name; `None` if they ask for help.
    ///
    /// # Errors
    ///
    /// What is wrong with the first argument that is wrong.
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut endpoint, mut max_memory, mut busy_poll) = (None, None, None);
        while let Some(argument) = arguments.next() {
            let (option, value) = match argument.split_once('=') {
                Some((option, value)) if option.starts_with("--") => (option, Some(value.to_owned())),
                _ => (argument.as_str(), None),
            };
            let mut value = || value.clone().or_else(|| arguments.next());
            match option {
                "--max-memory" => once(option, &mut max_memory, number(option, "bytes", value())?)?,
                "--busy-poll" => once(option, &mut busy_poll, number(option, "microseconds", value())?)?,
                "--help" | "-h" => return Ok(None),
                _ if option.starts_with('-') => return Err(format!("unknown option {option}")),
                _ => once("the endpoint", &mut endpoint, parsed("the endpoint", option)?)?,
            }
        }
        Ok(Some(Self {
            endpoint: endpoint.map_or_else(|| parsed("the endpoint", "127.0.0.1:6380"), Ok)?,
            max_memory: max_memory.unwrap_or(256 << 20),
            busy_poll: busy_poll.map(Duration::from_micros),
        }))
    }
}

fn once<T>(what: &str, given: &mut Option<T>, value: T) -> Result<(), String> {
    if given.replace(value).is_some() { Err(format!("{what} is given twice")) } else { Ok(()) }
}

fn number<T: FromStr<Err: Display>>(option: &str, of: &str, value: Option<String>) -> Result<T, String> {
    let what = format!("{option} takes a number of {of}");
    match value {
        Some(value) => value.parse().map_err(|error| format!("{what}, not {value:?}: {error}")),
        None => Err(what),
    }
}

fn parsed<T: FromStr<Err: Display>>(what: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{what} {value}: {error}"))
}
