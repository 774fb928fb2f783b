//! A file over TCP on the loopback, received by [`Upload`], by a bare loop of
//! blocking 64 KiB reads and writes, which is the least that receiving can do
//! with the bytes in hand, and by splice(2), which never has them.
//!
//! ```text
//! cargo bench --features upload --bench upload
//! TMPDIR=/dev/shm cargo bench --features upload --bench upload # without a disk
//! ```

mod common;
mod floor;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serve_forever::services::Upload;
use tempfile::TempDir;

/// Bytes in the file, which each round writes over that of the one before.
const SIZE: usize = 32 << 20;

const HEADER: &str = "post|33554432|file\n";
const ANSWER: &str = "ok|33554432|file\n";

/// Sends the file, and waits for the answer.
fn send(connection: &TcpStream, data: &[u8]) {
    let mut output = connection;
    output.write_all(HEADER.as_bytes()).expect("the server reads");
    output.write_all(data).expect("the server reads");
    let mut answer = String::new();
    BufReader::new(connection).read_line(&mut answer).expect("the server answers");
    assert_eq!(answer, ANSWER);
}

fn measure(c: &mut Criterion, server: &str, address: SocketAddr, folder: &Path) {
    let mut group = c.benchmark_group("upload");
    let data: Vec<u8> = (0..SIZE).map(|place| (place % 251) as u8).collect();
    let connection = common::connect(address);
    group.throughput(Throughput::Bytes(SIZE as u64)).sample_size(10);
    group.bench_function(server, |b| b.iter(|| send(&connection, &data)));
    if let Ok(found) = fs::read(folder.join("file")) {
        assert!(found == data, "the file is what was sent");
    }
    group.finish();
}

fn servers(c: &mut Criterion) {
    let folders = [(); 3].map(|()| TempDir::new().expect("a directory"));
    let [first, second, third] = folders.each_ref().map(|folder| folder.path().to_path_buf());
    let at = common::floor({
        let into = first.clone();
        move |listener| floor::upload::serve(listener, &into)
    });
    measure(c, "reads and writes", at, &first);
    let at = common::floor({
        let into = second.clone();
        move |listener| floor::splice::serve(listener, &into)
    });
    measure(c, "splice", at, &second);
    let at = common::ours({
        let into = third.clone();
        move || (Upload::into(&into).expect("a directory").overwrite(true), Upload::limits())
    });
    measure(c, "services::Upload", at, &third);
}

criterion_group! {
    name = upload;
    config = common::criterion();
    targets = servers
}
criterion_main!(upload);
