//! Administrator passwords.

use crate::compute::ComputeError;

/// Nova's symbol groups: nothing that looks like something else.
const GROUPS: [&[u8]; 3] = [b"23456789", b"ABCDEFGHJKLMNPQRSTUVWXYZ", b"abcdefghijkmnopqrstuvwxyz"];

/// A password of `length` characters, with one of every group where there is room.
pub(crate) fn generate(length: usize) -> Result<String, ComputeError> {
    let mut password: Vec<u8> = Vec::with_capacity(length);
    for group in GROUPS.iter().take(length) {
        password.push(pick(group)?);
    }
    let all: Vec<u8> = GROUPS.concat();
    while password.len() < length {
        password.push(pick(&all)?);
    }
    for at in (1..password.len()).rev() {
        password.swap(at, below(at + 1)?);
    }
    Ok(password.into_iter().map(char::from).collect())
}

/// One of them.
pub(super) fn pick(symbols: &[u8]) -> Result<u8, ComputeError> {
    Ok(symbols[below(symbols.len())?])
}

/// A random number below `limit`, every one as likely as the next.
fn below(limit: usize) -> Result<usize, ComputeError> {
    let limit = u32::try_from(limit).unwrap_or(u32::MAX).max(1);
    let fair = u32::MAX - u32::MAX % limit;
    loop {
        let number = getrandom::u32().map_err(|error| ComputeError::Internal(format!("no random numbers: {error}")))?;
        if number < fair {
            return Ok((number % limit) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_has_its_length_and_something_of_every_group() {
        for length in [0, 1, 3, 12, 64] {
            let password = generate(length).unwrap();
            assert_eq!(password.len(), length);
            if length >= 3 {
                for group in GROUPS {
                    assert!(password.bytes().any(|byte| group.contains(&byte)), "{password}");
                }
            }
        }
        assert_ne!(generate(12).unwrap(), generate(12).unwrap());
    }
}
