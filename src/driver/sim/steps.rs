//! Steps of simulated child processes: runs them, and wakes processes that wait
//! for a pipe.

use super::act::Pace;
use super::network::{Due, Network, nanos};
use super::process::Left;
use super::program::Step;
use super::rng::Odds;
use super::trace::What;
use crate::process::Pipe;

const SIGPIPE: i32 = 13;

/// The outcome of running a step.
enum Go {
    /// It is done.
    Next,
    /// It is not finished yet.
    On,
    /// It waits for an event, which wakes the process.
    Wait,
}

/// The outcome of a write.
enum Put {
    Took(usize),
    Full,
    /// The pipe has no reader.
    Broken,
}

/// The outcome of a read.
enum Got {
    Bytes(Vec<u8>),
    End,
    Nothing,
}

impl Network {
    /// Schedules a process to run.
    pub(super) fn wake(&mut self, place: usize) {
        let process = &mut self.processes[place];
        let is_there = process.ended.is_none() || process.left == Left::Lives;
        if is_there && !std::mem::replace(&mut process.runnable, true) {
            let latency = self.latency();
            self.after(latency, Due::Runs(place));
        }
    }

    pub(super) fn run_process(&mut self, place: usize) {
        self.processes[place].runnable = false;
        loop {
            let process = &self.processes[place];
            if process.ended.is_some() {
                return self.run_grandchild(place);
            }
            let step = process.program.steps.get(process.step).cloned().unwrap_or(Step::Exit(0));
            match self.take_step(place, step) {
                Go::Wait => return,
                Go::Next => {
                    let process = &mut self.processes[place];
                    process.step += 1;
                    (process.done, process.wakes) = (0, None);
                }
                // The system may run something else first.
                Go::On if self.rng.chance(Odds::one_in(2)) => return self.wake(place),
                Go::On => {}
            }
        }
    }

    fn take_step(&mut self, place: usize, step: Step) -> Go {
        match step {
            Step::Sleep(time) => self.sleep(place, nanos(time)),
            Step::Write(pipe, bytes) => self.write_rest(place, pipe, &bytes),
            Step::WriteArguments => {
                let words = self.processes[place].arguments.clone();
                self.write_rest(place, Pipe::Stdout, &words)
            }
            Step::Repeat(bytes) => {
                if self.processes[place].wires[1].is_none() || bytes.is_empty() {
                    return Go::Wait; // the output would never be seen
                }
                match self.write_rest(place, Pipe::Stdout, &bytes) {
                    Go::Next if self.processes[place].done == bytes.len() => {
                        self.processes[place].done = 0;
                        Go::On
                    }
                    go => go,
                }
            }
            Step::Read(Pace::Never) | Step::Stay => Go::Wait,
            Step::Read(Pace::AtOnce) => match self.get(place, usize::MAX) {
                Got::Bytes(_) => Go::On,
                Got::End => Go::Next,
                Got::Nothing => Go::Wait,
            },
            Step::Read(Pace::Slowly { bytes, every }) => {
                if self.processes[place].wakes.is_some_and(|at| at > self.now) {
                    return Go::Wait;
                }
                match self.get(place, bytes) {
                    Got::Bytes(_) => {
                        self.processes[place].wakes = None;
                        self.sleep(place, nanos(every).max(1))
                    }
                    Got::End => Go::Next,
                    Got::Nothing => Go::Wait,
                }
            }
            Step::Copy => self.copy(place),
            Step::Close(pipe) => {
                self.close_end(place, pipe);
                Go::Next
            }
            Step::Exit(code) => {
                self.exit(place, i32::from(code) << 8);
                Go::Wait
            }
            Step::Die(signal) => {
                self.exit(place, i32::from(signal));
                Go::Wait
            }
        }
    }

    fn sleep(&mut self, place: usize, nanos: u64) -> Go {
        let now = self.now;
        let process = &mut self.processes[place];
        match process.wakes {
            Some(at) if at <= now => Go::Next,
            Some(_) => Go::Wait,
            None => {
                let at = now.saturating_add(nanos);
                process.wakes = Some(at);
                if at != u64::MAX {
                    self.at(at, Due::Runs(place));
                }
                Go::Wait
            }
        }
    }

