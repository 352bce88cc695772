//! TLS as oslo.messaging has it: the chain is always checked, the host's name only with a CA file and a single host.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::RabbitError;
use super::options::RabbitOptions;

/// The client's side of TLS; `host_count` is how many hosts the URL names.
pub(super) fn client_config(options: &RabbitOptions, host_count: usize) -> Result<ClientConfig, RabbitError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = match &options.ssl_ca_file {
        Some(file) => file_roots(file)?,
        None => system_roots()?,
    };
    let checks_name = options.ssl_enforce_hostname_verification && options.ssl_ca_file.is_some() && host_count == 1;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| tls_error("the trusted certificates", error))?;
    let verifier: Arc<dyn ServerCertVerifier> = match checks_name {
        true => verifier,
        false => Arc::new(AnyName { chain: verifier }),
    };
    build(options, provider, verifier)
}

fn build(
    options: &RabbitOptions,
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<ClientConfig, RabbitError> {
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| tls_error("the protocol versions", error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&options.ssl_cert_file, &options.ssl_key_file) {
        (Some(certificates), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| file_error(key, error))?;
            let chain = read_certificates(certificates)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| file_error(certificates, error))
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, RabbitError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    read.map_err(|error| file_error(file, error))
}

fn file_roots(file: &Path) -> Result<RootCertStore, RabbitError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots.add(certificate).map_err(|error| file_error(file, error))?;
    }
    Ok(roots)
}

/// Some of the system's certificates may be of kinds that nobody uses; those are left out.
fn system_roots() -> Result<RootCertStore, RabbitError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        let missing = std::io::Error::new(std::io::ErrorKind::NotFound, "the system has no trusted certificates");
        return Err(tls_error("the system's certificates", missing));
    }
    Ok(roots)
}

fn file_error(file: &Path, source: impl std::error::Error + Send + Sync + 'static) -> RabbitError {
    tls_error(&file.display().to_string(), source)
}

fn tls_error(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> RabbitError {
    RabbitError::Tls { what: what.to_owned(), source: Box::new(source) }
}

/// Checks the chain, and takes any name: rustls looks at the name last, so that a wrong name means a good chain.
struct AnyName {
    chain: Arc<WebPkiServerVerifier>,
}

impl fmt::Debug for AnyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyName").finish_non_exhaustive()
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
