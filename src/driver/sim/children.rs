//! Simulated child processes in the network: starts, signals and reaps them.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;

use super::network::{Due, Network, Source, nanos};
use super::process::{Left, Process};
use super::program::{OnTerminate, Program, Step};
use super::trace::What;
use super::wire::{Kind, Stage, Wire};
use crate::driver::{Event, Target, Token};
use crate::process::{Command, Pipe, Signal, Wiring};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

impl Network {
    // What a test does

    /// Makes commands with this [name](Command::program) run this program from
    /// now on; starting an unknown name fails with `ENOENT`.
    pub fn install(&mut self, name: impl AsRef<std::ffi::OsStr>, program: Program) {
        self.programs.install(name.as_ref(), program);
    }

    /// All child processes so far, in the order in which they were started.
    #[must_use]
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    // What the driver does

    /// Starts a program, and returns its place and those of the wires of its
    /// pipes.
    pub(super) fn spawn(
        &mut self,
        command: &Command,
        token: Token,
    ) -> io::Result<(usize, [Option<usize>; 3])> {
        let Some(program) = self.programs.of(command).cloned() else { return Err(Errno::NOENT.into()) };
        if let Some(error) = program.failure {
            return Err(io::Error::from_raw_os_error(error));
        }
        let count = command.pipes().count();
        if self.descriptors.is_some_and(|limit| self.open + count > limit) {
            self.faults.spawns_failed += 1;
            return Err(Errno::MFILE.into());
        }
        if self.rng.chance(self.conditions.spawn_fails) {
            self.faults.spawns_failed += 1;
            let errors = [Errno::AGAIN, Errno::MFILE, Errno::NOMEM, Errno::TOOBIG];
            return Err(errors[self.rng.size(0, 3)].into());
        }
        let Target::Child(child) = token.target() else { return Err(Errno::INVAL.into()) };
        let place = self.processes.len();
        let mut process = Process::new(command, program, token, child, self.now);
        for pipe in command.pipes() {
            let mut wire = Wire::new(Kind::Pipe, place, self.conditions.buffer);
            wire.stage = Stage::Accepted;
            wire.socket.open = true;
            process.wires[pipe as usize] = Some(self.wires.len());
            self.wires.push(wire);
        }
        self.open += count;
        if command.wiring(Pipe::Stderr) == Wiring::Stdout {
            process.wires[2] = process.wires[1];
        }
        if self.rng.chance(self.conditions.silent) {
            self.faults.silent += 1;
            process.silent = true;
        }
        if self.rng.chance(self.conditions.stolen) {
            self.faults.stolen += 1;
            process.stolen = true;
        }
        let wires = process.wires;
        self.processes.push(process);
        self.trace.note(self.now, None, What::Spawn, place as u64);
        for wire in wires.into_iter().flatten() {
            self.note(wire, What::PipeOf, place as u64);
        }
        self.wake(place);
        // Of a pipe that both outputs share, the reactor has one end.
        let shared = wires[2].is_some() && wires[1] == wires[2];
        Ok((place, [wires[0], wires[1], wires[2].filter(|_| !shared)]))
    }

    pub(super) fn signal(&mut self, place: usize, signal: Signal) {
        let what = if signal == Signal::Kill { What::Kill } else { What::Terminate };
        self.trace.note(self.now, None, what, place as u64);
        let latency = self.latency();
        let process = &mut self.processes[place];
        process.signals.push((self.now, signal));
        // A child that has left its group has taken its grandchild with it; the
        // signal reaches the child alone.
        let has_left = process.program.leaves_group;
        let reaches =
            |ignores: bool, own_group: bool| !own_group && !has_left && (signal == Signal::Kill || !ignores);
        let grandchild = process.program.leaves.as_ref();
        if grandchild.is_some_and(|it| reaches(it.ignores_terminate, it.has_own_group)) {
            if process.left == Left::Lives {
                self.after(latency, Due::GrandchildEnds(place));
            } else {
                // The grandchild dies with its parent.
                process.program.leaves = None;
            }
        }
        let process = &mut self.processes[place];
        if process.ended.is_some() {
            return;
        }
        match (signal, process.program.on_terminate) {
            (Signal::Kill, _) => {
                let time = latency.max(process.program.slow_to_die);
                if nanos(time) != u64::MAX {
                    self.after(time, Due::Dies(place, SIGKILL));
                }
            }
            (Signal::Terminate, OnTerminate::Dies) => self.after(latency, Due::Dies(place, SIGTERM)),
            (Signal::Terminate, OnTerminate::Ignores) => {}
            (Signal::Terminate, OnTerminate::Exits(time, code)) => {
                process.program.steps = vec![Step::Stay];
                process.step = 0;
                self.after(time, Due::Dies(place, i32::from(code) << 8));
            }
        }
    }

