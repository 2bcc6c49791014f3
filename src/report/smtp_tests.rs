use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::PrivateKeyDer;

use super::super::mail_error::{MailError, MailErrorKind};
use super::*;
use crate::error::Hinted;

/// A server for one connection; ends with its thread.
fn serve<T: Send + 'static>(talk: impl FnOnce(TcpStream) -> T + Send + 'static) -> (u16, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (port, thread::spawn(move || talk(listener.accept().unwrap().0)))
}

fn settings(port: u16, security: SmtpSecurity) -> SmtpSettings {
    SmtpSettings {
        host: "localhost".into(),
        port,
        security,
        credentials: None,
        ca_file: None,
        timeout: Duration::from_secs(10),
        helo: None,
    }
}

/// A server's configuration for `localhost`, and the authority to trust; `is_ca`: the server shows the authority itself.
fn certificate(is_ca: bool) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let mut authority = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority_certificate.der().clone()).unwrap();
    let key = KeyPair::generate().unwrap();
    let (shown, key) = if is_ca {
        (authority_certificate.der().clone(), authority_key.serialize_der())
    } else {
        let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
        (leaf.der().clone(), key.serialize_der())
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![shown], PrivateKeyDer::Pkcs8(key.into()))
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

/// Speaks up to STARTTLS, adds `injected` to its answer, then TLS: answers EHLO inside it, and nothing else.
fn starttls(stream: TcpStream, config: Arc<ServerConfig>, injected: &'static str) {
    let mut plain = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    let mut line = String::new();
    stream.write_all(b"220 mx\r\n").unwrap();
    plain.read_line(&mut line).unwrap();
    stream.write_all(b"250-mx\r\n250 STARTTLS\r\n").unwrap();
    plain.read_line(&mut line).unwrap();
    stream.write_all(format!("220 go\r\n{injected}").as_bytes()).unwrap();
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut inside = BufReader::new(&mut tls);
    if inside.read_line(&mut line).is_ok() && injected.is_empty() {
        let _ = tls.write_all(b"250 mx\r\n");
        let _ = tls.flush();
    }
    // Until the client goes.
    let _ = tls.read(&mut [0; 1]);
}

#[test]
fn what_came_before_tls_is_never_taken_for_an_answer_inside_it() {
    let (server, client) = certificate(false);
    let by = Instant::now() + Duration::from_secs(20);
    let answers = "250-mx\r\n250 AUTH PLAIN\r\n250 ok\r\n250 ok\r\n354 go on\r\n250 queued\r\n221 bye\r\n";
    let config = Arc::clone(&server);
    let (port, thread) = serve(move |stream| starttls(stream, config, answers));
    let settings = settings(port, SmtpSecurity::Starttls);
    let error = Session::open(&settings, Some(Arc::clone(&client)), by).err().expect("nothing may be sent");
    let error = MailError::from_smtp(&error, &settings);
    assert_eq!(error.kind, MailErrorKind::Injected, "{error}");
    assert!(error.hint().is_some_and(|hint| hint.en.contains("security = \"tls\"")));
    thread.join().unwrap();
    // The same server without what does not belong there.
    let (port, thread) = serve(move |stream| starttls(stream, server, ""));
    let Ok(session) = Session::open(&SmtpSettings { port, ..settings }, Some(client), by) else { panic!("no session") };
    assert!(session.is_encrypted());
    drop(session);
    thread.join().unwrap();
}

#[test]
fn a_certificate_of_an_authority_is_told_as_such() {
    let (server, client) = certificate(true);
    let (port, thread) = serve(move |stream| starttls(stream, server, ""));
    let settings = settings(port, SmtpSecurity::Starttls);
    let by = Instant::now() + Duration::from_secs(20);
    let error = MailError::from_smtp(&Session::open(&settings, Some(client), by).err().unwrap(), &settings);
    assert_eq!(error.kind, MailErrorKind::Certificate);
    assert!(error.to_string().contains("(CA:TRUE)"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.en.contains("CA:FALSE") && hint.en.contains("mail.ca_file")));
    drop(thread);
}

#[test]
fn a_server_that_drips_is_left_at_the_limit() {
    let (port, thread) = serve(|mut stream| {
        let mut sent = 0;
        while stream.write_all(b"2").is_ok() {
            sent += 1;
            thread::sleep(Duration::from_millis(20));
        }
        sent
    });
    let by = Instant::now() + Duration::from_millis(300);
    let settings = settings(port, SmtpSecurity::None);
    let error = MailError::from_smtp(&Session::open(&settings, None, by).err().unwrap(), &settings);
    assert_eq!(error.kind, MailErrorKind::Timeout, "{error}");
    assert!(Instant::now() < by + Duration::from_secs(8));
    assert!(thread.join().unwrap() < 2000);
}

