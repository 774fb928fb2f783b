//! The reactor's invariants between two turns, which the simulation checks
//! after each turn.

use std::time::Duration;

use super::Reactor;
use crate::children::{Child, ChildState};
use crate::conn::{Conn, NO_SESSION, UNSCHEDULED};
use crate::core::{Core, NO_CONNECTION, Purpose};
use crate::driver::Driver;
use crate::driver::sim::WillTell;
use crate::id::{ChildId, ConnId, SocketId};
use crate::life::{Flags, Input, Output, Phase};
use crate::moment::Moment;
use crate::service_stats::ServiceStats;
use crate::socket::Socket;

/// Returns an error that names the broken condition and its subject.
macro_rules! holds {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}

impl<D: Driver> Reactor<D> {
    /// True when the queue of a connection is down to its low mark, and no
    /// `drained` is pending. Whether one has to be is for the caller to know.
    pub(crate) fn has_forgotten_drained(&self, id: ConnId) -> bool {
        let Some(conn) = self.core.conns.get(id.0) else { return false };
        conn.is_live() && conn.is_low(self.core.limits(id, conn)) && !conn.has(Flags::DRAINED_PENDING)
    }

    /// Checks the reactor's state against its own invariants: every counter
    /// equals what it counts, flags and work lists agree, no limit is exceeded,
    /// and no connection that has work is forgotten. Call it between turns; it
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// The first broken invariant, as text.
    #[doc(hidden)]
    pub fn check_invariants(&self) -> Result<(), String> {
        let core = &self.core;
        holds!(
            core.current == NO_CONNECTION && core.direct.is_empty() && !core.direct.is_granted(),
            "something is in hand between turns"
        );
        let layers = core.conns.iter().filter(|(_, conn)| conn.has(Flags::LAYERED)).count();
        holds!(layers == core.layers.len(), "{layers} connections have {} layers", core.layers.len());
        let (counted, under_way) = (core.layers.counted(), core.layers.under_way);
        holds!(counted == under_way, "{counted} handshakes are under way, and {under_way} are counted");
        holds!(under_way <= core.config.max_handshakes, "too many handshakes: {under_way}");
        holds!(core.pool.is_sound(), "the pool of buffers miscounts");
        holds!(core.shared.is_empty() || !core.to_flush.is_empty(), "a shared is kept for nobody");
        holds!(!core.cross_writes || !core.to_flush.is_empty(), "output waits for a flush that has been");
        holds!(
            !core.has_listed() || core.pending.is_listed(),
            "something is listed and the next turn would wait"
        );
        holds!(core.connections() <= core.max_connections, "{} connections", core.connections());
        let own = core.conns.iter().filter(|(_, conn)| conn.is_own()).count();
        holds!(core.own == own, "{own} connections are the program's own, and {} are counted", core.own);
        #[cfg(feature = "workers")]
        for (key, conn) in core.conns.iter() {
            let waits = |pending: &&crate::core::PendingJob| pending.conn == ConnId(key);
            let jobs = core.jobs.table.iter().filter(|(_, pending)| waits(pending)).count();
            let counted = conn.extras.as_ref().map_or(0, |extras| extras.jobs as usize);
            holds!(jobs == counted, "{key} waits for {jobs} jobs and counts {counted}");
            holds!(
                conn.has(Flags::HAS_JOBS) == (jobs > 0),
                "{key} waits for {jobs} jobs and its flag differs"
            );
        }
        for (key, conn) in core.conns.iter() {
            check_lists(core, ConnId(key), conn)?;
            check_limits(core, ConnId(key), conn)?;
            check_work(core, ConnId(key), conn)?;
            check_layer(core, ConnId(key), conn)?;
            let socket = self.streams.get(key).is_some();
            let is_to_be_pipe = conn.has(Flags::PIPE) && conn.life.is_connecting();
            let begun = !is_to_be_pipe && !core.to_connect.contains(&ConnId(key));
            let was_begun = !conn.life.is_unanswered() && !conn.has(Flags::PIPE);
            let failed = !was_begun && conn.life.is_dead();
            let waits = self.connect_queue.waiting.contains(&ConnId(key));
            #[cfg(feature = "workers")]
            let waits = waits
                || self.attempts.contains(ConnId(key))
                || conn.life.is_connecting() && conn.has(Flags::HAS_JOBS);
            holds!(socket == (begun && !waits) || failed, "connection {key} and its socket are not in step");
            if begun {
                check_deadline(core, ConnId(key), conn)?;
                let is_left = self.has_left_output && conn.has(Flags::IN_FLUSH_LIST);
                check_overdue(core, ConnId(key), conn, is_left)?;
            }
            check_pipe(core, ConnId(key), conn)?;
        }
        let told = core.children.table.iter().filter(|(_, child)| child.state == ChildState::Told).count();
        holds!(told == core.children.told, "{told} children were told of, not {}", core.children.told);
        holds!(core.children.under_way() <= core.config.max_children, "too many children");
        holds!(told <= 2 * core.config.max_children, "too many children wait for a signal");
        for (key, child) in core.children.table.iter() {
            check_child(core, ChildId(key), child)?;
            let process = self.processes.get(key).is_some();
            let begun = !matches!(child.state, ChildState::Asked(_) | ChildState::Cancelled);
            holds!(process == begun, "child {key} and its process are not in step");
        }
        let processes = self.processes.count();
        holds!(processes <= core.children.table.len(), "{processes} processes of fewer children");
        let sockets = self.streams.count();
        holds!(sockets <= core.conns.len(), "{sockets} sockets for {} connections", core.conns.len());
        for (place, listener) in self.listeners.table.iter() {
            let lists = self.listeners.ready.iter().chain(self.listeners.crowded.iter().copied());
            let listed = lists.filter(|ready| ready.0 == place).count();
            holds!(listed == usize::from(listener.ready), "listener {place} is listed {listed} times");
        }
        for (key, socket) in core.datagrams.table.iter() {
            check_socket(core, SocketId(key), socket)?;
        }
        let crowd = &self.connect_queue;
        holds!(crowd.timer.is_some() || crowd.waiting.is_empty(), "nobody looks when there is room");
        let failed = self.listeners.table.iter().any(|(_, listener)| listener.failed.is_some());
        holds!(self.listeners.again.is_some() || !failed, "a listener that failed is not made again");
        let own = [self.listeners.paused, self.listeners.again, self.connect_queue.timer];
        let own_timers = own.iter().flatten().count();
        #[cfg(feature = "workers")]
        let own_timers = own_timers + self.attempts.timers();
        check_stats(core)?;
        check_counts(core, own_timers)
    }

