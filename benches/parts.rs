//! The parts that every message passes, each by itself.
//!
//! ```text
//! cargo bench --bench parts            # all
//! cargo bench --bench parts -- queue   # one group
//! ```
//!
//! They are private, and stay so: their files import nothing but each other
//! (`tests/it/layering.rs`), and so can be compiled into this program as well.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::IoSlice;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use serve_forever::services::Echo;
use serve_forever::{Config, Handle, Limits, Reactor};

use crate::buffer::{PIECES, Pool};
use crate::groups::Groups;
use crate::id::{ConnId, Table};
use crate::input::Input;
use crate::moment::Moment;
use crate::shared_output::SharedOutput;
use timers::Timers;

#[path = "../src/buffer.rs"]
#[allow(dead_code, unused_imports, reason = "the library uses all of it")]
mod buffer;
#[path = "../src/contain.rs"]
#[allow(dead_code, unused_imports, reason = "the library uses all of it")]
mod contain;
#[path = "../src/groups.rs"]
#[allow(dead_code, unused_imports, reason = "the library uses all of it")]
mod groups;
#[path = "../src/heap.rs"]
#[allow(dead_code, unused_imports, reason = "the library uses all of it")]
mod heap;
#[path = "../src/id.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the library uses all of it")]
mod id;
#[path = "../src/input.rs"]
#[allow(dead_code, unused_imports, reason = "the library uses all of it")]
mod input;
#[path = "../src/moment.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the library uses all of it, and drivers too")]
mod moment;
#[path = "../src/printable.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the library uses all of it")]
mod printable;
#[path = "../src/shared_output.rs"]
#[allow(dead_code, unused_imports, reason = "the library uses all of it")]
mod shared_output;
#[path = "../src/timers.rs"]
#[allow(dead_code, unused_imports, reason = "the library uses all of it")]
mod timers;

/// Numbers without a pattern, the same in each run (xorshift64).
struct Numbers(u64);

