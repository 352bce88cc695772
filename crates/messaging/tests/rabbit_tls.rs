//! TLS, and the ways of logging in, against a broker with certificates that are made here.

#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code, reason = "the suite uses the rest")]
mod broker;
#[allow(dead_code, unused_macros, unused_imports, reason = "the suite itself runs elsewhere")]
mod suite;

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use kilonova_messaging::{RabbitError, RabbitOptions, RabbitTransport};
use kilonova_testing::RabbitMq;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;

use broker::{connect, quick};
use suite::{Bus, Log, SOON, context, entry, noting};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Files in a directory that lives as long as the test.
struct Files(tempfile::TempDir);

impl Files {
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A certificate with its key: `NAME.pem` and `NAME.key`.
    fn issue(&self, name: &str, host_names: &[&str], authority: &Authority) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = host_names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, authority).unwrap();
        (
            self.write(&format!("{name}.pem"), &certificate.pem()),
            self.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    }
}

/// A broker with a certificate for `localhost`, which takes client certificates of the same authority, and their common
/// name for a user if the client logs in by EXTERNAL.
struct SecureBroker {
    files: Files,
    ca_file: PathBuf,
    port: u16,
    authority: Authority,
    _broker: RabbitMq,
}

impl SecureBroker {
    fn start() -> Self {
        let files = Files(tempfile::tempdir().unwrap());
        let authority = authority("right");
        let ca_file = files.write("ca.pem", &authority.pem());
        let (certificate, key) = files.issue("broker", &["localhost"], &authority);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let shown = |path: &Path| path.display().to_string();
        let lines = [
            format!("listeners.ssl.1 = 127.0.0.1:{port}"),
            format!("ssl_options.cacertfile = {}", shown(&ca_file)),
            format!("ssl_options.certfile = {}", shown(&certificate)),
            format!("ssl_options.keyfile = {}", shown(&key)),
            "ssl_options.verify = verify_peer".to_owned(),
            "ssl_options.fail_if_no_peer_cert = false".to_owned(),
            "ssl_cert_login_from = common_name".to_owned(),
            "auth_mechanisms.1 = PLAIN".to_owned(),
            "auth_mechanisms.2 = AMQPLAIN".to_owned(),
            "auth_mechanisms.3 = EXTERNAL".to_owned(),
        ];
        let config = format!("{}\n", lines.join("\n"));
        let broker = RabbitMq::start_with(&config, &["rabbitmq_auth_mechanism_ssl"]).unwrap();
        Self { files, ca_file, port, authority, _broker: broker }
    }

    fn url(&self, host: &str) -> String {
        format!("rabbit://guest:guest@{host}:{}/", self.port)
    }

    fn options(&self) -> RabbitOptions {
        RabbitOptions { ssl: true, ssl_ca_file: Some(self.ca_file.clone()), ..quick() }
    }
}

async fn talks(url: &str, options: RabbitOptions) {
    let bus = Bus::new(connect(url, options));
    let _server = bus.serve("h1", vec![noting("h1", &Log::new())]).await;
    assert_eq!(bus.client().prepare().call(&context(), "note", entry(1)).await.unwrap(), json!(["h1", 1]));
    bus.transport.close().await;
}

/// Connects once and is refused, so that nothing is ever subscribed to.
async fn is_refused(url: &str, options: RabbitOptions) {
    let transport = connect(url, options);
    let bus = Bus::new(transport.clone());
    tokio::select! {
        _ = bus.consume(bus.topic_address()) => panic!("{url} was connected to"),
        () = async {
            while transport.metrics().failed_connects.get() == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        } => {}
        () = tokio::time::sleep(SOON) => panic!("{url} neither failed nor worked"),
    }
    bus.transport.close().await;
}

#[tokio::test]
async fn chain_name_and_client_certificate_are_checked_as_oslo_messaging_does() {
    let broker = SecureBroker::start();
    let right = || broker.options();
    talks(&broker.url("localhost"), right()).await;
    // The chain, always.
    let other_ca = broker.files.write("other-ca.pem", &authority("other").pem());
    is_refused(&broker.url("localhost"), RabbitOptions { ssl_ca_file: Some(other_ca), ..right() }).await;
    // The name, if there is a single host.
    is_refused(&broker.url("127.0.0.1"), right()).await;
    talks(&broker.url("127.0.0.1"), RabbitOptions { ssl_enforce_hostname_verification: false, ..right() }).await;
    let two = format!("rabbit://guest:guest@127.0.0.1:{port},guest:guest@127.0.0.1:{port}/", port = broker.port);
    talks(&two, right()).await;

    // The user, by name and password or by certificate.
    for method in ["PLAIN", "AMQPLAIN"] {
        let url = format!("{}?rabbit_login_method={method}", broker.url("localhost"));
        talks(&url, right()).await;
        is_refused(&url.replace(":guest@", ":wrong@"), right()).await;
    }
    let by_certificate = |user: &str, authority: &Authority| {
        let (certificate, key) = broker.files.issue(user, &[], authority);
        RabbitOptions { ssl_cert_file: Some(certificate), ssl_key_file: Some(key), ..right() }
    };
    let external = format!("rabbit://localhost:{}/?rabbit_login_method=EXTERNAL", broker.port);
    talks(&external, by_certificate("guest", &broker.authority)).await;
    is_refused(&external, by_certificate("nobody", &broker.authority)).await;
    is_refused(&external, by_certificate("guest", &authority("right"))).await;
    is_refused(&external, right()).await;

    // Files that are none are refused at once.
    let no_file = RabbitOptions { ssl_ca_file: Some("/nowhere/ca.pem".into()), ..right() };
    let error = RabbitTransport::new(&broker.url("localhost"), no_file).unwrap_err();
    assert!(matches!(error, RabbitError::Tls { what, .. } if what == "/nowhere/ca.pem"));
}
