//! A PKI directory made, loaded again, renewed and refused.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use corten_pki::{
    Identity, KubeconfigUser, Pki, Usage, certificate_expiry, needs_renewal, write_kubeconfig,
};

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path)
        .expect("the file exists")
        .permissions()
        .mode()
        & 0o777
}

#[test]
fn made_once_then_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let first = Pki::open(dir.path(), now).unwrap();
    let admin = first.client(&Identity::Admin, now).unwrap();
    let again = Pki::open(dir.path(), now).unwrap();
    assert_eq!(first.ca.certificate(), again.ca.certificate());
    assert_eq!(first.service_account.public, again.service_account.public);
    assert_eq!(
        admin.certificate,
        again.client(&Identity::Admin, now).unwrap().certificate
    );
    for name in ["ca.key", "front-proxy-ca.key", "sa.key", "admin.key"] {
        assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
    }
}

#[test]
fn renewed_when_four_fifths_are_over() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let pki = Pki::open(dir.path(), now).unwrap();
    let first = pki.client(&Identity::Node("a".into()), now).unwrap();
    let later = now + Duration::from_secs(300 * 86_400);
    assert!(needs_renewal(&first.certificate, "x", later).unwrap());
    let second = pki.client(&Identity::Node("a".into()), later).unwrap();
    assert_ne!(first.certificate, second.certificate);
    assert!(
        certificate_expiry(&second.certificate, "x").unwrap()
            > later + Duration::from_secs(364 * 86_400)
    );
}

#[test]
fn names_change_the_server_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let pki = Pki::open(dir.path(), now).unwrap();
    let one = pki
        .api_server(&[], &[[10, 96, 0, 1].into()], "cluster.local", now)
        .unwrap();
    let same = pki
        .api_server(&[], &[[10, 96, 0, 1].into()], "cluster.local", now)
        .unwrap();
    let other = pki
        .api_server(&["api.example".into()], &[], "cluster.local", now)
        .unwrap();
    assert_eq!(one.certificate, same.certificate);
    assert_ne!(one.certificate, other.certificate);
}

#[test]
fn half_a_pair_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Pki::open(dir.path(), SystemTime::now()).unwrap();
    std::fs::remove_file(dir.path().join("ca.key")).unwrap();
    let error = Pki::open(dir.path(), SystemTime::now()).err().unwrap();
    assert!(error.to_string().contains("ca.key is missing"), "{error}");
}

#[test]
fn requests_are_signed_as_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let pki = Pki::open(dir.path(), now).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "jane");
    let request = params.serialize_request(&key).unwrap().pem().unwrap();
    let signed = pki
        .ca
        .sign_request(&request, Usage::Client, Duration::from_secs(600), now)
        .unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
    assert_eq!(pem.parse_x509().unwrap().subject().to_string(), "CN=jane");
    let usages = ["digital signature", "client auth"];
    let lifetime = Duration::from_secs(100 * 365 * 24 * 3600);
    let signed = pki
        .ca
        .sign_for_usages(&request, &usages, lifetime, now)
        .unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(signed.as_bytes()).unwrap();
    let signed = pem.parse_x509().unwrap();
    let usage = signed.key_usage().unwrap().unwrap().value;
    assert!(usage.digital_signature() && !usage.key_encipherment());
    let extended = signed.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && !extended.server_auth);
    let (_, ca) = x509_parser::pem::parse_x509_pem(pki.ca.certificate().as_bytes()).unwrap();
    let end = ca.parse_x509().unwrap().validity().not_after;
    assert!(
        signed.validity().not_after <= end,
        "it does not outlive the authority"
    );
}

#[test]
fn kubeconfig_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/admin.conf");
    let user = KubeconfigUser::Token("t".into());
    write_kubeconfig(&path, "corten", "https://127.0.0.1:1", "CA", "admin", &user).unwrap();
    assert_eq!(mode(&path), 0o600);
}
