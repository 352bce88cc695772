//! Key pairs: made here, or imported.

use chrono::Utc;
use kilonova_core::RequestContext;
use kilonova_db::{DbError, keypairs};
use kilonova_objects::KeyPair;
use md5::{Digest as _, Md5};
use ssh_key::public::KeyData;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, LineEnding, PrivateKey, PublicKey};

use super::{ComputeError, quota, x509};
use crate::state::ApiState;

/// The type of keys for SSH.
pub(crate) const SSH: &str = "ssh";
/// The type of certificates for Windows.
const X509: &str = "x509";
/// What generated keys say at their end.
const COMMENT: &str = "Generated-by-Nova";

/// Stores a public key.
pub(crate) async fn import(
    state: &ApiState,
    context: &RequestContext,
    user_id: &str,
    name: &str,
    key_type: &str,
    public_key: &str,
) -> Result<KeyPair, ComputeError> {
    check_quota(state, context, user_id).await?;
    let fingerprint = if key_type == X509 { x509::fingerprint(public_key)? } else { fingerprint(public_key)? };
    store(state, context, user_id, name, (key_type, public_key.to_owned(), fingerprint)).await
}

/// Makes a key pair; the private half is returned and forgotten.
pub(crate) async fn generate(
    state: &ApiState,
    context: &RequestContext,
    user_id: &str,
    name: &str,
    key_type: &str,
) -> Result<(KeyPair, String), ComputeError> {
    check_quota(state, context, user_id).await?;
    let (private_key, public_key, fingerprint) = if key_type == X509 {
        let (private_key, certificate) = x509::generate(user_id, Utc::now())?;
        let fingerprint = x509::fingerprint(&certificate)?;
        (private_key, certificate, fingerprint)
    } else {
        let (private_key, public_key) = ed25519().map_err(|error| invalid(&error.to_string()))?;
        let fingerprint = fingerprint(&public_key)?;
        (private_key, public_key, fingerprint)
    };
    let keypair = store(state, context, user_id, name, (key_type, public_key, fingerprint)).await?;
    Ok((keypair, private_key))
}

/// Forgets a key pair. Servers keep their copy.
pub(crate) async fn delete(state: &ApiState, user_id: &str, name: &str) -> Result<(), ComputeError> {
    keypairs::delete(&state.db, user_id, name).await.map_err(|error| not_found(error, user_id, name))
}

/// One key pair.
pub(crate) async fn get(state: &ApiState, user_id: &str, name: &str) -> Result<KeyPair, ComputeError> {
    keypairs::get(&state.db, user_id, name).await.map_err(|error| not_found(error, user_id, name))
}

fn not_found(error: DbError, user_id: &str, name: &str) -> ComputeError {
    match error {
        DbError::NotFound { .. } => {
            ComputeError::KeypairNotFound { name: name.to_owned(), user_id: user_id.to_owned() }
        }
        other => other.into(),
    }
}

fn invalid(reason: &str) -> ComputeError {
    ComputeError::InvalidKeypair { reason: reason.to_owned() }
}

/// How many key pairs a user may have; below 0 is without limit.
async fn limit(state: &ApiState, context: &RequestContext) -> Result<i64, ComputeError> {
    Ok(quota::of_caller(state, context).await?.get("key_pairs"))
}

async fn check_quota(state: &ApiState, context: &RequestContext, user_id: &str) -> Result<(), ComputeError> {
    let limit = limit(state, context).await?;
    let full = limit >= 0 && keypairs::count(&state.db, user_id).await? >= limit;
    if full { Err(ComputeError::KeypairLimitExceeded) } else { Ok(()) }
}

/// The quota is looked at again afterwards: of several that came at the same time, the later ones go.
async fn store(
    state: &ApiState,
    context: &RequestContext,
    user_id: &str,
    name: &str,
    (key_type, public_key, fingerprint): (&str, String, String),
) -> Result<KeyPair, ComputeError> {
    let keypair = KeyPair {
        name: name.to_owned(),
        user_id: Some(user_id.to_owned()),
        fingerprint: Some(fingerprint),
        public_key: Some(public_key),
        r#type: key_type.to_owned(),
        ..KeyPair::default()
    };
    let stored = keypairs::create(&state.db, &keypair).await.map_err(|error| match error {
        DbError::Exists { .. } => ComputeError::KeyPairExists { name: name.to_owned() },
        other => other.into(),
    })?;
    let all = keypairs::list(&state.db, user_id, None, None).await?;
    let place = all.iter().filter(|other| other.id <= stored.id).count();
    let limit = limit(state, context).await?;
    if usize::try_from(limit).is_ok_and(|limit| place > limit) {
        delete(state, user_id, name).await?;
        return Err(ComputeError::KeypairLimitExceeded);
    }
    Ok(stored)
}