    /// Waits up to `within` for a child, and abandons it afterwards.
    pub(super) fn reap(&mut self, place: usize, within: Duration) -> Option<ExitStatus> {
        let until = self.now.saturating_add(nanos(within));
        while self.processes[place].ended.is_none() {
            let Some(due) = self.next_due().filter(|due| *due <= until) else {
                self.pass(until);
                self.trace.note(self.now, None, What::LetsGo, place as u64);
                self.processes[place].let_go = true;
                return None;
            };
            self.pass(due);
        }
        self.trace.note(self.now, None, What::Reap, place as u64);
        let process = &mut self.processes[place];
        process.reaped = true;
        process.status().filter(|_| !process.stolen)
    }

    /// Wakes the process at the other end of a pipe that the reactor has read,
    /// written or closed.
    pub(super) fn wake_end(&mut self, wire: usize) {
        self.wake(self.wires[wire].listener);
    }

    /// Closes the reactor's end of a pipe.
    pub(super) fn close_pipe(&mut self, wire: usize) {
        self.note(wire, What::Close, self.wires[wire].up.unread() as u64);
        let now = self.now;
        let pipe = &mut self.wires[wire];
        pipe.up.lose_unread();
        pipe.down.send_fin(now);
        pipe.down.arrive(now);
        self.wake_end(wire);
    }

    pub(super) fn child_event(&mut self, place: usize) -> Option<Event> {
        let process = &mut self.processes[place];
        process.listed = false;
        if !std::mem::take(&mut process.edge) || process.reaped {
            return None;
        }
        let token = process.token;
        self.trace.note(self.now, None, What::ChildEvent, place as u64);
        Some(Event { token, readable: true, writable: false, hangup: false })
    }

    // How it ends

    /// Ends a process, with a status as waitpid(2) encodes it.
    pub(super) fn exit(&mut self, place: usize, status: i32) {
        if self.processes[place].ended.is_some() {
            return;
        }
        self.trace.note(self.now, None, What::ChildExits, place as u64);
        let own =
            self.processes[place].wires.map(|wire| wire.map_or(0, |wire| self.wires[wire].client.pumped));
        let process = &mut self.processes[place];
        process.ended = Some(self.now);
        process.status = status;
        process.own = own;
        (process.done, process.wakes) = (0, None);
        match process.program.leaves.clone() {
            None => self.close_ends(place),
            Some(grandchild) => {
                process.left = Left::Lives;
                if nanos(grandchild.lifetime) != u64::MAX {
                    self.after(grandchild.lifetime, Due::GrandchildEnds(place));
                }
                self.wake(place);
            }
        }
        if self.processes[place].silent {
            return;
        }
        if self.rng.chance(self.conditions.partial) {
            let latency = self.latency();
            self.after(latency, Due::ExitEdge(place));
        } else {
            self.exit_edge(place);
        }
    }

    pub(super) fn exit_edge(&mut self, place: usize) {
        let process = &mut self.processes[place];
        process.edge = true;
        if !std::mem::replace(&mut process.listed, true) {
            self.edges.push(Source::Child(place));
        }
    }

    pub(super) fn grandchild_ends(&mut self, place: usize) {
        if self.processes[place].left == Left::Lives {
            self.trace.note(self.now, None, What::GrandchildEnds, place as u64);
            self.processes[place].left = Left::Gone;
            self.close_ends(place);
        }
    }

    fn close_ends(&mut self, place: usize) {
        Pipe::ALL.into_iter().for_each(|pipe| self.close_end(place, pipe));
    }

    pub(super) fn close_end(&mut self, place: usize, pipe: Pipe) {
        let process = &mut self.processes[place];
        let was_open = std::mem::replace(&mut process.open[pipe as usize], false);
        let Some(wire) = process.wires[pipe as usize].filter(|_| was_open) else { return };
        let is_shared =
            |other: Pipe| process.open[other as usize] && process.wires[other as usize] == Some(wire);
        if Pipe::ALL.into_iter().any(is_shared) {
            return;
        }
        self.note(wire, What::ClientFinishes, 0);
        let now = self.now;
        let end = &mut self.wires[wire];
        if pipe == Pipe::Stdin {
            end.socket.broken = true;
            self.write_edge(wire);
        } else {
            end.client.fin_sent = true;
            end.up.send_fin(now);
            end.up.arrive(now);
            self.read_edge(wire);
        }
    }
}
