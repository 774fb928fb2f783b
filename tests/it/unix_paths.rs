//! The file at the path of a Unix socket, before and after a server
//! (docs/guarantees.md, 57).

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

use serve_forever::services::Echo;
use serve_forever::{Config, Endpoint, Error, ListenOptions, ListenerId, Reactor, Service};

use crate::util::{Client, alone};

fn reactor() -> (Reactor, Service<Echo>) {
    let mut reactor = Reactor::new(Config::default()).expect("a good configuration");
    let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
    (reactor, echo)
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    (directory, path)
}

fn listen(path: &Path) -> (Reactor, Result<ListenerId, Error>) {
    let (mut reactor, echo) = reactor();
    let outcome = reactor.listen(&echo, &Endpoint::Unix(path.into()));
    (reactor, outcome)
}

#[track_caller]
fn refused(path: &Path) -> (String, io::ErrorKind) {
    match listen(path).1 {
        Err(Error::Listen { endpoint, source }) => {
            assert!(endpoint.contains("socket"), "{endpoint} names the path");
            (source.to_string(), source.kind())
        }
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn the_file_is_there_while_the_listener_is() {
    let (_directory, path) = place();
    let (mut reactor, listener) = listen(&path);
    let listener = listener.expect("the path is free");
    assert!(path.exists());
    drop(Client::connect(&Endpoint::Unix(path.clone())));
    reactor.close_listener(listener);
    assert!(!path.exists());
}

#[test]
fn the_file_goes_with_the_reactor() {
    let (_directory, path) = place();
    let (reactor, listener) = listen(&path);
    listener.expect("the path is free");
    drop(reactor);
    assert!(!path.exists());
}

#[test]
fn a_stale_socket_is_replaced() {
    let (_directory, path) = place();
    drop(UnixListener::bind(&path).expect("the path is free"));
    assert!(path.exists(), "nobody listens, but the file is there");
    let (_reactor, listener) = listen(&path);
    listener.expect("it is replaced");
    drop(Client::connect(&Endpoint::Unix(path)));
}

#[test]
fn a_live_socket_is_refused_and_goes_on() {
    let (_directory, path) = place();
    let theirs = UnixListener::bind(&path).expect("the path is free");
    let (text, kind) = refused(&path);
    assert_eq!(kind, io::ErrorKind::AddrInUse);
    assert!(text.contains("in use"), "{text}");
    let _client = Client::connect(&Endpoint::Unix(path));
    theirs.accept().expect("it still listens");
}

#[test]
fn a_live_socket_with_a_full_backlog_is_live() {
    let (_directory, path) = place();
    let theirs = UnixListener::bind(&path).expect("the path is free");
    rustix::net::listen(&theirs, 0).expect("a shorter backlog");
    let _fills_it = Client::connect(&Endpoint::Unix(path.clone()));
    assert_eq!(refused(&path).1, io::ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[test]
fn a_live_datagram_socket_is_refused_and_stays() {
    let (_directory, path) = place();
    let _theirs = UnixDatagram::bind(&path).expect("the path is free");
    assert_eq!(refused(&path).1, io::ErrorKind::AddrInUse);
    assert!(path.exists());
}

#[test]
fn what_is_no_socket_is_refused_and_untouched() {
    let (directory, path) = place();
    fs::write(&path, "precious").expect("a file");
    let (text, kind) = refused(&path);
    assert_eq!(kind, io::ErrorKind::AlreadyExists);
    assert!(text.contains("no socket"), "{text}");
    assert_eq!(fs::read(&path).expect("it is still there"), b"precious");

    fs::remove_file(&path).expect("ours");
    fs::create_dir(&path).expect("a directory");
    assert_eq!(refused(&path).1, io::ErrorKind::AlreadyExists);
    fs::remove_dir(&path).expect("ours");

    // Not even through a link: what it points to is somebody's.
    let elsewhere = directory.path().join("elsewhere");
    fs::write(&elsewhere, "precious").expect("a file");
    std::os::unix::fs::symlink(&elsewhere, &path).expect("a link");
    assert_eq!(refused(&path).1, io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&elsewhere).expect("it is still there"), b"precious");
}

#[test]
fn a_socket_that_took_our_place_stays() {
    let (_directory, path) = place();
    let (reactor, listener) = listen(&path);
    listener.expect("the path is free");
    fs::remove_file(&path).expect("ours");
    let _theirs = UnixListener::bind(&path).expect("the path is free");
    drop(reactor);
    drop(Client::connect(&Endpoint::Unix(path)));
}

#[test]
fn a_file_somebody_else_removed_is_no_matter() {
    let (_directory, path) = place();
    let (reactor, listener) = listen(&path);
    listener.expect("the path is free");
    fs::remove_file(&path).expect("ours");
    drop(reactor);
}

#[test]
fn a_directory_that_is_not_there_is_refused() {
    let (directory, _) = place();
    assert_eq!(refused(&directory.path().join("nowhere/socket")).1, io::ErrorKind::NotFound);
}

#[test]
fn the_mode_is_the_one_asked_for() {
    let (_directory, path) = place();
    let (mut reactor, echo) = reactor();
    let options = ListenOptions { mode: Some(0o600), ..ListenOptions::default() };
    reactor.listen_with(&echo, &Endpoint::Unix(path.clone()), &options).expect("the path is free");
    let mode = fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn a_relative_path_is_found_again_after_a_change_of_directory() {
    alone("unix_paths::a_relative_path_is_found_again_after_a_change_of_directory", || {
        let (directory, path) = place();
        std::env::set_current_dir(directory.path()).expect("it is there");
        let (reactor, listener) = listen(Path::new("socket"));
        listener.expect("the path is free");
        std::env::set_current_dir("/").expect("it is there");
        assert!(path.exists());
        drop(reactor);
        assert!(!path.exists());
    });
}

#[test]
fn a_path_too_long_for_an_address_is_refused() {
    let (directory, _) = place();
    let path = directory.path().join("socket".repeat(25));
    assert_eq!(refused(&path).1, io::ErrorKind::InvalidInput);
    assert!(!path.exists());
}