    /// Checks the reactor's readiness flags against its driver: for each socket
    /// that the reactor believes not ready, the driver will report an event
    /// when that changes. Call it between turns.
    ///
    /// # Errors
    ///
    /// The first broken invariant, as text.
    #[doc(hidden)]
    pub fn check_readiness(&self, will_tell: impl Fn(&D::Stream) -> WillTell) -> Result<(), String> {
        for (key, conn) in self.core.conns.iter() {
            let Some(socket) = self.streams.get(key) else { continue };
            let is_made = !conn.life.is_connecting() || self.core.layers.is_begun(key);
            if !is_made || conn.life.is_dead() {
                continue;
            }
            let WillTell { input, room } = will_tell(socket);
            let reads = conn.has(Flags::READABLE) || conn.life.input() == Input::Done;
            holds!(reads || input, "connection {key} is taken for read to its end, and is not");
            holds!(conn.has(Flags::WRITABLE) || room, "connection {key} is taken for full, and is not");
        }
        Ok(())
    }

    /// The number of sockets of connections, those that are being connected included,
    /// and of ends of pipes.
    #[doc(hidden)]
    #[must_use]
    pub fn streams(&self) -> usize {
        let streams = self.streams.count();
        #[cfg(feature = "workers")]
        let streams = streams + self.attempts.sockets();
        streams
    }

