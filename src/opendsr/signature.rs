//! The signature that `OpenDSR` asks for: over the exact bytes of a body, by the key of a certificate for the domain.
//! It owns key and certificate; what is signed is made by others.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use webpki::EndEntityCert;

use crate::config::outside::OpenDsrConfig;

/// What discovery says of the algorithm, which the specification leaves open.
pub const ALGORITHM: &str = "RSASSA-PKCS1-v1_5 with SHA-256";

/// Headers that name the signing domain: the one of version 2, and that of version 1, which has to be honoured.
const DOMAIN_HEADERS: [&str; 2] = ["X-OpenDSR-Processor-Domain", "X-OpenGDPR-Processor-Domain"];

/// Headers with the signature.
const SIGNATURE_HEADERS: [&str; 2] = ["X-OpenDSR-Signature", "X-OpenGDPR-Signature"];

/// Signs as one domain.
pub struct Signer {
    domain: String,
    key: RsaKeyPair,
    certificates: String,
}

impl Signer {
    /// Reads key and certificate, and shows that they fit each other and the domain.
    ///
    /// # Errors
    /// A text for people, which holds no part of the key.
    pub fn read(config: &OpenDsrConfig) -> Result<Self, String> {
        let read = |file: &std::path::Path| {
            std::fs::read(file).map_err(|error| format!("failed to read {}: {error}", file.display()))
        };
        Self::of(&config.domain, &read(&config.certificate)?, &read(&config.key)?)
    }

    /// As [`Signer::read`], from the bytes of the two files.
    ///
    /// # Errors
    /// As [`Signer::read`].
    pub fn of(domain: &str, certificates: &[u8], key: &[u8]) -> Result<Self, String> {
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(PrivateKeyDer::Pkcs8(der)) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            Ok(PrivateKeyDer::Pkcs1(der)) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            Ok(_) | Err(_) => return Err("[opendsr] key is no PEM file with an RSA key".to_owned()),
        };
        let key = key.map_err(|why| format!("[opendsr] key is no RSA key of 2048 bits or more: {why}"))?;
        let certificates: Result<Vec<CertificateDer<'_>>, _> =
            CertificateDer::pem_slice_iter(certificates).collect();
        let certificates = certificates.map_err(|_| "[opendsr] certificate is no PEM file".to_owned())?;
        let first = certificates.first().ok_or("[opendsr] certificate holds no certificate")?;
        let signer = Self {
            domain: domain.to_owned(),
            key,
            certificates: certificates.iter().map(|certificate| pem_of(certificate)).collect(),
        };
        signer.prove(first)?;
        Ok(signer)
    }

    /// The key is the certificate's, and the certificate the domain's: or every receiver would turn us away.
    fn prove(&self, certificate: &CertificateDer<'_>) -> Result<(), String> {
        let certificate = EndEntityCert::try_from(certificate)
            .map_err(|_| "[opendsr] certificate cannot be read".to_owned())?;
        let domain = ServerName::try_from(self.domain.as_str())
            .map_err(|_| "[opendsr] domain is not a name".to_owned())?;
        certificate
            .verify_is_valid_for_subject_name(&domain)
            .map_err(|_| format!("[opendsr] certificate is not one for `{}`", self.domain))?;
        let signature = self.raw(b"proof").map_err(str::to_owned)?;
        certificate
            .verify_signature(webpki::ring::RSA_PKCS1_2048_8192_SHA256, b"proof", &signature)
            .map_err(|_| "[opendsr] key is not the key of the certificate".to_owned())
    }

    /// The domain.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The certificate and those behind it, as PEM: what is served, and nothing else of the file.
    pub fn certificates(&self) -> &str {
        &self.certificates
    }

    /// The headers for a body: domain and signature, under the names of both versions.
    ///
    /// # Errors
    /// A fragment for people where the operating system has no random bytes.
    pub fn headers(&self, body: &[u8]) -> Result<Vec<(&'static str, String)>, &'static str> {
        let signature = STANDARD.encode(self.raw(body)?);
        let domains = DOMAIN_HEADERS.into_iter().map(|name| (name, self.domain.clone()));
        let signatures = SIGNATURE_HEADERS.into_iter().map(|name| (name, signature.clone()));
        Ok(domains.chain(signatures).collect())
    }

    fn raw(&self, body: &[u8]) -> Result<Vec<u8>, &'static str> {
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), body, &mut signature)
            .map_err(|_| "the message could not be signed")?;
        Ok(signature)
    }
}

fn pem_of(certificate: &[u8]) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so every byte is a border.
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &[u8] = include_bytes!("../../tests/opendsr/certificate.pem");
    const KEY: &[u8] = include_bytes!("../../tests/opendsr/key.pem");
    const OTHER_KEY: &[u8] = include_bytes!("../../tests/opendsr/other-key.pem");

    fn refused(domain: &str, certificate: &[u8], key: &[u8]) -> String {
        Signer::of(domain, certificate, key).err().expect("refused")
    }

    #[test]
    fn key_certificate_and_domain_belong_together_or_nothing_is_signed() {
        assert!(Signer::of("opendsr.example.com", CERTIFICATE, KEY).is_ok());
        assert!(refused("other.example.com", CERTIFICATE, KEY).contains("not one for `other.example.com`"));
        assert!(refused("example.com", CERTIFICATE, KEY).contains("not one for"));
        assert!(
            refused("opendsr.example.com", CERTIFICATE, OTHER_KEY).contains("not the key of the certificate")
        );
        let elliptic = rcgen::KeyPair::generate().unwrap().serialize_pem();
        assert!(refused("opendsr.example.com", CERTIFICATE, elliptic.as_bytes()).contains("RSA"));
        for nothing in [&b""[..], b"x", CERTIFICATE] {
            assert!(refused("opendsr.example.com", CERTIFICATE, nothing).contains("key"));
        }
        assert!(refused("opendsr.example.com", b"", KEY).contains("holds no certificate"));
        assert!(refused("opendsr.example.com", KEY, KEY).contains("holds no certificate"));
    }

    #[test]
    fn only_certificates_of_a_file_are_served() {
        let both = [CERTIFICATE, KEY].concat();
        let signer = Signer::of("opendsr.example.com", &both, KEY).map_err(|why| panic!("{why}")).unwrap();
        assert_eq!(signer.certificates(), std::str::from_utf8(CERTIFICATE).unwrap());
    }
}
