//! The options and numbers of commands, with the errors that Redis gives.

use super::reply::Version;
use super::request::Arguments;
use super::store::Expiry;

const SYNTAX: &str = "ERR syntax error";

/// The options of SET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetOptions {
    pub(crate) when: SetWhen,
    pub(crate) expiry: Expiry,
    /// GET: the answer is the old value.
    pub(crate) returns_old: bool,
}

/// Which keys SET sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SetWhen {
    #[default]
    Always,
    Absent,
    Present,
}

impl Default for SetOptions {
    fn default() -> Self {
        Self { when: SetWhen::Always, expiry: Expiry::Never, returns_old: false }
    }
}

impl SetOptions {
    /// Reads the options behind the value.
    pub(crate) fn parse(a: Arguments<'_>, now: u64) -> Result<Self, String> {
        let mut options = Self::default();
        let mut rest = a.from(3);
        while let Some(option) = rest.next() {
            let option = option.to_ascii_uppercase();
            match &option[..] {
                b"NX" if options.when == SetWhen::Always => options.when = SetWhen::Absent,
                b"XX" if options.when == SetWhen::Always => options.when = SetWhen::Present,
                b"GET" => options.returns_old = true,
                b"KEEPTTL" if options.expiry == Expiry::Never => options.expiry = Expiry::Keep,
                b"EX" | b"PX" | b"EXAT" | b"PXAT" if options.expiry == Expiry::Never => {
                    let amount = integer(rest.next().ok_or(SYNTAX)?)?;
                    let at = moment(option.starts_with(b"E"), !option.ends_with(b"AT"), amount, now);
                    let at = at.filter(|_| amount > 0).ok_or("ERR invalid expire time in 'set' command")?;
                    options.expiry = Expiry::At(at);
                }
                _ => return Err(SYNTAX.into()),
            }
        }
        Ok(options)
    }
}

/// The moment that an amount of seconds or milliseconds says, from now on or since
/// 1970; 0 for one before that.
fn moment(in_seconds: bool, from_now: bool, amount: i64, now: u64) -> Option<u64> {
    let millis = amount.checked_mul(if in_seconds { 1000 } else { 1 })?;
    let base = if from_now { i64::try_from(now).ok()? } else { 0 };
    Some(u64::try_from(base.checked_add(millis)?).unwrap_or(0))
}

/// When EXPIRE and its siblings let a key expire; `None` if their condition does not
/// hold.
pub(crate) fn expire(
    name: &[u8],
    shown: &str,
    a: Arguments<'_>,
    current: Option<Option<u64>>,
    now: u64,
) -> Result<Option<u64>, String> {
    let amount = integer(a.at(2))?;
    let at = moment(!name.starts_with(b"P"), !name.ends_with(b"AT"), amount, now)
        .ok_or_else(|| format!("ERR invalid expire time in '{shown}' command"))?;
    let Some(current) = current else { return Ok(None) };
    let (mut absent, mut present, mut greater, mut less) = (false, false, false, false);
    for option in a.from(3) {
        match &option.to_ascii_uppercase()[..] {
            b"NX" => absent = true,
            b"XX" => present = true,
            b"GT" => greater = true,
            b"LT" => less = true,
            _ => return Err(format!("ERR Unsupported option {}", super::table::shown(option))),
        }
    }
    if absent && (present || greater || less) {
        return Err("ERR NX and XX, GT or LT options at the same time are not compatible".into());
    }
    if greater && less {
        return Err("ERR GT and LT options at the same time are not compatible".into());
    }
    // A key that never expires does so later than any other.
    let old = current.unwrap_or(u64::MAX);
    let holds = !(absent && current.is_some()
        || present && current.is_none()
        || greater && at <= old
        || less && at >= old);
    Ok(holds.then_some(at))
}

/// The answer to TTL and its siblings: -2 for no key, -1 for one that never expires.
pub(crate) fn time_left(name: &[u8], expiry: Option<Option<u64>>, now: u64) -> i64 {
    let millis = match expiry {
        None => return -2,
        Some(None) => return -1,
        Some(Some(at)) if name.ends_with(b"TIME") => at,
        Some(Some(at)) => at.saturating_sub(now),
    };
    let value = if name.starts_with(b"P") { millis } else { (millis + 500) / 1000 };
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What HELLO asks for.
#[derive(Debug, Default)]
pub(crate) struct Hello<'a> {
    pub(crate) version: Option<Version>,
    pub(crate) name: Option<&'a [u8]>,
}

impl<'a> Hello<'a> {
    pub(crate) fn parse(a: Arguments<'a>) -> Result<Self, String> {
        let mut hello = Self::default();
        let mut rest = a.from(1);
        match rest.next() {
            None => return Ok(hello),
            Some(b"2") => hello.version = Some(Version::Two),
            Some(b"3") => hello.version = Some(Version::Three),
            Some(other) => {
                integer(other).map_err(|_| "ERR Protocol version is not an integer or out of range")?;
                return Err("NOPROTO unsupported protocol version".into());
            }
        }
        while let Some(option) = rest.next() {
            match &option.to_ascii_uppercase()[..] {
                b"SETNAME" => hello.name = Some(client_name(rest.next().ok_or(SYNTAX)?)?),
                b"AUTH" => {
                    return Err("ERR AUTH was called, and no password is configured here".into());
                }
                _ => {
                    return Err(format!(
                        "ERR Syntax error in HELLO option '{}'",
                        super::table::shown(option)
                    ));
                }
            }
        }
        Ok(hello)
    }
}

/// Reads the option of FLUSHALL and FLUSHDB, which makes no difference here.
pub(crate) fn flush(a: Arguments<'_>) -> Result<(), String> {
    match &a.at(1).to_ascii_uppercase()[..] {
        b"" | b"SYNC" | b"ASYNC" if a.len() <= 2 => Ok(()),
        _ => Err(SYNTAX.into()),
    }
}

/// A client's name, without spaces and line ends.
pub(crate) fn client_name(name: &[u8]) -> Result<&[u8], String> {
    let is_plain = name.iter().all(u8::is_ascii_graphic);
    is_plain
        .then_some(name)
        .ok_or_else(|| "ERR Client names cannot contain spaces, newlines or special characters.".to_owned())
}

/// An integer in the one form in which Redis writes it: without `+`, leading zeros, or
/// `-0`.
pub(crate) fn integer(text: &[u8]) -> Result<i64, String> {
    let parsed = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let is_canonical = |value: &i64| itoa::Buffer::new().format(*value).as_bytes() == text;
    parsed.filter(is_canonical).ok_or_else(|| "ERR value is not an integer or out of range".to_owned())
}

pub(crate) fn float(text: &[u8]) -> Result<f64, String> {
    let parsed = str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    parsed.filter(|value| !value.is_nan()).ok_or_else(|| "ERR value is not a valid float".to_owned())
}