    /// The number of timers, of handlers and of the reactor's own.
    #[doc(hidden)]
    #[must_use]
    pub fn timers(&self) -> usize {
        self.core.timers.len() + self.core.deadline_checks.len()
    }
}

fn check_lists(core: &Core, id: ConnId, conn: &Conn) -> Result<(), String> {
    let lists = [
        ("read", &core.to_read, Flags::IN_READ_LIST),
        ("drained", &core.to_drain, Flags::DRAINED_PENDING),
        ("reap", &core.to_reap, Flags::IN_REAP_LIST),
    ];
    for (name, list, flag) in lists {
        check_listed(list.iter(), name, id, conn.has(flag))?;
    }
    check_listed(core.to_flush.iter(), "flush", id, conn.has(Flags::IN_FLUSH_LIST))
}

fn check_listed(
    list: impl Iterator<Item = ConnId>,
    name: &str,
    id: ConnId,
    flag: bool,
) -> Result<(), String> {
    let times = list.filter(|listed| *listed == id).count();
    holds!(times == usize::from(flag), "connection {id} is {times} times in the list to {name}");
    Ok(())
}

fn check_limits(core: &Core, id: ConnId, conn: &Conn) -> Result<(), String> {
    let limits = core.limits(id, conn);
    if let Some(queue) = &conn.out {
        holds!(queue.is_sound(&core.shared), "the queue of connection {id} miscounts");
        let waits = conn.has(Flags::IN_FLUSH_LIST);
        holds!(waits || !queue.refers(), "connection {id} has a part of the shared and is not flushed");
        holds!(queue.len() > 0, "connection {id} keeps an empty queue");
        let told = conn.has(Flags::ABOVE_HIGH) || !conn.is_live();
        holds!(queue.len() <= limits.high_mark || told, "connection {id} is above its high mark untold");
        // What waits when a handler changes the marks stays.
        let most = limits.hard_mark.saturating_add(if conn.is_live() { 0 } else { limits.last_word });
        let within = queue.in_memory() <= most || conn.has(Flags::OWN_LIMITS);
        holds!(within, "{} bytes are queued for connection {id}", queue.len());
        holds!(
            queue.files() <= limits.max_files || conn.has(Flags::OWN_LIMITS),
            "{} files wait",
            queue.files()
        );
    }
    if let Some(kept) = &conn.leftover {
        holds!(!kept.is_empty(), "connection {id} keeps an empty buffer");
    }
    let input = conn.leftover.as_ref().map_or(0, |kept| kept.len());
    let (in_frame, is_begun) = (conn.has(Flags::IN_FRAME), conn.has(Flags::FRAME_DECLARED));
    holds!(conn.is_live() || !in_frame, "connection {id} is closing and awaits a frame");
    holds!(in_frame == (is_begun || input > 0), "connection {id} has {input} bytes of no frame");
    holds!(input <= limits.max_input, "connection {id} keeps {input} bytes of input");
    holds!(core.groups.is_sound(id), "connection {id} is not where its group has it");
    for (place, timer) in conn.extras.iter().flat_map(|extras| extras.timers.iter().enumerate()) {
        let alarm = core.timers.get(*timer).copied();
        let holds = alarm.is_some_and(|alarm| alarm.purpose == Purpose::Session(id) && alarm.is_at(place));
        holds!(holds, "timer {timer} of connection {id} is {alarm:?}");
    }
    Ok(())
}

