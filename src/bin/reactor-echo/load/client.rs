//! `Client`: the loop that drives all connections of the load.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::alarm::Alarm;
use super::connection::{Connection, Wire};
use super::connector::Connector;
use super::failure::{Failure, Failures};
use super::phase::Phase;
use super::{Clock, LoadOptions, Observer, Pace, Window, nanos};

/// The alarm's token; connections have their index.
const ALARM: Token = Token(usize::MAX);

/// Events taken at once.
const EVENTS: usize = 1024;

/// The shortest period of checking for stalls and showing progress.
const TICK: Duration = Duration::from_millis(100);

/// The connections and what drives them.
#[derive(Debug)]
pub(super) struct Client {
    /// The readiness of all connections.
    poll: Poll,
    /// The schedule's wake-up.
    alarm: Alarm,
    /// Those which carry messages, then the idle ones; none where one has
    /// failed.
    connections: Vec<Option<Connection>>,
    /// The indices of the connections that carry messages and were open when
    /// the phase began: the order of the open loop's schedule.
    scheduled: Vec<usize>,
    /// The number of `scheduled` connections that are still open.
    alive: usize,
    /// Connections with work left, for which no event will come.
    queue: VecDeque<usize>,
    /// The messages.
    wire: Wire,
    /// When they begin.
    pace: Pace,
    /// How many connections carry messages.
    carriers: usize,
    /// How long a connection may owe bytes without one moving.
    timeout: u64,
    /// The period of checking for stalls.
    tick: Duration,
    /// What went wrong.
    failures: Failures,
}

impl Client {
    /// Makes the connections.
    pub(super) fn connect(options: &LoadOptions, observer: &mut dyn Observer) -> io::Result<Self> {
        let clock = Clock::start();
        let mut poll = Poll::new()?;
        let mut failures = Failures::default();
        let streams = Connector::new(&mut poll, options, &mut failures)?.run(options, clock, observer)?;
        let connections = streams
            .into_iter()
            .enumerate()
            .map(|(index, stream)| stream.map(|stream| Connection::new(index, stream)))
            .collect();
        Ok(Self {
            alarm: Alarm::new(poll.registry(), ALARM)?,
            poll,
            connections,
            scheduled: Vec::with_capacity(options.connections),
            alive: 0,
            queue: VecDeque::new(),
            wire: Wire::new(options.size, clock),
            pace: options.pace,
            carriers: options.connections,
            timeout: nanos(options.timeout),
            tick: TICK.min(options.timeout / 4),
            failures,
        })
    }

    /// Runs one phase to its end, showing its progress now and then.
    pub(super) fn drive(&mut self, window: Window, progress: &mut dyn FnMut(f64, u64)) -> io::Result<Phase> {
        let mut events = Events::with_capacity(EVENTS);
        let mut phase = self.enter(window);
        let mut next_tick = phase.now;
        loop {
            phase.now = self.wire.clock.now();
            if self.alive > 0 {
                self.begin_due(&mut phase);
            } else {
                phase.abandon();
            }
            if phase.is_over() {
                return Ok(phase);
            }
            if phase.now >= next_tick {
                self.expire(&mut phase);
                progress(phase.fraction(), phase.completed());
                next_tick = phase.now + nanos(self.tick);
            }

            let wait_for = if self.queue.is_empty() { self.tick } else { Duration::ZERO };
            if let Pace::Open { .. } = self.pace
                && phase.next_time() > phase.now
            {
                self.alarm.set(phase.next_time(), phase.now)?;
            }
            wait(&mut self.poll, &mut events, wait_for)?;

            for event in &events {
                let Token(index) = event.token();
                // The alarm's token is no index, and a connection which has
                // failed may have an event behind it.
                if let Some(Some(connection)) = self.connections.get_mut(index) {
                    connection.note(event);
                    self.turn(index, &mut phase);
                }
            }
            for _ in 0..self.queue.len() {
                let Some(index) = self.queue.pop_front() else {
                    break;
                };
                if let Some(connection) = &mut self.connections[index] {
                    connection.queued = false;
                    self.turn(index, &mut phase);
                }
            }
        }
    }

    /// What went wrong so far.
    pub(super) fn into_failures(self) -> Failures {
        self.failures
    }

    /// Begins a phase with every connection at rest.
    fn enter(&mut self, window: Window) -> Phase {
        let carriers = &self.connections[..self.carriers];
        self.scheduled.clear();
        self.scheduled.extend((0..carriers.len()).filter(|&index| carriers[index].is_some()));
        self.alive = self.scheduled.len();

        let mut phase = Phase::new(self.pace, window, self.wire.clock.now());
        for place in 0..self.scheduled.len() {
            let index = self.scheduled[place];
            let Some(connection) = &mut self.connections[index] else {
                continue;
            };
            match self.pace {
                Pace::Closed { pipeline } => {
                    connection.enter_closed();
                    phase.now = self.wire.clock.now();
                    // A count smaller than all the pipelines is shared out.
                    let share = phase.left().div_ceil((self.scheduled.len() - place) as u64);
                    let count = phase.begin(pipeline.min(share));
                    connection.begin(count, self.wire.size, phase.now);
                }
                Pace::Open { .. } => {
                    connection.enter_open(place as u64, self.scheduled.len() as u64);
                }
            }
            self.turn(index, &mut phase);
        }
        // An idle connection may have input already.
        for index in self.carriers..self.connections.len() {
            self.turn(index, &mut phase);
        }
        phase
    }

    /// In the open loop, begins every message whose time has come.
    fn begin_due(&mut self, phase: &mut Phase) {
        if let Pace::Closed { .. } = self.pace {
            return;
        }
        let (first, due) = phase.due();
        let scheduled = self.scheduled.len() as u64;
        let now = phase.now;
        phase.begin(due);
        for offset in 0..due.min(scheduled) {
            // The connection's own message, then one for every whole round
            // later.
            let count = (due - offset).div_ceil(scheduled);
            let index = self.scheduled[((first + offset) % scheduled) as usize];
            match &mut self.connections[index] {
                Some(connection) => {
                    connection.begin(count, self.wire.size, now);
                    self.turn(index, phase);
                }
                None => phase.lose(count),
            }
        }
    }

    /// Lets a connection read and write, and ends it if that fails.
    fn turn(&mut self, index: usize, phase: &mut Phase) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        match connection.turn(&mut self.wire, phase) {
            Ok(again) => {
                if again && !connection.queued {
                    connection.queued = true;
                    self.queue.push_back(index);
                }
            }
            Err(failure) => self.fail(index, failure, phase),
        }
    }

    /// Ends the connections that have stalled.
    fn expire(&mut self, phase: &mut Phase) {
        for index in 0..self.connections.len() {
            if let Some(connection) = &self.connections[index]
                && let Err(failure) = connection.check_stalled(phase.now, self.timeout)
            {
                self.fail(index, failure, phase);
            }
        }
    }

    fn fail(&mut self, index: usize, failure: Failure, phase: &mut Phase) {
        if let Some(connection) = self.connections[index].take() {
            phase.lose(connection.outstanding());
            self.alive -= usize::from(index < self.carriers);
        }
        self.failures.add(index, failure);
    }
}

/// Waits for events; a signal is no reason to stop.
pub(super) fn wait(poll: &mut Poll, events: &mut Events, wait: Duration) -> io::Result<()> {
    match poll.poll(events, Some(wait)) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            events.clear();
            Ok(())
        }
        result => result,
    }
}
