//! Primitive values of the format: numbers, bytes, addresses and errors.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::digest::Digest;
use super::entry::{Failure, Number};
use crate::driver::Token;
use crate::{Address, Credentials, Endpoint, Peer};

/// Bytes that are no value of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The kinds of errors by their numbers in the format.
const KINDS: [ErrorKind; 27] = [
    ErrorKind::Other,
    ErrorKind::NotFound,
    ErrorKind::PermissionDenied,
    ErrorKind::ConnectionRefused,
    ErrorKind::ConnectionReset,
    ErrorKind::HostUnreachable,
    ErrorKind::NetworkUnreachable,
    ErrorKind::ConnectionAborted,
    ErrorKind::NotConnected,
    ErrorKind::AddrInUse,
    ErrorKind::AddrNotAvailable,
    ErrorKind::NetworkDown,
    ErrorKind::BrokenPipe,
    ErrorKind::AlreadyExists,
    ErrorKind::WouldBlock,
    ErrorKind::InvalidInput,
    ErrorKind::InvalidData,
    ErrorKind::TimedOut,
    ErrorKind::WriteZero,
    ErrorKind::StorageFull,
    ErrorKind::ResourceBusy,
    ErrorKind::Interrupted,
    ErrorKind::Unsupported,
    ErrorKind::UnexpectedEof,
    ErrorKind::OutOfMemory,
    ErrorKind::IsADirectory,
    ErrorKind::ArgumentListTooLong,
];

/// A time as a number: its nanoseconds and one; 0 for none.
#[inline]
pub(super) fn time_bits(time: Option<Duration>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_add(1))
}

/// The time of such a number.
pub(super) fn time_of_bits(bits: u64) -> Option<Duration> {
    bits.checked_sub(1).map(Duration::from_nanos)
}

/// Values at the end of some bytes.
pub(super) trait Write {
    /// A byte.
    fn put(&mut self, byte: u8);
    /// Bytes, without their number.
    fn put_raw(&mut self, bytes: &[u8]);

    /// A number, seven bits a byte, the lowest first (LEB128).
    #[inline]
    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            #[allow(clippy::cast_possible_truncation, reason = "the low bits are meant")]
            self.put(number as u8 | 0x80);
            number >>= 7;
        }
        #[allow(clippy::cast_possible_truncation, reason = "it is less than 128")]
        self.put(number as u8);
    }

    fn put_flag(&mut self, flag: bool) {
        self.put(u8::from(flag));
    }

    /// Bytes behind their number.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_number(bytes.len() as u64);
        self.put_raw(bytes);
    }

    fn put_digest(&mut self, digest: Digest) {
        self.put_number(digest.len);
        self.put_raw(&digest.hash.to_le_bytes());
    }

    /// The slot and the generation, which are small for the most part.
    fn put_token(&mut self, token: Token) {
        self.put_number(token.to_bits() & u64::from(u32::MAX));
        self.put_number(token.to_bits() >> 32);
    }

    fn put_time(&mut self, time: Option<Duration>) {
        self.put_number(time_bits(time));
    }

    fn put_failure(&mut self, failure: &Failure) {
        if let Some(code) = failure.code {
            self.put(0);
            self.put_number(u64::from(code.cast_unsigned()));
        } else {
            let kind = KINDS.iter().position(|kind| *kind == failure.kind).unwrap_or(0);
            self.put_number(kind as u64 + 1);
            self.put_bytes(failure.message.as_bytes());
        }
    }

    fn put_inet(&mut self, address: SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => self.put_bytes(&ip.octets()),
            IpAddr::V6(ip) => self.put_bytes(&ip.octets()),
        }
        self.put_number(address.port().into());
        if let SocketAddr::V6(address) = address {
            self.put_number(address.flowinfo().into());
            self.put_number(address.scope_id().into());
        }
    }

    fn put_path(&mut self, path: &Path) {
        self.put_bytes(path.as_os_str().as_bytes());
    }

    fn put_endpoint(&mut self, at: &Endpoint) {
        match at {
            Endpoint::Tcp(address) => {
                self.put(0);
                self.put_inet(*address);
            }
            Endpoint::Udp(address) => {
                self.put(1);
                self.put_inet(*address);
            }
            Endpoint::Unix(path) => {
                self.put(2);
                self.put_path(path);
            }
            Endpoint::UnixDatagram(path) => {
                self.put(3);
                self.put_path(path);
            }
        }
    }

    fn put_peer(&mut self, peer: &Peer) {
        match &peer.address {
            Address::Inet(address) => {
                self.put(0);
                self.put_inet(*address);
            }
            Address::Unix(path) => {
                self.put(1);
                self.put_path(path);
            }
            Address::Abstract(name) => {
                self.put(2);
                self.put_bytes(name);
            }
            Address::Unnamed => self.put(3),
            Address::Pipe => self.put(4),
        }
        self.put_flag(peer.credentials.is_some());
        if let Some(Credentials { pid, uid, gid }) = peer.credentials {
            self.put_number(pid.map_or(0, |pid| u64::from(pid) + 1));
            self.put_number(uid.into());
            self.put_number(gid.into());
        }
        self.put_flag(peer.asked.is_some());
        if let Some(asked) = peer.asked {
            self.put_inet(asked);
        }
    }
}

