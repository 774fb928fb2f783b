//! TLS over the simulated network: rustls at both ends, cut at every byte, in both
//! versions.

use std::sync::Arc;
use std::time::Duration;

use serve_forever::driver::sim::{Act, Conditions, Pace, Program, Rng, Script};
use serve_forever::services::{Command, Echo};
use serve_forever::sim::World;
use serve_forever::tls::rustls::pki_types::CertificateDer;
use serve_forever::tls::rustls::pki_types::pem::PemObject;
use serve_forever::tls::rustls::version::{TLS12, TLS13};
use serve_forever::tls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto};
use serve_forever::tls::{Client, ClientCertificates, ClientOptions, Server, ServerOptions, Tls};
use serve_forever::{Config, Io, LayerFactory, Limits, ListenOptions};

use super::handlers::{Call, Scripted, noise, patient, run, why};
use crate::util::certificates::CERTIFICATES;

const SECOND: Duration = Duration::from_secs(1);

type Version = &'static SupportedProtocolVersion;

const VERSIONS: [Version; 2] = [&TLS12, &TLS13];

/// Clients of one version. Each keeps its sessions to itself.
fn clients(version: Version) -> LayerFactory {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(CERTIFICATES.authority.as_bytes());
    roots.add(authority.expect("a certificate")).expect("a good one");
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version that there is")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    LayerFactory::new(move || {
        Client::from_rustls(Arc::clone(&config)).layer("server.test").map_err(std::io::Error::other)
    })
}

fn world<const SHORT: bool>(seed: u64, conditions: Conditions, limits: Limits) -> World<Echo, SHORT> {
    let options =
        ListenOptions { layer: Some(CERTIFICATES.tls_server().factory()), ..ListenOptions::default() };
    World::listening(seed, conditions, Echo::new(), limits, Config::default(), &options).expect("good limits")
}

/// Runs one client of an echo, which must get back what it sends, and an end. Returns
/// how many bytes it has sent.
#[track_caller]
fn echoes<const SHORT: bool>(conditions: Conditions, script: Script) -> usize {
    let mut world = world::<SHORT>(1, conditions, Limits { linger: SECOND, ..patient() });
    let client = world.play(script.finish());
    run(&mut world);
    let seen = world.client(client);
    assert_eq!(seen.layer_error(), None);
    assert!(seen.received() == seen.sent() && seen.saw_layer_end(), "{} bytes", seen.received().len());
    let sent = seen.handed_over();
    assert_eq!(why(&world, client), "Finished");
    sent
}

#[test]
fn what_is_cut_at_any_byte_comes_whole() {
    for version in VERSIONS {
        let script = || Script::new().through(clients(version)).send("hello").after(SECOND).send("again");
        let length = echoes::<true>(Conditions::calm(), script());
        for cut in 1..length {
            echoes::<true>(Conditions::calm(), script().cut_at([cut]));
        }
        for cut in (1..length).step_by(7) {
            echoes::<false>(Conditions::calm(), script().cut_at([cut, cut + 3]));
        }
    }
}

#[test]
fn what_is_taken_a_few_bytes_at_a_time_comes_whole() {
    for version in VERSIONS {
        for buffer in [1, 5, 100, 1500] {
            let conditions = Conditions { buffer, ..Conditions::calm() };
            let script = || Script::new().through(clients(version)).send(noise(3000));
            echoes::<true>(conditions.clone(), script());
            let slow = Pace::Slowly { bytes: 1, every: Duration::from_micros(100) };
            echoes::<false>(conditions, script().read(slow));
        }
    }
}

#[test]
fn large_streams_come_whole_whatever_the_budget() {
    for version in VERSIONS {
        for read_budget in [100, 20_000, 1 << 20] {
            let mut world = world::<true>(1, Conditions::calm(), Limits { read_budget, ..patient() });
            let client = world.play(Script::new().through(clients(version)).send(noise(300_000)).finish());
            run(&mut world);
            let seen = world.client(client);
            assert!(seen.received() == seen.sent() && seen.saw_layer_end(), "budget {read_budget}");
        }
    }
}

#[test]
fn a_reset_or_a_cut_at_each_step_ends_it_and_leaves_nothing() {
    for version in VERSIONS {
        for step in 0..60 {
            for act in [Act::Reset, Act::Vanish, Act::CutOff, Act::Close] {
                let mut world = world::<true>(step, Conditions::calm(), Limits::default());
                let script = Script::new().through(clients(version)).send("hello");
                let client = world.play(script.after(Duration::from_millis(5)).send(noise(20_000)));
                let at = Duration::from_micros(150) * u32::try_from(step).expect("few");
                world.net_mut().later(at, client, act);
                run(&mut world);
            }
        }
    }
}

