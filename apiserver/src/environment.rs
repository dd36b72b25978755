//! Where time and randomness come from: an argument, so that tests and simulations can hold both still.

use std::fmt;

use jiff::Timestamp;

/// Time and randomness.
pub trait Environment: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Fills the bytes with randomness.
    fn fill_random(&self, bytes: &mut [u8]);
}

/// The system's clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        rand::Rng::fill(&mut rand::rng(), bytes);
    }
}

impl fmt::Debug for dyn Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// A new UUID of version 4.
#[must_use]
pub fn new_uid(environment: &dyn Environment) -> String {
    let mut bytes = [0; 16];
    environment.fill_random(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Five characters that make a generated name unique: consonants and digits that spell no words.
#[must_use]
pub fn name_suffix(environment: &dyn Environment) -> String {
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut suffix = String::with_capacity(5);
    while suffix.len() < 5 {
        let mut bytes = [0; 16];
        environment.fill_random(&mut bytes);
        // Bytes from 243 on would make the first letters likelier than the others.
        let fair = bytes.iter().filter(|byte| **byte < 243);
        suffix.extend(fair.map(|byte| char::from(ALPHABET[usize::from(*byte) % 27])).take(5 - suffix.len()));
    }
    suffix
}

/// A time as objects carry it: RFC 3339, whole seconds, UTC.
#[must_use]
pub fn time(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time as `MicroTime` fields carry it: RFC 3339, six decimals, UTC.
#[must_use]
pub fn micro_time(timestamp: Timestamp) -> String {
    timestamp.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