impl Write for Vec<u8> {
    #[inline]
    fn put(&mut self, byte: u8) {
        self.push(byte);
    }

    #[inline]
    fn put_raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// A place in some bytes, from which values are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(super) fn raw(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (raw, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(raw)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.raw(N)?.try_into().map_err(|_| Malformed)
    }

    /// A number of a fixed width, the lowest byte first.
    pub(super) fn fixed_u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// The same of twice the width.
    pub(super) fn fixed_u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    /// A number that fits.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Malformed> {
        T::try_from(self.number()?).map_err(|_| Malformed)
    }

    pub(super) fn object(&mut self) -> Result<Number, Malformed> {
        self.number().map(Number)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.small()?;
        self.raw(len)
    }

    pub(super) fn digest(&mut self) -> Result<Digest, Malformed> {
        Ok(Digest { len: self.number()?, hash: self.fixed_u64()? })
    }

    pub(super) fn token(&mut self) -> Result<Token, Malformed> {
        let (low, high): (u32, u32) = (self.small()?, self.small()?);
        Ok(Token::from_bits(u64::from(low) | u64::from(high) << 32))
    }

    pub(super) fn time(&mut self) -> Result<Option<Duration>, Malformed> {
        self.number().map(time_of_bits)
    }

    pub(super) fn failure(&mut self) -> Result<Failure, Malformed> {
        let Some(kind) = self.number()?.checked_sub(1) else {
            let code = self.small::<u32>()?.cast_signed();
            let kind = std::io::Error::from_raw_os_error(code).kind();
            return Ok(Failure { code: Some(code), kind, message: String::new() });
        };
        let kind = usize::try_from(kind).ok().and_then(|kind| KINDS.get(kind).copied()).ok_or(Malformed)?;
        let message = String::from_utf8(self.bytes()?.to_vec()).map_err(|_| Malformed)?;
        Ok(Failure { code: None, kind, message })
    }

    fn inet(&mut self) -> Result<SocketAddr, Malformed> {
        let ip = self.bytes()?;
        let port = self.small()?;
        if let Ok(ip) = <[u8; 4]>::try_from(ip) {
            return Ok(SocketAddr::new(ip.into(), port));
        }
        let ip = <[u8; 16]>::try_from(ip).map_err(|_| Malformed)?;
        Ok(SocketAddrV6::new(ip.into(), port, self.small()?, self.small()?).into())
    }

    fn path(&mut self) -> Result<PathBuf, Malformed> {
        Ok(OsStr::from_bytes(self.bytes()?).into())
    }

    pub(super) fn endpoint(&mut self) -> Result<Endpoint, Malformed> {
        Ok(match self.byte()? {
            0 => Endpoint::Tcp(self.inet()?),
            1 => Endpoint::Udp(self.inet()?),
            2 => Endpoint::Unix(self.path()?),
            3 => Endpoint::UnixDatagram(self.path()?),
            _ => return Err(Malformed),
        })
    }

    pub(super) fn peer(&mut self) -> Result<Peer, Malformed> {
        let mut peer = Peer::pipe();
        peer.address = match self.byte()? {
            0 => Address::Inet(self.inet()?),
            1 => Address::Unix(self.path()?),
            2 => Address::Abstract(self.bytes()?.to_vec()),
            3 => Address::Unnamed,
            4 => Address::Pipe,
            _ => return Err(Malformed),
        };
        if self.flag()? {
            let pid = self.number()?.checked_sub(1).map(u32::try_from).transpose().map_err(|_| Malformed)?;
            peer.credentials = Some(Credentials { pid, uid: self.small()?, gid: self.small()? });
        }
        if self.flag()? {
            peer.asked = Some(self.inet()?);
        }
        Ok(peer)
    }
}