#[test]
fn seeds_of_bad_weather_lose_nothing_that_is_not_broken() {
    for seed in 0..150 {
        let version = VERSIONS[usize::from(seed % 2 == 0)];
        let conditions = Conditions::seeded(&mut Rng::new(seed));
        let mut world = world::<false>(seed, conditions, Limits { linger: SECOND, ..patient() });
        let clients: Vec<_> = (0..3)
            .map(|_| world.play(Script::new().through(clients(version)).send(noise(5000)).finish()))
            .collect();
        world.run().unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        for client in clients {
            let seen = world.client(client);
            assert_eq!(seen.layer_error(), None, "seed {seed}");
            let closed = world.life(client).and_then(|life| life.closed());
            if closed == Some("Finished") && seen.saw_reset().is_none() && !seen.was_lost() {
                assert!(seen.received() == seen.sent() && seen.saw_layer_end(), "seed {seed}");
            }
        }
    }
}

// docs/guarantees.md, 80.
#[test]
fn plain_http_is_answered_by_an_alert_and_closed() {
    let mut world = world::<true>(1, Conditions::calm(), Limits::default());
    let client = world.play(Script::new().send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    run(&mut world);
    assert_eq!(world.lives().len(), 0);
    let seen = world.client(client);
    assert_eq!((seen.received().first(), seen.has_ended()), (Some(&21), true), "an alert record");
    assert!(world.elapsed() < SECOND);
}

#[test]
fn starttls_agrees_on_a_version_and_echoes_behind_it() {
    for version in VERSIONS {
        let expected = format!("{:?}", version.version);
        let handler = Scripted::new(move |io: &mut Io<'_>, call| {
            match call {
                Call::Line(b"starttls\n") => {
                    io.reply(b"go ahead\n");
                    assert!(io.start_layer(io.id(), CERTIFICATES.tls_server().layer()?));
                }
                Call::Line(line) => {
                    let tls = io.layer::<Tls>(io.id()).ok_or("it has begun")?;
                    assert_eq!(tls.version().map(|version| format!("{version:?}")), Some(expected.clone()));
                    assert_eq!(tls.server_name(), Some("server.test"));
                    io.reply(line);
                }
                _ => {}
            }
            Ok(())
        });
        let mut world =
            World::<_, true>::new(1, Conditions::calm(), handler, patient()).expect("good limits");
        let script = Script::new().send("starttls\n").after(SECOND).start_layer(clients(version));
        // In one segment with the last of the handshake: no event tells of it.
        let client = world.play(script.send("secret\n").await_answer("secret\n").finish());
        run(&mut world);
        let seen = world.client(client);
        assert_eq!((seen.received(), seen.saw_layer_end()), (&b"go ahead\nsecret\n"[..], true));
    }
}

/// Runs a command for a client of another machine, whose certificate is this; what it
/// gets back. `None`: its connection has no TLS.
fn command_of(tls: Option<Client>) -> Vec<u8> {
    let server = tls.as_ref().map(|_| {
        let clients = ClientCertificates::Asked(CERTIFICATES.roots());
        let identities = vec![CERTIFICATES.server.identity()];
        Server::new(&ServerOptions { identities, clients, ..ServerOptions::default() }).expect("good options")
    });
    let command = Command::allow(["echo"]).certified_clients();
    let limits = command.limits();
    let options = ListenOptions { layer: server.as_ref().map(Server::factory), ..ListenOptions::default() };
    let mut world =
        World::<_, true>::listening(1, Conditions::calm(), command, limits, Config::default(), &options)
            .expect("good limits");
    world.net_mut().install("echo", Program::new().write("done"));
    let mut script = Script::new();
    if let Some(tls) = tls {
        let layer = move || tls.layer("server.test").map_err(std::io::Error::other);
        script = script.through(LayerFactory::new(layer));
    }
    let client = world.play(script.send("echo\n").finish());
    run(&mut world);
    world.client(client).received().to_vec()
}

// docs/guarantees.md, 40.
#[test]
fn a_certificate_lets_in_a_client_of_another_machine_and_nothing_else_does() {
    let options = |identity| ClientOptions { identity, ..ClientOptions::new(CERTIFICATES.roots()) };
    let certified = Client::new(&options(Some(CERTIFICATES.client.identity()))).expect("good options");
    assert_eq!(command_of(Some(certified)), b"info|4|0\ndone");
    let nobody = Client::new(&options(None)).expect("good options");
    assert_eq!(command_of(Some(nobody)), b"");
    assert_eq!(command_of(None), b"");
}
