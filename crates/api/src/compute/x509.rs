//! Key pairs of type x509: a certificate that a Windows guest lets its user in with, and its private key.

use std::fmt::Display;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Datelike as _, Utc};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKeyChain};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use sha1::{Digest as _, Sha1};

use super::ComputeError;

/// Microsoft's object identifier of a user principal name.
const USER_PRINCIPAL_NAME: [u64; 10] = [1, 3, 6, 1, 4, 1, 311, 20, 2, 3];
/// How long a certificate is good.
const YEARS: i32 = 10;

/// SHA-1 of a certificate in PEM, as `aa:bb:…`. Whatever is none is refused.
pub(super) fn fingerprint(certificate: &str) -> Result<String, ComputeError> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).map_err(|error| refused(&error))?;
    pem.parse_x509().map_err(|error| refused(&error))?;
    let hex: Vec<String> = Sha1::digest(&pem.contents).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(hex.join(":"))
}

fn refused(error: &dyn Display) -> ComputeError {
    let reason = format!("failed to generate X509 fingerprint. Error message: {error}");
    ComputeError::InvalidKeypair { reason }
}

/// A certificate that signs itself, in PEM, from the first of this month on; and the private key with it as PKCS#12
/// without a password, in base64. Takes some ten milliseconds.
pub(super) fn generate(user_id: &str, now: DateTime<Utc>) -> Result<(String, String), ComputeError> {
    let failed = |error: &dyn Display| ComputeError::Internal(format!("no certificate can be made: {error}"));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, user_id);
    let name = format!("{user_id}@localhost");
    params.subject_alt_names = vec![SanType::OtherName((USER_PRINCIPAL_NAME.to_vec(), name.into()))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // Every month has a first.
    let month = u8::try_from(now.month()).map_err(|error| failed(&error))?;
    params.not_before = date_time_ymd(now.year(), month, 1);
    params.not_after = date_time_ymd(now.year() + YEARS, month, 1);
    let key = KeyPair::generate().map_err(|error| failed(&error))?;
    let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
    let mut store = KeyStore::new();
    let whole = Certificate::from_der(certificate.der()).map_err(|error| failed(&error))?;
    let id = Sha1::digest(certificate.der());
    let chain = PrivateKeyChain::new(key.serialize_der(), id, [whole]);
    store.add_entry("", KeyStoreEntry::PrivateKeyChain(chain));
    let private_key = store.writer("").write().map_err(|error| failed(&error))?;
    Ok((BASE64_STANDARD.encode(private_key), certificate.pem()))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

    use super::*;

    #[test]
    fn a_generated_certificate_is_for_its_user_and_belongs_to_its_key() {
        let now = "2028-02-29T12:00:00Z".parse().unwrap();
        let (private_key, certificate) = generate("user-1", now).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(certificate.as_bytes()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&pem.contents).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=user-1");
        assert!(parsed.extended_key_usage().unwrap().unwrap().value.client_auth);
        let names = parsed.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        });
        let GeneralName::OtherName(oid, value) = &names.unwrap()[0] else { panic!("{names:?}") };
        assert_eq!(oid.to_id_string(), "1.3.6.1.4.1.311.20.2.3");
        assert!(String::from_utf8_lossy(value).contains("user-1@localhost"));
        let validity = parsed.validity();
        assert_eq!(validity.not_before.to_datetime().year(), 2028);
        assert_eq!(validity.not_after.to_datetime().year(), 2038);

        let store = KeyStore::from_pkcs12(&BASE64_STANDARD.decode(private_key).unwrap(), "").unwrap();
        let (_, chain) = store.private_key_chain().unwrap();
        assert_eq!(chain.chain()[0].as_der(), pem.contents);
        let key = KeyPair::try_from(chain.key()).unwrap();
        assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        for text in ["", "ssh-rsa AAAA", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", key] {
            let error = fingerprint(text).unwrap_err().to_string();
            assert!(error.starts_with("Keypair data is invalid: failed to generate X509 fingerprint."), "{error}");
        }
    }
}
