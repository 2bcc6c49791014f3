//! Reads the certificates that a setting names, whatever program saved them.

use std::fs;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::error::{Explain as _, explained};
use crate::text;
use crate::text::Text;

/// The certificates in a PEM file; `key` is the setting that names it. A byte order mark, as Windows programs write it, and text
/// around the certificates make no difference.
///
/// # Errors
/// A file that cannot be read, or that holds no certificate.
pub(crate) fn certificates(file: &Path, key: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let bytes = fs::read(file).explain(format!("failed to read `{shown}`"), hint(key))?;
    let pem = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates
        .map_err(|error| {
            anyhow::anyhow!("it is no PEM file as it should be: {}", super::certificate::words(&error.to_string()))
        })
        .explain(format!("failed to read the certificates in `{shown}`"), hint(key))?;
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    // A DER certificate is a sequence with a length of two bytes; PKCS #7 (`.p7b`) and #12 (`.p12`, `.pfx`) begin alike.
    if pem.starts_with(&[0x30, 0x82]) || pem.starts_with(&[0x30, 0x80]) {
        let hint = text!(
            "convert it: `openssl x509 -inform DER -in {shown} -out ca.pem` (`.p7b`: `openssl pkcs7 -print_certs`), and name `ca.pem` in `{key}`"
                / "convertissez-le : `openssl x509 -inform DER -in {shown} -out ca.pem` (`.p7b` : `openssl pkcs7 -print_certs`), et indiquez `ca.pem` dans `{key}`"
        );
        return Err(explained(format!("`{shown}` is a certificate in DER (binary), not in PEM"), hint));
    }
    if pem.starts_with(b"\xff\xfe") || pem.starts_with(b"\xfe\xff") {
        let hint = text!(
            "save it as UTF-8 or ASCII, not as \"Unicode\": `iconv -f UTF-16 -t UTF-8 {shown}`"
                / "enregistrez-le en UTF-8 ou en ASCII, pas en « Unicode » : `iconv -f UTF-16 -t UTF-8 {shown}`"
        );
        return Err(explained(format!("`{shown}` is text in UTF-16, not in UTF-8"), hint));
    }
    Err(explained(format!("`{shown}` holds no certificate"), hint(key)))
}

fn hint(key: &str) -> Text {
    text!(
        "`{key}` must be a readable PEM file, with `-----BEGIN CERTIFICATE-----` in it"
            / "`{key}` doit être un fichier PEM lisible, contenant `-----BEGIN CERTIFICATE-----`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{chain_of, hint_of};

    #[test]
    fn pem_is_read_however_it_was_saved_and_der_is_told_how_to_convert() {
        let key = rcgen::generate_simple_self_signed(vec!["h".to_owned()]).unwrap();
        let (pem, der) = (key.cert.pem(), key.cert.der().to_vec());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.cer");
        let read = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            certificates(&path, "my_ca")
        };
        let crlf = pem.replace("\r\n", "\n").replace('\n', "\r\n");
        for good in
            [pem.clone(), format!("\u{feff}{pem}"), crlf.clone(), format!("\u{feff}Subject: CN=h\r\n{crlf}\r\n{crlf}")]
        {
            assert_eq!(read(good.as_bytes()).unwrap()[0].as_ref(), der);
        }
        let error = read(&der).unwrap_err();
        assert!(chain_of(&error)[0].ends_with("in DER (binary), not in PEM"));
        assert!(hint_of(&error).unwrap().en.contains("openssl x509 -inform DER"));
        let utf16: Vec<u8> = format!("\u{feff}{pem}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(chain_of(&read(&utf16).unwrap_err())[0].contains("UTF-16"));
        assert!(chain_of(&read(b"").unwrap_err())[0].contains("holds no certificate"));
        let broken = read(b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").unwrap_err();
        assert!(chain_of(&broken)[0].contains("failed to read the certificates") && hint_of(&broken).is_some());
    }
}