#[test]
fn neither_a_line_nor_a_reply_without_end_is_read_for_ever() {
    for piece in ["x", "220-more\r\n"] {
        let (port, thread) = serve(move |mut stream| {
            let piece = piece.repeat(1000);
            (0..).map_while(|_| stream.write_all(piece.as_bytes()).ok()).take(100_000).count() * piece.len()
        });
        let by = Instant::now() + Duration::from_secs(20);
        let error = Session::open(&settings(port, SmtpSecurity::None), None, by).err().unwrap();
        assert!(matches!(&error, SmtpError::NotSmtp(said) if said.contains("more than")), "{error:?}");
        assert!(thread.join().unwrap() < 50 << 20);
    }
}

#[test]
fn a_reply_about_the_size_is_told_from_a_full_mailbox() {
    let about_size = |code, line: &str| Reply { code, lines: vec![line.to_owned()] }.is_about_size();
    assert!(about_size(552, "5.3.4 Message size exceeds fixed limit"));
    assert!(about_size(554, "5.3.4 too large") && about_size(552, "too much mail data"));
    assert!(!about_size(552, "5.2.2 mailbox full") && !about_size(554, "5.7.1 spam") && !about_size(452, "5.3.4"));
}

/// A server that takes everything up to the final dot of a mail, answers `to_data` to DATA, and leaves the rest to `verdict`.
fn after_the_dot(
    to_data: &'static str,
    verdict: impl FnOnce(&mut TcpStream) + Send + 'static,
) -> (u16, JoinHandle<()>) {
    serve(move |mut stream| {
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        stream.write_all(b"220 mx\r\n").unwrap();
        while let Some(Ok(line)) = lines.next()
            && line != "DATA"
        {
            stream.write_all(b"250 ok\r\n").unwrap();
        }
        stream.write_all(to_data.as_bytes()).unwrap();
        if lines.any(|line| line.is_ok_and(|line| line == ".")) {
            verdict(&mut stream);
        }
    })
}

fn hand_over(port: u16, timeout: Duration) -> Result<Reply, SmtpError> {
    let settings = SmtpSettings { timeout, ..settings(port, SmtpSecurity::None) };
    let mut session = Session::open(&settings, None, Instant::now() + Duration::from_secs(30))?;
    session.data()?;
    session.message(b"Subject: x\r\n\r\n")
}

#[test]
fn the_verdict_on_a_mail_may_take_longer_than_other_answers_but_does_not_drip() {
    let (port, thread) = after_the_dot("354 go on\r\n", |stream| {
        thread::sleep(Duration::from_secs(3));
        let _ = stream.write_all(b"250 queued\r\n");
    });
    assert_eq!(hand_over(port, Duration::from_secs(1)).unwrap().code, 250);
    thread.join().unwrap();
    let (port, thread) = after_the_dot("354 go on\r\n", |stream| {
        while stream.write_all(b"2").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let begun = Instant::now();
    let error = hand_over(port, Duration::from_secs(1)).unwrap_err();
    assert!(matches!(error, SmtpError::Io(_)) && begun.elapsed() < Duration::from_secs(15), "{error:?}");
    let error = MailError::from_smtp(&error, &settings(port, SmtpSecurity::Tls)).without_verdict();
    assert!(error.is_transient() && error.hint().is_some_and(|hint| hint.en.contains("filters mails")));
    thread.join().unwrap();
}

#[test]
fn a_reply_of_the_wrong_kind_is_no_success() {
    for (to_data, verdict) in [("250 ok\r\n", "250 queued\r\n"), ("354 go on\r\n", "354 go on\r\n")] {
        let (port, _thread) = after_the_dot(to_data, |stream| stream.write_all(verdict.as_bytes()).unwrap_or_default());
        let error = hand_over(port, Duration::from_secs(5)).unwrap_err();
        assert!(matches!(error, SmtpError::NotSmtp(_)), "{to_data} {verdict}: {error:?}");
    }
    let (port, _thread) = serve(|mut stream| stream.write_all(b"220 mx\r\n354 go on\r\n").unwrap());
    let error = Session::open(&settings(port, SmtpSecurity::None), None, Instant::now() + Duration::from_secs(9));
    assert!(matches!(error.err(), Some(SmtpError::NotSmtp(_))));
}

#[test]
fn the_time_that_an_answer_was_waited_for_is_told() {
    let (port, _thread) = serve(|mut stream| stream.read(&mut [0; 1]).map(drop));
    let settings = settings(port, SmtpSecurity::None);
    let error = Session::open(&settings, None, Instant::now() + Duration::from_millis(1500)).err().unwrap();
    let error = MailError::from_smtp(&error, &settings);
    let said = error.to_string();
    let time =
        said.strip_prefix(&format!("`localhost:{port}`: no answer in ")).and_then(|rest| rest.strip_suffix(" s"));
    let time: f64 = time.unwrap().parse().unwrap();
    // Far from the ten seconds of the setting, also on a busy machine.
    assert!((1.4..8.0).contains(&time), "{said}");
}