/// Checks that no work of a connection is forgotten: no edge would come for it.
fn check_work(core: &Core, id: ConnId, conn: &Conn) -> Result<(), String> {
    let has = |flags| conn.has(flags);
    if conn.life.is_connecting() {
        let is_readable = has(Flags::LAYERED) && has(Flags::READABLE);
        let is_listed = core.to_establish.contains(&id);
        holds!(!is_readable || is_listed, "the handshake of connection {id} is forgotten");
    }
    let alive = !conn.life.is_dead();
    let readable = has(Flags::READABLE) && conn.life.is_read() && alive && !conn.life.is_connecting();
    holds!(!readable || has(Flags::IN_READ_LIST), "connection {id} is readable and forgotten");
    let resumed = has(Flags::RESUMED) && !has(Flags::PAUSED) && conn.is_live();
    holds!(!resumed || has(Flags::IN_READ_LIST), "connection {id} has resumed and is forgotten");
    let writable = has(Flags::WRITABLE) && conn.awaits_room() && alive;
    holds!(!writable || has(Flags::IN_FLUSH_LIST), "connection {id} is writable and forgotten");
    holds!(
        !has(Flags::DIRTY) || !alive || has(Flags::IN_FLUSH_LIST),
        "connection {id} is dirty and forgotten"
    );
    let written = !conn.has_output();
    let ends = conn.phase() == Phase::Closing && written
        || conn.life.output() == Output::Finishing && written && conn.is_live();
    holds!(
        !ends || has(Flags::IN_FLUSH_LIST),
        "connection {id} has written everything and its end is forgotten"
    );
    let full = has(Flags::ABOVE_HIGH) && conn.is_live() && conn.out.is_none();
    holds!(!full || has(Flags::DRAINED_PENDING), "connection {id} waits for a drained that is forgotten");
    let held = has(Flags::HELD) && conn.is_live();
    holds!(!held || has(Flags::PAUSED), "connection {id} is held and read");
    let released = has(Flags::ABOVE_HIGH.union(Flags::DRAINED_PENDING));
    holds!(!held || released, "connection {id} is held and its release is forgotten");
    let ended = conn.life.is_dead() || conn.phase() == Phase::Lingering && conn.session != NO_SESSION;
    holds!(!ended || has(Flags::IN_REAP_LIST), "connection {id} has ended and is forgotten");
    holds!(!conn.is_live() || conn.session != NO_SESSION, "connection {id} lives without a session");
    Ok(())
}

/// Checks that the deadline check is scheduled no later than the first
/// deadline.
fn check_deadline(core: &Core, id: ConnId, conn: &Conn) -> Result<(), String> {
    // What is flushed in the next turn is watched from then on.
    if conn.life.is_dead() || conn.has(Flags::IN_FLUSH_LIST) {
        return Ok(());
    }
    let first = core.first_deadline(id, conn);
    let look = (conn.check_place != UNSCHEDULED).then(|| core.deadline_checks.at(conn.check_place));
    // A deadline that has passed is checked again in the next turn.
    let next = core.moment.plus(Duration::from_nanos(1));
    let in_time = first.is_none_or(|first| look.is_some_and(|look| look <= first.at.max(next)));
    holds!(in_time, "connection {id} is looked at {look:?}, and {first:?} comes before");
    Ok(())
}