    /// Writes the rest of `bytes`, as far as there is room.
    fn write_rest(&mut self, place: usize, pipe: Pipe, bytes: &[u8]) -> Go {
        let done = self.processes[place].done;
        if done == bytes.len() {
            return Go::Next;
        }
        match self.put(place, pipe, &bytes[done..]) {
            Put::Took(count) => {
                self.processes[place].done += count;
                if done + count == bytes.len() { Go::Next } else { Go::On }
            }
            Put::Full => Go::Wait,
            Put::Broken => self.meet_broken_pipe(place),
        }
    }

    fn copy(&mut self, place: usize) -> Go {
        let carried = std::mem::take(&mut self.processes[place].carried);
        if carried.is_empty() {
            return match self.get(place, usize::MAX) {
                Got::Bytes(bytes) => {
                    self.processes[place].carried = bytes;
                    Go::On
                }
                Got::End => Go::Next,
                Got::Nothing => Go::Wait,
            };
        }
        match self.put(place, Pipe::Stdout, &carried) {
            Put::Took(count) => {
                self.processes[place].carried = carried[count..].to_vec();
                Go::On
            }
            Put::Full => {
                self.processes[place].carried = carried;
                Go::Wait
            }
            Put::Broken => match self.meet_broken_pipe(place) {
                Go::Next => Go::On, // and reads what comes, to lose it too
                go => go,
            },
        }
    }

    fn meet_broken_pipe(&mut self, place: usize) -> Go {
        if self.processes[place].program.ignores_broken_pipes {
            return Go::Next;
        }
        self.exit(place, SIGPIPE);
        Go::Wait
    }

    fn put(&mut self, place: usize, pipe: Pipe, bytes: &[u8]) -> Put {
        let process = &self.processes[place];
        let Some(wire) = process.wires[pipe as usize].filter(|_| process.open[pipe as usize]) else {
            return Put::Took(bytes.len()); // `/dev/null`, or EBADF
        };
        if !self.wires[wire].socket.open {
            return Put::Broken;
        }
        let room = self.wires[wire].up.room();
        if room == 0 {
            return Put::Full;
        }
        let (least, most) = self.conditions.segment;
        let count = self.rng.size(least.max(1), most).min(room).min(bytes.len());
        let now = self.now;
        let end = &mut self.wires[wire];
        end.client.sent.extend_from_slice(&bytes[..count]);
        end.client.pumped += count;
        end.up.send(now, bytes[..count].to_vec());
        end.up.arrive(now);
        self.note(wire, What::ClientSends, count as u64);
        self.change_of_input(wire);
        Put::Took(count)
    }

    fn get(&mut self, place: usize, most: usize) -> Got {
        let process = &self.processes[place];
        let Some(wire) = process.wires[0].filter(|_| process.open[0]) else { return Got::End };
        let unread = self.wires[wire].down.unread();
        if unread == 0 {
            return if self.wires[wire].down.fin() { Got::End } else { Got::Nothing };
        }
        let count = self.rng.size(1, self.conditions.segment.1).min(unread).min(most.max(1));
        let from = self.wires[wire].client.received.len();
        self.take(wire, count);
        Got::Bytes(self.wires[wire].client.received[from..].to_vec())
    }

    fn run_grandchild(&mut self, place: usize) {
        let process = &mut self.processes[place];
        let Some((bytes, every)) = process.program.leaves.as_ref().and_then(|it| it.writes.clone()) else {
            return;
        };
        if process.left != Left::Lives || process.wakes.is_some_and(|at| at > self.now) {
            return;
        }
        let done = process.done;
        match self.put(place, Pipe::Stdout, &bytes[done..]) {
            Put::Took(count) if done + count < bytes.len() => {
                self.processes[place].done += count;
                self.wake(place);
            }
            Put::Took(_) => {
                (self.processes[place].done, self.processes[place].wakes) = (0, None);
                // Written only if the output may be read.
                if self.processes[place].wires[1].is_some() {
                    self.sleep(place, nanos(every));
                }
            }
            Put::Full => {}
            Put::Broken => self.grandchild_ends(place),
        }
    }
}
