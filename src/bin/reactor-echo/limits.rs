//! The process's limit on open files: raises it for the connections of a run.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors besides connections: the standard streams, the poller, the
/// timer, the listener, the control channel, the output; with room for
/// inherited ones.
const OTHERS: u64 = 32;

/// Makes sure `sockets` more descriptors fit under the limit, raising the soft
/// limit towards the hard one when they do not.
///
/// # Errors
///
/// The hard limit is too low; the message names it.
pub(crate) fn reserve_sockets(sockets: u64) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let needed = sockets.saturating_add(OTHERS);
    // `None` is no limit at all.
    let Some(current) = limit.current.filter(|&current| current < needed) else {
        return Ok(());
    };
    match limit.maximum {
        Some(maximum) if maximum < needed => Err(io::Error::other(format!(
            "{sockets} sockets need about {needed} file descriptors, and the limit is {maximum} \
             (ulimit -Hn); use fewer connections or raise it"
        ))),
        maximum => {
            let raised = Rlimit { current: Some(needed), maximum };
            setrlimit(Resource::Nofile, raised).map_err(|error| {
                let error = io::Error::from(error);
                io::Error::new(
                    error.kind(),
                    format!(
                        "{sockets} sockets need about {needed} file descriptors, the limit is \
                         {current} (ulimit -n), and raising it failed: {error}"
                    ),
                )
            })?;
            log::info!("raised the limit on open files from {current} to {needed}");
            Ok(())
        }
    }
}

/// Whether an error means that no more files can be open.
pub(crate) fn is_reached(error: &io::Error) -> bool {
    let full = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| full.contains(&code))
}

/// Adds the limit's value to such an error.
pub(crate) fn explain(error: io::Error) -> io::Error {
    if !is_reached(&error) {
        return error;
    }
    let limit =
        getrlimit(Resource::Nofile).current.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    io::Error::new(error.kind(), format!("{error}; the limit on file descriptors is {limit} (ulimit -n)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sockets_always_fit() {
        assert!(reserve_sockets(1).is_ok());
    }

    #[test]
    fn names_the_limit_when_it_is_too_low() {
        let Some(maximum) = getrlimit(Resource::Nofile).maximum else {
            return;
        };
        let error = reserve_sockets(maximum).expect_err("more than the hard limit");
        assert!(error.to_string().contains(&maximum.to_string()), "{error}");
    }

    #[test]
    fn explains_only_the_limit() {
        let full = io::Error::from(Errno::MFILE);
        assert!(explain(full).to_string().contains("ulimit -n"));
        let other = io::Error::from(Errno::CONNREFUSED);
        assert!(!explain(other).to_string().contains("ulimit"));
    }
}