impl Numbers {
    const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    #[allow(clippy::cast_possible_truncation, reason = "the remainder is below a usize")]
    const fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// What each event costs, and each new connection.
fn ids(c: &mut Criterion) {
    const LIVE: usize = 10_000;
    let mut group = c.benchmark_group("ids");
    let mut table = Table::new();
    let keys: Vec<_> = (0..LIVE).map(|n| table.insert(n)).collect();
    let mut numbers = Numbers::new();
    group.bench_function("get one of 10,000", |b| {
        b.iter(|| black_box(table.get(keys[numbers.below(LIVE)])));
    });
    group.bench_function("insert and remove beside 10,000", |b| {
        b.iter(|| {
            let key = table.insert(black_box(0));
            table.remove(key)
        });
    });
    group.finish();
}

/// What each message costs on its way out, and from which size on a reference
/// is cheaper than a copy.
fn queue(c: &mut Criterion) {
    const MESSAGES: usize = 100;
    let mut group = c.benchmark_group("queue");
    let mut pool = Pool::new(1 << 20);

    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("100 messages of 64 bytes, one write", |b| {
        b.iter(|| {
            let mut queue = pool.take();
            for _ in 0..MESSAGES {
                queue.push_copy(black_box(&[b'x'; 64]));
            }
            queue.advance(queue.len());
            pool.give(queue);
        });
    });

    // A broadcast's share of one recipient: a shared of a few messages that
    // all recipients hold, offered as pieces and taken by the system, which
    // reads every byte of them.
    const BURST: usize = 8;
    let mut system = vec![0; BURST * (16 << 10)];
    let mut shared = SharedOutput::new();
    let mut take = |queue: &buffer::OutQueue, shared: &SharedOutput| {
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let count = queue.pieces(shared, &mut pieces, usize::MAX);
        let mut filled = 0;
        for piece in &pieces[..count] {
            system[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        black_box(&mut system);
        filled
    };
    for size in [64, 128, 256, 512, 1024, 2048, 4096, 16 << 10] {
        let payload = Bytes::from(vec![b'x'; size]);
        group.throughput(Throughput::Bytes((BURST * size) as u64));
        group.bench_with_input(BenchmarkId::new("copy", size), &payload, |b, payload| {
            b.iter(|| {
                let mut queue = pool.take();
                for _ in 0..BURST {
                    queue.push_copy(payload);
                }
                let written = take(&queue, &shared);
                queue.advance(written);
                pool.give(queue);
            });
        });
        let parts: Vec<_> = (0..BURST).map(|_| shared.add(&payload).expect("there is room")).collect();
        group.bench_with_input(BenchmarkId::new("part of the shared", size), &parts, |b, parts| {
            b.iter(|| {
                let mut queue = pool.take();
                for part in parts {
                    queue.refer(*part);
                }
                let written = take(&queue, &shared);
                queue.advance(written);
                pool.give(queue);
            });
        });
        shared.clear();
        group.bench_with_input(BenchmarkId::new("reference", size), &payload, |b, payload| {
            b.iter(|| {
                let mut queue = pool.take();
                for _ in 0..BURST {
                    queue.push_reference(payload.clone());
                }
                let written = take(&queue, &shared);
                queue.advance(written);
                pool.give(queue);
            });
        });
    }
    group.finish();
}

/// What a timer costs among a million of them, and what it costs with the map
/// that the standard library has for it.
fn timers(c: &mut Criterion) {
    const PENDING: usize = 1_000_000;
    let mut group = c.benchmark_group("timers among 1,000,000");
    let mut numbers = Numbers::new();
    let mut moment = move || Moment(1 + numbers.next() / 2);
    let mut places = Numbers::new();

    let mut timers = Timers::new();
    let keys: Vec<_> = (0..PENDING).map(|n| timers.insert(moment(), n)).collect();
    group.bench_function("set", |b| {
        b.iter_custom(|count| in_chunks(count, &mut timers, |timers| timers.insert(moment(), 0), drop_it).0);
    });
    group.bench_function("cancel", |b| {
        b.iter_custom(|count| in_chunks(count, &mut timers, |timers| timers.insert(moment(), 0), drop_it).1);
    });
    group.bench_function("refresh", |b| {
        b.iter(|| timers.reschedule(keys[places.below(PENDING)], moment()));
    });
    group.bench_function("nothing is due", |b| b.iter(|| black_box(timers.due(Moment::ZERO))));

    // The number makes equal moments different keys.
    let mut map: BTreeMap<(Moment, usize), usize> = BTreeMap::new();
    let mut keys: Vec<_> = (0..PENDING).map(|n| (moment(), n)).collect();
    map.extend(keys.iter().map(|key| (*key, 0)));
    let mut set = |map: &mut BTreeMap<_, _>| {
        let key = (moment(), PENDING);
        map.insert(key, 0);
        key
    };
    let cancel = |map: &mut BTreeMap<_, _>, key| {
        map.remove(&key);
    };
    group.bench_function("set, with a BTreeMap", |b| {
        b.iter_custom(|count| in_chunks(count, &mut map, &mut set, cancel).0);
    });
    group.bench_function("cancel, with a BTreeMap", |b| {
        b.iter_custom(|count| in_chunks(count, &mut map, &mut set, cancel).1);
    });
    group.bench_function("refresh, with a BTreeMap", |b| {
        b.iter(|| {
            let key = &mut keys[places.below(PENDING)];
            map.remove(key);
            *key = (Moment(key.0.0 ^ 0xff_ffff), key.1);
            map.insert(*key, 0)
        });
    });
    group.finish();
}

fn drop_it(timers: &mut Timers<usize>, key: id::Key) {
    timers.remove(key);
}

/// Adds so many to a structure and takes them away again, a thousand at a
/// time; returns the time that each of the two took.
fn in_chunks<T, K>(
    count: u64,
    to: &mut T,
    mut add: impl FnMut(&mut T) -> K,
    take: impl Fn(&mut T, K),
) -> (Duration, Duration) {
    const CHUNK: u64 = 1_000;
    let mut keys = Vec::new();
    let mut spent = (Duration::ZERO, Duration::ZERO);
    let mut left = count;
    while left > 0 {
        let chunk = left.min(CHUNK);
        left -= chunk;
        let began = Instant::now();
        keys.extend((0..chunk).map(|_| add(to)));
        spent.0 += began.elapsed();
        let began = Instant::now();
        keys.drain(..).for_each(|key| take(to, key));
        spent.1 += began.elapsed();
    }
    spent
}

/// Bytes on their way into a handler.
fn input(c: &mut Criterion) {
    let mut group = c.benchmark_group("input");
    let mut input = Input::new(64 << 10, 0);
    for size in [64, 4 << 10, 64 << 10] {
        input.spare(size).fill(b'x');
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("shown and taken", size), |b| {
            b.iter(|| {
                input.filled(black_box(size));
                black_box(input.show_from(0)).clear();
                input.leftover()
            });
        });
        group.bench_function(BenchmarkId::new("shown and left", size), |b| {
            b.iter(|| {
                input.filled(black_box(size));
                input.show_from(0);
                input.leftover()
            });
        });
        let (from, mut to) = (vec![b'x'; size], vec![0; size]);
        group.bench_function(BenchmarkId::new("the same copied once", size), |b| {
            b.iter(|| black_box(&mut to).copy_from_slice(black_box(&from)));
        });
    }
    group.finish();
}

/// Who is in which group.
fn groups(c: &mut Criterion) {
    const MEMBERS: usize = 1_000;
    let mut group = c.benchmark_group("groups");
    let mut groups = Groups::new();
    let mut table = Table::new();
    let all = groups.create();
    let ids: Vec<_> = (0..MEMBERS).map(|n| ConnId(table.insert(n))).collect();
    for id in &ids {
        groups.join(all, *id);
    }
    group.bench_function("join and leave one of 1,000 members", |b| {
        b.iter(|| {
            groups.join(all, ids[0]);
            groups.leave(all, ids[0])
        });
    });
    group.throughput(Throughput::Elements(MEMBERS as u64));
    group.bench_function("go through 1,000 members", |b| {
        b.iter(|| groups.members(all).iter().filter(|id| table.get(id.0).is_some()).count());
    });
    group.finish();
}

/// What it costs to reach into a reactor.
fn wake(c: &mut Criterion) {
    let mut group = c.benchmark_group("wake");
    let (mut reactor, handle) = idle_reactor();
    group.bench_function("call and turn on one thread", |b| {
        b.iter(|| {
            handle.call(|_, _| {}).expect("nothing else waits");
            reactor.turn(Some(Duration::ZERO)).expect("a turn")
        });
    });

    // A reactor stays on the thread that made it.
    let (tell, told) = mpsc::channel();
    let server = thread::spawn(move || {
        let (mut reactor, handle) = idle_reactor();
        tell.send(handle).expect("the bench waits for it");
        reactor.serve_forever().expect("it serves");
    });
    let handle = told.recv().expect("the reactor starts");
    let (reply, replies) = mpsc::sync_channel(1);
    group.bench_function("call from another thread, and reply", |b| {
        b.iter(|| {
            let reply = reply.clone();
            handle
                .call(move |_, _| reply.send(()).expect("the bench waits for it"))
                .expect("nothing else waits");
            replies.recv().expect("the call runs")
        });
    });
    handle.shutdown(Duration::ZERO);
    server.join().expect("the reactor ends");
    group.finish();
}

fn idle_reactor() -> (Reactor, Handle<Echo>) {
    let mut reactor = Reactor::new(Config::default()).expect("a reactor");
    let service = reactor.add(Echo::new(), Limits::default()).expect("good limits");
    let handle = reactor.handle(&service);
    (reactor, handle)
}

criterion_group! {
    name = parts;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = ids, queue, input, groups, timers, wake
}
criterion_main!(parts);
