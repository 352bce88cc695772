//! Passwords: argon2id, never more than two at a time.
//!
//! The hash takes 19 MiB for some 20 ms. Few at a time bounds both what a flood of logins costs and what it takes from
//! the rest of the process.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, Version};
use tokio::sync::{Semaphore, oneshot};

use super::IdentityError;

const MEMORY_KIB: u32 = 19 * 1024;
const ITERATIONS: u32 = 2;
const LANES: u32 = 1;
const HASH_LENGTH: usize = 32;
const AT_A_TIME: usize = 2;
/// How long a login waits for its turn before it is turned away.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Keystone's `max_password_length`, in bytes.
pub(crate) const MAX_PASSWORD_LENGTH: usize = 4096;

/// The work of one hash, in 1 KiB blocks.
const BLOCKS: usize = MEMORY_KIB as usize;
/// Holds those blocks. A thread's stack goes back to the system when the thread ends; an allocator may keep 19 MiB for
/// later, and an idle process would stay that much larger. Pages that are not touched cost nothing.
const STACK_SIZE: usize = 64 * 1024 * 1024;

pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_A_TIME)) }
    }
}

impl Passwords {
    /// The PHC string to store for a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, IdentityError> {
        self.run(move || hash(&password)).await
    }

    /// Whether `password` is the one behind `stored`. Without a stored hash it is not, after the same time.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, IdentityError> {
        self.run(move || match stored {
            Some(stored) => verify(&password, &stored),
            None => hash(&password).map(|_| false),
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, IdentityError> + Send + 'static,
    ) -> Result<T, IdentityError> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| IdentityError::Busy)?.map_err(|_| IdentityError::Busy)?;
        let (done, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name("argon2".to_owned()).stack_size(STACK_SIZE);
        let started = thread.spawn(move || {
            // Held here and not by the caller: who hangs up does not make room for another hash.
            let _turn = turn;
            let _ = done.send(work());
        });
        started.map_err(failed)?;
        result.await.map_err(failed)?
    }
}

fn hash(password: &str) -> Result<String, IdentityError> {
    let params = Params::new(MEMORY_KIB, ITERATIONS, LANES, Some(HASH_LENGTH)).map_err(failed)?;
    let salt = Salt::generate();
    let output = derive(password, &salt, &params)?;
    let hash = PasswordHash {
        algorithm: ARGON2ID_IDENT,
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(failed)?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(hash.to_string())
}

fn verify(password: &str, stored: &str) -> Result<bool, IdentityError> {
    let stored = PasswordHash::new(stored).map_err(failed)?;
    let params = Params::try_from(&stored).map_err(failed)?;
    let (Some(salt), Some(hash)) = (&stored.salt, &stored.hash) else {
        return Err(IdentityError::Hash("a stored hash has no salt".to_owned()));
    };
    // `Output` compares in constant time.
    Ok(derive(password, salt, &params)? == *hash)
}

fn derive(password: &str, salt: &Salt, params: &Params) -> Result<Output, IdentityError> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let mut output = [0; HASH_LENGTH];
    let mut derive_in =
        |memory: &mut [Block]| argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut output, memory);
    let derived = match params.block_count() {
        // Stored by somebody who takes more.
        blocks if blocks > BLOCKS => derive_in(&mut vec![Block::new(); blocks]),
        blocks => derive_in(&mut [Block::new(); BLOCKS][..blocks]),
    };
    derived.map_err(failed)?;
    Output::new(&output).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Hash(error.to_string())
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier as _;

    use super::*;

    #[tokio::test]
    async fn a_hash_verifies_its_password_and_no_other() {
        let passwords = Passwords::default();
        let stored = passwords.hash("secret".to_owned()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("secret".to_owned(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("Secret".to_owned(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("secret".to_owned(), None).await.unwrap());
        // The argon2 crate's own verifier agrees.
        assert!(Argon2::default().verify_password(b"secret", &PasswordHash::new(&stored).unwrap()).is_ok());
    }

    #[tokio::test]
    async fn the_same_password_never_has_the_same_hash() {
        let passwords = Passwords::default();
        let (one, other) = tokio::join!(passwords.hash("a".to_owned()), passwords.hash("a".to_owned()));
        assert_ne!(one.unwrap(), other.unwrap());
    }

    #[tokio::test]
    async fn a_stored_hash_that_cannot_be_read_is_an_error_and_not_a_wrong_password() {
        assert!(Passwords::default().verify("a".to_owned(), Some("plain".to_owned())).await.is_err());
    }
}