/// Checks that no connection gets more time than its limits allow,
/// independently of `first_deadline`.
fn check_overdue(core: &Core, id: ConnId, conn: &Conn, is_left: bool) -> Result<(), String> {
    if conn.check_place != UNSCHEDULED
        && core.deadline_checks.at(conn.check_place) <= core.moment.plus(Duration::from_nanos(1))
    {
        // Work that may prove the deadline kept comes first.
        return Ok(());
    }
    let limits = core.limits(id, conn);
    let overdue = |since: Moment, limit: Option<Duration>| {
        limit.map_or(Moment::NEVER, |limit| since.plus(limit)) <= core.observed_until
    };
    if conn.phase() == Phase::Lingering {
        holds!(!overdue(conn.stalled_since, Some(limits.linger)), "connection {id} lingers");
        return Ok(());
    }
    if conn.has(Flags::PIPE) || conn.life.is_dead() {
        return Ok(());
    }
    if conn.life.is_connecting() {
        let limit = if conn.life.is_unanswered() { limits.connect } else { limits.handshake };
        holds!(!overdue(conn.awaits_since, limit), "connection {id} is still being made");
        return Ok(());
    }
    let shakes = conn.has(Flags::HANDSHAKING);
    holds!(!shakes || !overdue(conn.awaits_since, limits.handshake), "connection {id} still shakes hands");
    let has_own_idle = conn.extras.as_ref().is_some_and(|extras| extras.idle.is_some());
    let may_idle = has_own_idle || conn.has(Flags::BUSY.union(Flags::HAS_JOBS)) && conn.is_live();
    holds!(may_idle || !overdue(conn.last_activity, limits.idle), "connection {id} is idle");
    let reads = conn.is_live() && !conn.has(Flags::PAUSED) && !shakes;
    let says_nothing = reads && conn.has(Flags::AWAITS_FIRST_FRAME);
    holds!(!says_nothing || !overdue(conn.awaits_since, limits.first_frame), "connection {id} says nothing");
    let begun = reads && conn.has(Flags::IN_FRAME);
    holds!(!begun || !overdue(conn.frame_since, limits.frame), "connection {id} ends no frame");
    let own = conn.extras.as_ref().and_then(|extras| extras.deadline).filter(|_| conn.is_live());
    let is_over = own.is_some_and(|own| own.at() <= core.observed_until);
    holds!(!is_over, "connection {id} is there behind its handler's deadline");
    // What a turn has left to the next one was not offered yet, though there is room.
    let writes = conn.awaits_room() && !(is_left && conn.has(Flags::WRITABLE));
    holds!(!writes || !overdue(conn.stalled_since, limits.write_stall), "connection {id} takes nothing");
    Ok(())
}

/// Checks the bytes that wait on either side of a layer.
fn check_layer(core: &Core, id: ConnId, conn: &Conn) -> Result<(), String> {
    let Some(layered) = core.layers.get(id.0).filter(|_| conn.has(Flags::LAYERED)) else {
        let flags = Flags::LAYERED.union(Flags::HANDSHAKING).union(Flags::WIRE_PENDING);
        holds!(!conn.has(flags), "connection {id} lacks its layer");
        return Ok(());
    };
    if conn.life.is_dead() {
        return Ok(());
    }
    let buffer = core.config.layer_buffer;
    holds!(layered.wire.len() <= 5 * buffer, "{} bytes wait behind a layer", layered.wire.len());
    holds!(layered.unread.len() <= buffer, "{} bytes wait before a layer", layered.unread.len());
    let waits = !layered.wire.is_empty() || layered.clear > 0;
    holds!(waits == conn.has(Flags::WIRE_PENDING), "connection {id} has bytes of its layer: {waits}");
    let named = layered.sealed + layered.clear;
    holds!(named <= conn.queued(), "{named} bytes of the queue of connection {id} are accounted for");
    holds!(layered.sealed == 0 || !layered.wire.is_empty(), "connection {id} keeps what has left");
    let holds_back = !layered.unread.is_empty() || layered.failed.is_some();
    let is_told = conn.has(Flags::READABLE) || !conn.is_live();
    holds!(!holds_back || is_told, "connection {id} has input with its layer, and is not readable");
    Ok(())
}

/// Checks that a pipe belongs to a child that lives as long as the pipe.
fn check_pipe(core: &Core, id: ConnId, conn: &Conn) -> Result<(), String> {
    let Some(of) = conn.child() else { return Ok(()) };
    holds!(conn.has(Flags::PIPE), "connection {id} is no pipe and has a child");
    let is_one = |child: &Child| child.pipes.contains(&Some(id)) && child.service == conn.service;
    holds!(core.children.table.get(of.0).is_some_and(is_one), "the pipe {id} is none of child {of}");
    Ok(())
}

