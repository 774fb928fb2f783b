//! The state of connections as text, for the simulation to print.

use super::Reactor;
use crate::driver::Driver;
use crate::id::ConnId;
use crate::life::Flags;

impl<D: Driver> Reactor<D> {
    /// The state of each connection, in one line.
    pub(crate) fn describe(&self) -> impl Iterator<Item = (ConnId, String)> {
        self.core.conns.iter().map(|(key, conn)| {
            let id = ConnId(key);
            let flags = [
                ("readable", Flags::READABLE),
                ("writable", Flags::WRITABLE),
                ("hung up", Flags::HANGUP),
                ("paused", Flags::PAUSED),
                ("above its high mark", Flags::ABOVE_HIGH),
                ("to be read", Flags::IN_READ_LIST),
                ("to be flushed", Flags::IN_FLUSH_LIST),
                ("busy", Flags::BUSY),
                ("shaking hands", Flags::HANDSHAKING),
                ("in a frame", Flags::IN_FRAME),
            ];
            let set = flags.into_iter().filter(|(_, flag)| conn.has(*flag)).map(|(name, _)| name);
            let set: Vec<_> = set.collect();
            let left = conn.leftover.as_ref().map_or(0, |left| left.len());
            let deadline = self.core.first_deadline(id, conn);
            let deadline = deadline.map_or_else(
                || "no deadline".into(),
                |due| format!("{:?} at {:.6} s", due.what, due.at.as_nanos() as f64 / 1e9),
            );
            let (phase, input, output) = (conn.phase(), conn.life.input(), conn.life.output());
            let text = format!(
                "{phase:?}, input {input:?}, output {output:?}; {}; {left} bytes left untaken, {} queued; {deadline}",
                if set.is_empty() { "no flag".into() } else { set.join(", ") },
                conn.queued(),
            );
            (id, text)
        })
    }
}
