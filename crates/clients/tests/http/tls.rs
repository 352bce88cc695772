//! HTTPS: whose certificates are believed, and the client's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use kilonova_clients::ClientError;
use kilonova_clients::http::{HttpPlacement, Sessions, install_tls_provider};
use kilonova_clients::placement::Placement as _;
use kilonova_core::RequestContext;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use uuid::Uuid;

use crate::server::{Seen, Server, reply};

struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::default()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// TLS on top of TCP; who does not get through the handshake is forgotten.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A server at `https://localhost` with a certificate for `name`; `clients`: whose certificates it wants to see.
async fn start(authority: &Authority, name: &str, clients: Option<&Authority>) -> Server {
    install_tls_provider();
    let (certificate, key) = authority.issue(name);
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let builder = ServerConfig::builder();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.certificate.der().clone()).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap())
        }
    };
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let answer = async |seen: Seen| match seen.what.starts_with("GET /placement") {
        true => reply(200, json!({"allocations": {}})),
        false => None,
    };
    Server::serve(listener, url, answer)
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

async fn ask(server: &Server, options: &str) -> Result<(), ClientError> {
    let options = [("placement", options), ("placement", "connect_retries = 0")];
    let placement = HttpPlacement::from_config(&server.config(&options), &mut Sessions::default()).unwrap();
    placement.allocations(&RequestContext::admin(), Uuid::nil()).await.map(drop)
}

/// Why there was no connection.
fn refused(result: Result<(), ClientError>) -> String {
    match result {
        Err(ClientError::Unavailable { service: "identity", reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_of_the_operators_own_authority_is_believed_where_it_is_named() {
    let (authority, files) = (Authority::new(), Files::new());
    let server = start(&authority, "localhost", None).await;
    let cafile = format!("cafile = {}", files.write("ca.pem", &authority.certificate.pem()).display());
    assert_eq!(ask(&server, &cafile).await, Ok(()));
    let unknown = refused(ask(&server, "").await);
    assert!(unknown.starts_with("no connection (localhost:") && unknown.contains("UnknownIssuer"), "{unknown}");
    let other = format!("cafile = {}", files.write("other.pem", &Authority::new().certificate.pem()).display());
    let reason = refused(ask(&server, &other).await);
    assert!(reason.contains("invalid peer certificate"), "{reason}");
    assert_eq!(ask(&server, "insecure = true").await, Ok(()));
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let (authority, files) = (Authority::new(), Files::new());
    let server = start(&authority, "elsewhere.example", None).await;
    let cafile = format!("cafile = {}", files.write("ca.pem", &authority.certificate.pem()).display());
    let reason = refused(ask(&server, &cafile).await);
    assert!(reason.contains("not valid for name"), "{reason}");
    assert_eq!(server.seen().len(), 0);
}

#[tokio::test]
async fn the_clients_own_certificate_is_shown() {
    let (authority, clients, files) = (Authority::new(), Authority::new(), Files::new());
    let server = start(&authority, "localhost", Some(&clients)).await;
    let (certificate, key) = clients.issue("nova");
    let cafile = format!("cafile = {}", files.write("ca.pem", &authority.certificate.pem()).display());
    let certfile = format!("certfile = {}", files.write("nova.pem", &certificate.pem()).display());
    let keyfile = format!("keyfile = {}", files.write("nova.key", &key.serialize_pem()).display());
    assert_eq!(ask(&server, &format!("{cafile}\n{certfile}\n{keyfile}")).await, Ok(()));
    refused(ask(&server, &cafile).await);
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let (files, server) = (Files::new(), Server::start(async |_| None).await);
    let empty = files.write("empty.pem", "").display().to_string();
    let of = |options: &str| {
        let config = server.config(&[("placement", options)]);
        HttpPlacement::from_config(&config, &mut Sessions::default()).err().unwrap().to_string()
    };
    assert_eq!(of(&format!("cafile = {empty}")), format!("[placement] cafile: {empty} holds no PEM certificates"));
    assert!(of("cafile = /nowhere").starts_with("[placement] cafile: cannot read /nowhere: "));
    let certfile = of(&format!("certfile = {empty}"));
    assert_eq!(certfile, "[placement] certfile: does not hold a certificate with its key");
    assert_eq!(of("keyfile = /nowhere"), "[placement] certfile: is required where there is a keyfile");
}
