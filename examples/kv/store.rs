//! `Store`: keys and their values, with expiry and a bound on their bytes.

use std::collections::{BTreeSet, HashMap};

use serve_forever::bytes::Bytes;

/// The bytes that an entry takes beside its key and its value, as an estimate.
const OVERHEAD: usize = 128;
/// The length from which a value is shared with the output and not copied.
const LARGE: usize = 16 << 10;
/// The most entries that [`Store::expire`] removes at once.
const EXPIRED_AT_ONCE: usize = 1000;

/// Keys and their values. Time is in milliseconds since 1970.
#[derive(Debug)]
pub(crate) struct Store {
    entries: HashMap<Bytes, Entry>,
    /// When, and which; in the order in which they expire.
    expiries: BTreeSet<(u64, Bytes)>,
    used: usize,
    max_memory: usize,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    expires: Option<u64>,
}

/// A value; its room is used again when it is set again.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Short(Vec<u8>),
    Long(Bytes),
}

/// The store has no room for this.
#[derive(Debug)]
pub(crate) struct OutOfMemory;

/// What becomes of a key's time to live when it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    Never,
    Keep,
    At(u64),
}

impl Value {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(value) => value,
            Self::Long(value) => value,
        }
    }

    fn set(&mut self, data: &[u8]) {
        match self {
            Self::Short(value) if data.len() < LARGE && value.capacity() <= 2 * LARGE => {
                value.clear();
                value.extend_from_slice(data);
            }
            value => *value = Self::of(data),
        }
    }

    fn of(data: &[u8]) -> Self {
        if data.len() < LARGE { Self::Short(data.to_vec()) } else { Self::Long(Bytes::copy_from_slice(data)) }
    }
}

impl Store {
    pub(crate) fn new(max_memory: usize) -> Self {
        Self { entries: HashMap::new(), expiries: BTreeSet::new(), used: 0, max_memory }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The number of keys that will expire.
    pub(crate) fn expiring(&self) -> usize {
        self.expiries.len()
    }

    /// The bytes that are used, as an estimate.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    pub(crate) const fn max_memory(&self) -> usize {
        self.max_memory
    }

    /// The value of a key that has not expired. [`expire`](Self::expire) removes those
    /// that have.
    pub(crate) fn get(&self, key: &[u8], now: u64) -> Option<&Value> {
        self.entry(key, now).map(|entry| &entry.value)
    }

    fn entry(&self, key: &[u8], now: u64) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.expires.is_none_or(|at| at > now))
    }

    /// Sets a value.
    ///
    /// # Errors
    ///
    /// There is no room for it.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        data: &[u8],
        expiry: Expiry,
        now: u64,
    ) -> Result<(), OutOfMemory> {
        if let Expiry::At(at) = expiry
            && at <= now
        {
            self.remove(key);
            return Ok(());
        }
        match self.entries.get_mut(key) {
            Some(entry) => {
                let old = entry.value.bytes().len();
                if data.len() > old && self.used + data.len() - old > self.max_memory {
                    return Err(OutOfMemory);
                }
                self.used = self.used + data.len() - old;
                entry.value.set(data);
                if entry.expires.is_none() && expiry == Expiry::Never {
                    return Ok(());
                }
            }
            None => {
                let size = key.len() + data.len() + OVERHEAD;
                if self.used + size > self.max_memory {
                    return Err(OutOfMemory);
                }
                self.used += size;
                let entry = Entry { value: Value::of(data), expires: None };
                self.entries.insert(Bytes::copy_from_slice(key), entry);
            }
        }
        match expiry {
            Expiry::Keep => {}
            Expiry::Never => _ = self.persist(key),
            Expiry::At(at) => {
                self.persist(key);
                self.expire_at(key, at, now);
            }
        }
        Ok(())
    }

    /// Removes a key; true if it was there and had not expired.
    pub(crate) fn delete(&mut self, key: &[u8], now: u64) -> bool {
        let was_there = self.get(key, now).is_some();
        self.remove(key);
        was_there
    }

    fn remove(&mut self, key: &[u8]) {
        let Some((key, entry)) = self.entries.remove_entry(key) else { return };
        self.used -= key.len() + entry.value.bytes().len() + OVERHEAD;
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, key));
        }
    }

    /// When a key expires: `None` if it is not there, `Some(None)` if it never does.
    pub(crate) fn expiry(&self, key: &[u8], now: u64) -> Option<Option<u64>> {
        self.entry(key, now).map(|entry| entry.expires)
    }

    /// Sets when a key expires; false if there is none. A time that is over removes it.
    pub(crate) fn expire_at(&mut self, key: &[u8], at: u64, now: u64) -> bool {
        if self.get(key, now).is_none() {
            return false;
        }
        if at <= now {
            self.remove(key);
            return true;
        }
        self.persist(key);
        let Some((key, _)) = self.entries.get_key_value(key) else { return false };
        let key = key.clone();
        self.expiries.insert((at, key.clone()));
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.expires = Some(at);
        }
        true
    }

    /// Lets a key live for ever; true if it had an expiry.
    pub(crate) fn persist(&mut self, key: &[u8]) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        let Some(at) = entry.expires.take() else { return false };
        // The index has the key of the table, not that of the caller.
        let key = self.entries.get_key_value(key).map(|(key, _)| key.clone()).unwrap_or_default();
        self.expiries.remove(&(at, key));
        true
    }

    /// Removes what has expired; not all of it if that is much, for others wait.
    pub(crate) fn expire(&mut self, now: u64) {
        for _ in 0..EXPIRED_AT_ONCE {
            let Some((at, key)) = self.expiries.first() else { return };
            if *at > now {
                return;
            }
            let key = key.clone();
            self.remove(&key);
        }
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self) {
        *self = Self::new(self.max_memory);
    }
}
