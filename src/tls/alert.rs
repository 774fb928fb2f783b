//! The texts of errors: what an alert of the peer means, and what is wrong with a
//! peer that does not speak TLS.

use std::io;

use rustls::{AlertDescription, Error};

/// What the first bytes of a request in plain HTTP look like (RFC 9110, 9), and the
/// preface of HTTP/2.
const HTTP: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI * ",
];

/// An error with its meaning; `first` are the first bytes of a peer whose handshake is
/// not complete.
pub(super) fn explain(error: Error, first: &[u8]) -> io::Error {
    let text = match &error {
        Error::AlertReceived(alert) => match meaning(*alert) {
            Some(meaning) => format!("the peer sent the alert {alert:?}: {meaning}"),
            None => format!("the peer sent the alert {alert:?}"),
        },
        Error::InvalidMessage(_) if is_http(first) => {
            "the peer speaks plain HTTP, and TLS is expected here; it should use https://".into()
        }
        Error::InvalidMessage(_) if !first.is_empty() && !is_record(first) => {
            format!("the peer does not speak TLS; its first bytes are \"{}\"", first.escape_ascii())
        }
        Error::InvalidCertificate(reason) => format!("the peer's certificate is refused: {reason}"),
        Error::NoCertificatesPresented => "the peer presented no certificate, and one is required".into(),
        Error::PeerIncompatible(reason) => format!("the peer has nothing in common with us: {reason:?}"),
        _ => error.to_string(),
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn is_http(first: &[u8]) -> bool {
    HTTP.iter().any(|method| {
        let count = method.len().min(first.len());
        count >= 4 && method[..count] == first[..count]
    })
}

/// True for the head of a record: one of its four kinds, and a version 3 (RFC 8446,
/// 5.1).
fn is_record(first: &[u8]) -> bool {
    matches!(first[0], 20..=23) && first.get(1).is_none_or(|major| *major == 3)
}

/// What an alert means for whoever reads the log (RFC 8446, 6.2).
const fn meaning(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "it does not know the issuer of our certificate",
        AlertDescription::BadCertificate => "it finds our certificate damaged, or not valid for this",
        AlertDescription::UnsupportedCertificate => "it cannot use a certificate of this kind",
        AlertDescription::CertificateExpired => {
            "our certificate has expired, or is not valid yet, by its clock"
        }
        AlertDescription::CertificateRevoked => "our certificate was revoked",
        AlertDescription::CertificateUnknown => "it does not accept our certificate",
        AlertDescription::CertificateRequired => "it requires a certificate of ours, and got none",
        AlertDescription::AccessDenied => "our certificate is valid, and not allowed there",
        AlertDescription::HandshakeFailure => "it has no cipher suite or parameter in common with us",
        AlertDescription::ProtocolVersion => "it has no version of TLS in common with us",
        AlertDescription::InsufficientSecurity => "it demands more security than we offer",
        AlertDescription::UnrecognisedName => "it does not serve the name that was asked for",
        AlertDescription::NoApplicationProtocol => "it has no protocol (ALPN) in common with us",
        AlertDescription::DecryptError => "a signature or a key did not fit",
        AlertDescription::BadRecordMac => "a record was damaged on its way",
        AlertDescription::UserCanceled => "it gave the handshake up",
        AlertDescription::UnexpectedMessage
        | AlertDescription::DecodeError
        | AlertDescription::IllegalParameter => "it takes us to have broken the protocol",
        AlertDescription::InternalError => "it has a trouble of its own",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[test]
    fn plain_http_is_recognised_by_its_first_bytes() {
        let said = |first: &[u8]| {
            explain(Error::InvalidMessage(InvalidMessage::InvalidContentType), first).to_string()
        };
        assert!(said(b"GET / HT").contains("plain HTTP"));
        assert!(said(b"DELETE /").contains("plain HTTP"));
        assert!(said(b"SSH-2.0-").contains("does not speak TLS") && said(b"SSH-2.0-").contains("SSH-2.0-"));
        assert!(said(b"\x00\xff\n").contains("\\x00\\xff\\n"));
        assert!(!said(b"\x16\x03\x01\x00\x05").contains("does not speak"), "that was TLS");
    }

    #[test]
    fn an_alert_says_what_it_means() {
        let text = explain(Error::AlertReceived(AlertDescription::UnknownCA), b"").to_string();
        assert_eq!(text, "the peer sent the alert UnknownCA: it does not know the issuer of our certificate");
        let text = explain(Error::NoCertificatesPresented, b"").to_string();
        assert!(text.contains("one is required"), "{text}");
    }
}