/// Checks that no child is forgotten: an event or a timer leads to its end, or
/// it is on a work list, or its handler holds it up.
fn check_child(core: &Core, id: ChildId, child: &Child) -> Result<(), String> {
    let children = &core.children;
    let starts = children.to_start.iter().filter(|listed| *listed == id).count();
    let is_new = matches!(child.state, ChildState::Asked(_) | ChildState::Cancelled);
    holds!(starts == usize::from(is_new), "child {id} is {starts} times in the list to start");
    let is_told_soon = children.to_tell.contains(&id);
    let is_signalled_soon = children.to_signal.iter().any(|(child, _)| child == id);
    holds!(!is_new || child.timer.is_none(), "child {id} is timed before it began");
    let look = child.timer.and_then(|timer| core.timers.moment(timer));
    // A child whose poll a signal interrupted is polled in the next turn.
    let next = core.moment.plus(Duration::from_nanos(1));
    let in_time = is_new || look.is_some_and(|look| look <= child.first_due().max(next));
    holds!(in_time, "child {id} is looked at {look:?}, and due {:?}", child.first_due());
    let mut pipes = child.pipes.into_iter().flatten().filter_map(|pipe| core.conns.get(pipe.0));
    match &child.state {
        ChildState::Asked(_) => {
            let all = pipes.all(|pipe| pipe.has(Flags::PIPE) && pipe.phase() >= Phase::Connecting);
            holds!(all, "child {id} is to be started, and has other pipes");
        }
        ChildState::Cancelled => {}
        ChildState::Running => {
            let begun = pipes.all(|pipe| pipe.phase() > Phase::Connecting);
            holds!(begun, "child {id} runs, and a pipe of it has not begun");
        }
        ChildState::Exited(_) => {
            let stdin = child.pipes[0].and_then(|pipe| core.conns.get(pipe.0));
            let ended = stdin.is_none_or(|stdin| stdin.phase() == Phase::Dead);
            holds!(ended, "child {id} has exited, and its input is open");
            let waits = pipes.next().is_some();
            holds!(waits || is_told_soon, "child {id} has exited, and nobody will be told");
            let holds_up = |pipe: &Conn| !pipe.is_live() || pipe.has(Flags::PAUSED) || pipe.has_backlog();
            let mut outputs = child.outputs().filter_map(|pipe| core.conns.get(pipe.0));
            let has_grace = if child.grace_is_over {
                outputs.all(holds_up)
            } else {
                child.pipes_until != Moment::NEVER || child.times.pipe_grace == Duration::MAX
            };
            holds!(has_grace || is_told_soon, "child {id} has exited, and its pipes are waited for in vain");
        }
        ChildState::Told => {
            holds!(pipes.next().is_none(), "child {id} was told of, and has pipes");
            let waits = child.kill_at != Moment::NEVER || is_signalled_soon || is_told_soon;
            holds!(waits, "child {id} was told of, and will not be reaped");
        }
    }
    Ok(())
}

/// Checks that no datagram is forgotten: its socket is on the list to send
/// from, or the system has no room and the write-stall timer runs.
fn check_socket(core: &Core, id: SocketId, socket: &Socket) -> Result<(), String> {
    let limits = &core.services[usize::from(socket.service)].limits;
    let (waiting, bytes) = (socket.waiting(), socket.bytes());
    holds!(waiting <= limits.max_datagrams, "{waiting} datagrams wait on socket {id}");
    holds!(bytes <= limits.hard_mark, "{bytes} bytes wait on socket {id}");
    let listed = core.datagrams.to_send.iter().filter(|listed| *listed == id).count();
    holds!(listed == usize::from(socket.sends_later()), "socket {id} is {listed} times in the list to send");
    let stalled = socket.stalled.and_then(|timer| core.timers.moment(timer));
    holds!(stalled.is_none() || waiting > 0, "socket {id} is stalled with nothing to send");
    if waiting > 0 && listed == 0 {
        holds!(!socket.writable, "socket {id} has room, and what waits is forgotten");
        let watched = stalled.is_some() || limits.write_stall.is_none();
        holds!(watched, "socket {id} may have no room for ever");
    }
    let longest = limits.write_stall.map(|patience| core.moment.plus(patience));
    holds!(stalled <= longest, "socket {id} has more time than it is given");
    Ok(())
}

