//! `Echo`, `Upper`, `Once`: the services of the library that answer each client for
//! itself.

use super::{Subject, check_mapped, noise};
use crate::driver::sim::{ClientId, Network, Rng};
use crate::sim::log::Life;
use crate::{Limits, services};

/// [`services::Echo`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Subject for Echo {
    type Handler = services::Echo;

    fn handler(&self) -> services::Echo {
        services::Echo::new()
    }

    fn limits(&self) -> Limits {
        services::Echo::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        noise(rng, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        check_mapped(net, client, life, whole, |byte| byte)
    }
}

/// [`services::Upper`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Upper;

impl Subject for Upper {
    type Handler = services::Upper;

    fn handler(&self) -> services::Upper {
        services::Upper::new()
    }

    fn limits(&self) -> Limits {
        services::Upper::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        noise(rng, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        check_mapped(net, client, life, whole, |byte| byte.to_ascii_uppercase())
    }
}

/// [`services::Once`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Once;

impl Subject for Once {
    type Handler = services::Once;

    fn handler(&self) -> services::Once {
        services::Once::new("the answer")
    }

    fn limits(&self) -> Limits {
        services::Once::limits()
    }

    fn stream(&self, rng: &mut Rng, _: usize, len: usize) -> Vec<u8> {
        let mut bytes = noise(rng, len);
        if rng.below(4) == 0 {
            bytes.retain(|byte| *byte != b'\n'); // answered at its end alone
        }
        bytes
    }

    fn check(&self, net: &Network, client: ClientId, _: Option<&Life>, whole: bool) -> Result<(), String> {
        let answer: &[u8] = b"the answer\n";
        let seen = net.client(client);
        if !answer.starts_with(seen.received()) {
            return Err(format!("client {client} received something else than the answer"));
        }
        let expected = if seen.sent().is_empty() { 0 } else { answer.len() };
        if whole && seen.received().len() != expected {
            return Err(format!("client {client} received {} bytes, not {expected}", seen.received().len()));
        }
        Ok(())
    }
}
