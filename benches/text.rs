//! The parts of the services that read what clients write: where a request
//! ends, what it says, and whether it is fit for other people's terminals.
//!
//! ```text
//! cargo bench --bench text
//! cargo bench --features codec --bench text # frames too
//! ```
//!
//! Those that are private are compiled into this program as well, which they
//! allow, as they import next to nothing; see `benches/parts.rs`.

use std::hint::black_box;
use std::time::Duration;

use bytes::BytesMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serve_forever::Endpoint;

#[path = "../src/services/chat/command.rs"]
#[allow(dead_code, unused_imports, reason = "the service uses all of it")]
mod command;
#[path = "../src/services/upload/header.rs"]
#[allow(dead_code, unused_imports, reason = "the service uses all of it")]
mod header;
#[path = "../src/services/chat/names.rs"]
#[allow(dead_code, unused_imports, reason = "the service uses all of it")]
mod names;
#[path = "../src/services/console/order.rs"]
#[allow(dead_code, unused_imports, reason = "the service uses all of it")]
mod order;
#[path = "../src/services/upload/refusal.rs"]
#[allow(dead_code, unused_imports, reason = "the service uses all of it")]
mod refusal;
#[path = "../src/services/text.rs"]
#[allow(dead_code, unused_imports, reason = "the services use all of it")]
mod text;

/// As `header` and `names` know it.
mod services {
    pub(crate) use super::text;

    pub(crate) mod framing {
        pub(crate) use serve_forever::services::{Framing, LineTooLong};
    }
}

use services::framing::Framing;

const LINE: &[u8] = b"GET /index.html HTTP/1.0, which is not what this is, only long..\n";
const LINES: usize = 100;

/// Requests off what has come, next to looking for their ends and no more.
fn framing(c: &mut Criterion) {
    let mut group = c.benchmark_group("framing");
    let lines = LINE.repeat(LINES);
    group.throughput(Throughput::Bytes(lines.len() as u64));
    group.bench_function("100 lines of 65 bytes", |b| {
        b.iter_batched(
            || BytesMut::from(&lines[..]),
            |mut input| {
                let mut count = 0;
                while let Ok(Some(line)) = Framing::Lines.next(&mut input) {
                    black_box(line);
                    count += 1;
                }
                assert_eq!(count, LINES);
                input
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("the same, only counted", |b| {
        b.iter(|| black_box(&lines).split(|byte| *byte == b'\n').count());
    });
    group.finish();
}

fn cleaning(c: &mut Criterion) {
    let mut group = c.benchmark_group("cleaning");
    for (name, line) in [("ASCII", LINE), ("Chinese", "欢迎登录，这里什么都没有\n".as_bytes())] {
        group.throughput(Throughput::Bytes(line.len() as u64));
        group.bench_function(BenchmarkId::new("clean", name), |b| b.iter(|| text::clean(black_box(line))));
        group.bench_function(BenchmarkId::new("from_utf8_lossy alone", name), |b| {
            b.iter(|| String::from_utf8_lossy(black_box(line)).into_owned());
        });
    }
    group.finish();
}

fn requests(c: &mut Criterion) {
    let mut group = c.benchmark_group("requests");
    group.bench_function("a line of a chat", |b| {
        b.iter(|| command::Command::parse(black_box("good morning, everybody")));
    });
    group.bench_function("a message of a chat", |b| {
        b.iter(|| command::Command::parse(black_box("/msg guest7 good morning")));
    });
    group.bench_function("an order of a console", |b| {
        b.iter(|| order::Order::parse(black_box(b"#12 good morning")));
    });
    group.bench_function("a header of an upload", |b| {
        let mut input = BytesMut::with_capacity(1024);
        b.iter(|| {
            input.clear();
            input.extend_from_slice(black_box(b"post|1073741824|holiday.jpg\n"));
            header::Header::next(Framing::Lines, &mut input)
        });
    });
    for text in ["127.0.0.1:7007", "unix:/run/app.sock"] {
        group.bench_function(BenchmarkId::new("an endpoint", text), |b| {
            b.iter(|| black_box(text).parse::<Endpoint>());
        });
    }
    group.finish();
}

/// Names of a room with so many in it.
fn naming(c: &mut Criterion) {
    const MEMBERS: u64 = 10_000;
    let mut group = c.benchmark_group("names");
    let mut names = names::Names::new();
    for holder in 0..MEMBERS {
        let name = names.guest();
        names.take(&name, holder);
    }
    group.bench_function("who is it, of 10,000", |b| b.iter(|| names.holder(black_box("Guest5000"))));
    group.bench_function("come and go beside 10,000", |b| {
        b.iter(|| {
            let name = names.guest();
            names.take(&name, MEMBERS);
            names.release(&name);
        });
    });
    group.finish();
}

/// Frames on their way out, next to a copy of the same bytes.
#[cfg(feature = "codec")]
fn frames(c: &mut Criterion) {
    use serve_forever::codec::{FrameWriter, LengthDelimitedCodec};
    let mut group = c.benchmark_group("frames");
    let (mut writer, mut codec) = (FrameWriter::new(), LengthDelimitedCodec::new());
    let payload = bytes::Bytes::from_static(LINE);
    group.throughput(Throughput::Bytes(LINE.len() as u64));
    group.bench_function("encode one behind its length", |b| {
        b.iter(|| writer.encode(&mut codec, black_box(payload.clone())));
    });
    group.bench_function("the same bytes copied", |b| {
        b.iter(|| bytes::Bytes::copy_from_slice(black_box(LINE)))
    });
    group.finish();
}

/// They come with a feature.
#[cfg(not(feature = "codec"))]
const fn frames(_: &mut Criterion) {}

criterion_group! {
    name = parts;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = framing, cleaning, requests, naming, frames
}
criterion_main!(parts);