/// Checks that what is counted by service is what is counted of all.
fn check_stats(core: &Core) -> Result<(), String> {
    let sum = |of: fn(&ServiceStats) -> u64| core.services.iter().map(|state| of(&state.stats)).sum::<u64>();
    let stats = &core.stats;
    for (what, by_service, of_all) in [
        ("accepted", sum(|of| of.accepted), stats.accepted),
        ("refused at a limit", sum(|of| of.refused_full), stats.refused_full),
        ("refused by handlers", sum(|of| of.refused_by_handler), stats.refused_by_handler),
        ("closed", sum(|of| of.closed.total()), stats.closed),
        ("timed out", sum(|of| of.closed.timed_out), stats.timed_out),
        ("broken", sum(|of| of.closed.broken), stats.broken),
        ("overflowed", sum(|of| of.closed.overflowed), stats.overflowed),
        ("failed", sum(|of| of.failed), stats.failed),
        ("panicked", sum(|of| of.panicked), stats.panicked),
        ("slow", sum(|of| of.slow), stats.slow),
    ] {
        holds!(by_service == of_all, "{of_all} are counted as {what}, and {by_service} by service");
    }
    let (turns, measured) = (stats.turns, stats.turn_times.count());
    holds!(measured <= turns, "{measured} of {turns} turns are measured");
    Ok(())
}

fn check_counts(core: &Core, own_timers: usize) -> Result<(), String> {
    for (service, state) in core.services.iter().enumerate() {
        let is_its = |conn: &Conn| usize::from(conn.service) == service && conn.child().is_none();
        let there = core.conns.iter().filter(|(_, conn)| is_its(conn)).count();
        holds!(
            there == state.stats.connections,
            "service {service} has {there} connections, not {}",
            state.stats.connections
        );
        holds!(there <= state.limits.max_connections, "service {service} has {there} connections");
    }
    let is_handlers = |purpose| matches!(purpose, Purpose::Session(_) | Purpose::Service(_));
    let of_handlers = core.timers.values().filter(|alarm| is_handlers(alarm.purpose)).count();
    holds!(
        of_handlers == core.handler_timers,
        "{of_handlers} timers of handlers, not {}",
        core.handler_timers
    );
    let deadline_checks = core.conns.iter().filter(|(_, conn)| conn.check_place != UNSCHEDULED).count();
    holds!(
        deadline_checks == core.deadline_checks.len(),
        "{} looks at deadlines, not {deadline_checks}",
        core.deadline_checks.len()
    );
    let stalled = core.datagrams.table.iter().filter(|(_, socket)| socket.stalled.is_some()).count();
    let due = core.children.table.iter().filter(|(_, child)| child.timer.is_some()).count();
    let timers = of_handlers + stalled + due + own_timers;
    holds!(timers == core.timers.len(), "{} timers, not {timers}", core.timers.len());
    let own_limits = core.conns.iter().filter(|(_, conn)| conn.has(Flags::OWN_LIMITS)).count();
    holds!(core.own_limits.are(own_limits), "limits are kept of others than {own_limits} connections");
    let memberships: usize = core.conns.iter().map(|(key, _)| core.groups.of(ConnId(key)).count()).sum();
    holds!(
        core.groups.memberships() == Some(memberships),
        "{memberships} memberships, not those of the groups"
    );
    Ok(())
}