/// A private and a public key in OpenSSH's formats. Takes some tens of microseconds: no reason to leave the task.
fn ed25519() -> Result<(String, String), ssh_key::Error> {
    let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519)?;
    key.set_comment(COMMENT);
    Ok((key.to_openssh(LineEnding::LF)?.to_string(), key.public_key().to_openssh()?))
}

/// MD5 of the key, as `aa:bb:…`. Whatever is no key that SSH servers take is refused.
fn fingerprint(public_key: &str) -> Result<String, ComputeError> {
    let refused = || invalid("failed to generate fingerprint");
    let key = PublicKey::from_openssh(public_key.trim_end()).map_err(|_| refused())?;
    match key.key_data() {
        KeyData::Rsa(_) | KeyData::Ed25519(_) | KeyData::Ecdsa(_) => {}
        KeyData::SkEd25519(_) | KeyData::SkEcdsaSha2NistP256(_) => {}
        _ => return Err(refused()),
    }
    let bytes = key.to_bytes().map_err(|_| refused())?;
    let hex: Vec<String> = Md5::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(hex.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_pair_belongs_together() {
        let (private, public) = ed25519().unwrap();
        assert!(public.starts_with("ssh-ed25519 ") && public.ends_with(" Generated-by-Nova"), "{public}");
        let key = PrivateKey::from_openssh(&private).unwrap();
        assert_eq!(key.public_key().key_data(), PublicKey::from_openssh(&public).unwrap().key_data());
        assert_ne!(ed25519().unwrap().0, private);
    }

    /// Compared with `ssh-keygen -l -E md5`.
    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        for (key, expected) in [
            (
                "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBDPTtZLtFUIaxQ9aw01pOpRTut3cRgI1GZxDEUGU7d8+QwsToVhuunziEv+Upxs2ZKxi0i/iDw9k39WMPJpj4lc= ecdsa@test",
                "1d:5a:47:20:e3:12:4f:6d:0f:2d:ee:70:a1:31:84:ea",
            ),
            (
                "ecdsa-sha2-nistp384 AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBNJ8sQ9WuIZMIPm6lWrN0HUjUdD8ldN+aMmFj3Rsd4fbJ/UQIWtPRy9WyORPBZI57iqT+KoWvOROqapVoomPajN3msBsC74vfwEbzztVNLez+VdUWh3wYzYHz4cxux2mhg== ecdsa@test",
                "eb:ec:0e:12:51:84:b3:1c:fb:83:4d:8c:d4:0d:5d:25",
            ),
            (
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILV18dx1l1krgIirBzNr1cZpHQEyo280LYnkug/GJQZo ed25519@test",
                "1c:47:b7:8b:80:03:24:f7:d0:46:c2:4b:3d:57:70:97",
            ),
            (
                "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCpPGaCh5rWH86GJT+WolqZPr9gBRODSswdQ+Z1z5SHRQhI/soSizQhErJ3hDhhtPMWjG4V6+/SfV852Z2tk/uJxe1BHnLzYL2NJ2bdCusTA2fiNb2A/l1zZXhWP+TyYdqVR+2SoHFzWY3pEoa6KpN64ZbRoqDALIrV7RCojCinYUe7R1TWz9uCrZ7KKKgSaQAGNvZw8usQFKSn5IlzKyJ0lMhk5ey4Ei7iAWiPey0Ouebic+MzghPQ06ii+/V//PTncO0LcHHKpqctviyGdGE6ZWRSzk8kDehyCMpGl1SDSqm1F8sNHfrVCZGceETMP4tFFCekF7BUKfjE3d6poX41 rsa@test",
                "9a:12:8b:21:d0:0f:92:e0:df:47:8e:4c:d3:f3:24:80",
            ),
        ] {
            assert_eq!(fingerprint(key).unwrap(), expected, "{key}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in [
            "",
            "garbage",
            "ssh-rsa",
            "ssh-rsa JUNK nova@localhost",
            "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB",
            "ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== wrong@type",
            "ssh-dss AAAAB3NzaC1kc3MAAACBAA==",
            "-----BEGIN CERTIFICATE-----",
        ] {
            let error = fingerprint(text).unwrap_err();
            assert_eq!(error.to_string(), "Keypair data is invalid: failed to generate fingerprint", "{text}");
        }
    }
}
