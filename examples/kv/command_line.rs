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
        let (mut endpoint, mut max_memory, mut busy_poll) = (None, 256 << 20, None);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--max-memory" => max_memory = number(&argument, arguments.next())?,
                "--busy-poll" => {
                    busy_poll = Some(Duration::from_micros(number(&argument, arguments.next())?));
                }
                "--help" | "-h" => return Ok(None),
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                _ if endpoint.is_some() => return Err(format!("one endpoint at most, not also {argument}")),
                _ => endpoint = Some(parsed("the endpoint", &argument)?),
            }
        }
        let endpoint = endpoint.map_or_else(|| parsed("the endpoint", "127.0.0.1:6380"), Ok)?;
        Ok(Some(Self { endpoint, max_memory, busy_poll }))
    }
}

fn number<T: FromStr<Err: Display>>(option: &str, value: Option<String>) -> Result<T, String> {
    parsed(option, &value.ok_or_else(|| format!("{option} needs a number"))?)
}

fn parsed<T: FromStr<Err: Display>>(what: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|error| format!("{what} {value}: {error}"))
}
