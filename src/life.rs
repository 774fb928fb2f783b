//! `Life`: how far a connection has come, from its beginning to its end, in one
//! word with the small facts about it ([`Flags`]).
//!
//! ```text
//!    connecting, one_way,
//!    handshaking                     live (accepted, adopted)
//!         |                             |
//!         v                             v
//!  +------------+     establish     +------+       close       +---------+
//!  | Connecting | ----------------> | Live | ----------------> | Closing |
//!  +------------+                   +------+                   +---------+
//!     |                                |                         |     |
//!     |  it fails, or is               |  at once: abort,        |     |  linger:
//!     |  given up                      |  overflow, panic,       |     v  our FIN is out
//!     |                                |  I/O error, stall       |  +-----------+
//!     |                                |                         |  | Lingering |
//!     |                                |   written, and the      |  +-----------+
//!     |                                |   peer's FIN is in      |     |  the peer's FIN,
//!     v  die                           v  die                    v     v  or the deadline
//!  +-------------------------------------------------------------------------+
//!  |  Dead: its socket is closed and its id freed when the turn reaps        |
//!  +-------------------------------------------------------------------------+
//!
//!  our half    Open --finish--> Finishing --send_fin--> FinSent
//!              (a connection that closes sends its FIN from Open as well)
//!  the peer's  Open --end_input--> Done
//! ```
//!
//! A connection only moves forward. *Connecting* takes output, which waits, and
//! nothing else; the handshake of its layer, if it has had one from the beginning, is
//! a part of it (that of `Io::start_layer` happens in *Live*). *Live* delivers input
//! and takes output; half-closes happen within it. *Closing* writes what is queued and
//! discards what comes in. *Lingering* has sent everything and
//! discards what comes in: a socket closed with unread input makes the kernel send a
//! reset, which destroys the reply on its way.
//!
//! Every transition is a method here; no other code changes a phase or a half.

use crate::origin::Side;
use crate::work_list::Mark;

/// The phase of a connection's life; it only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The system is connecting to a peer; output is queued.
    Connecting,
    /// Input is delivered, output is queued and written.
    Live,
    /// What is queued is being written; input is discarded, without callbacks.
    Closing,
    /// Our FIN is out; input is discarded until the peer's FIN.
    Lingering,
    /// Phase 7 will free the connection.
    Dead,
}

/// Our half of a connection; it only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Output {
    Open,
    /// Our FIN follows what is queued; further output is refused.
    Finishing,
    /// Our FIN is out.
    FinSent,
}

/// The peer's half of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Input {
    Open,
    /// The peer's FIN was read.
    Done,
}

/// The step that follows when all output of a connection is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterOutput {
    /// More output may come, or the end has come already.
    Nothing,
    /// Our half ends; the peer's goes on.
    SendFin,
    /// Both halves have ended: the connection is finished.
    Finish,
    /// A connection that closes has nothing to wait for.
    Die,
    /// A connection that closes sends its FIN, unless it is out, and lingers.
    Linger,
}

/// The step that follows when the peer's FIN was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterInput {
    /// The handler's `eof`.
    Deliver,
    /// The connection ends once its output is written.
    Nothing,
    /// It was all that the connection waited for.
    Die,
}

/// A set of small facts about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    pub(crate) const NONE: Self = Self(0);
    /// The socket may have input: no read has returned `WouldBlock` since.
    pub(crate) const READABLE: Self = Self::bit(0);
    /// The socket may have room: no write has returned `WouldBlock` since.
    pub(crate) const WRITABLE: Self = Self::bit(1);
    /// The system has announced a hang-up: a short read does not prove that all
    /// was read.
    pub(crate) const HANGUP: Self = Self::bit(2);
    /// The handler has paused the connection; with `HELD`, the loop has.
    pub(crate) const PAUSED: Self = Self::bit(3);
    /// What the handler left is delivered again, without new input.
    pub(crate) const RESUMED: Self = Self::bit(4);
    /// The queue passed its high mark and has not fallen to its low mark.
    pub(crate) const ABOVE_HIGH: Self = Self::bit(5);
    /// The handler has not taken a whole frame yet.
    pub(crate) const AWAITS_FIRST_FRAME: Self = Self::bit(6);
    /// The connection has output to write or a FIN to send.
    pub(crate) const DIRTY: Self = Self::bit(7);
    /// In the list of connections to flush.
    pub(crate) const IN_FLUSH_LIST: Self = Self::bit(8);
    /// In the list of connections to read.
    pub(crate) const IN_READ_LIST: Self = Self::bit(9);
    /// In the list of connections to reap.
    pub(crate) const IN_REAP_LIST: Self = Self::bit(10);
    /// A `drained` call is pending.
    pub(crate) const DRAINED_PENDING: Self = Self::bit(11);
    /// Closes with a reset rather than a FIN.
    pub(crate) const RESETS: Self = Self::bit(12);
    /// A pipe, a terminal or a file: bytes go one way, and no deadline applies.
    pub(crate) const PIPE: Self = Self::bit(13);
    /// The handler works on something that the loop cannot see.
    pub(crate) const BUSY: Self = Self::bit(14);
    /// A hang-up ends the connection even while it is paused.
    pub(crate) const HANGUP_ENDS: Self = Self::bit(15);
    /// The loop has paused the connection: an answer passed the high mark, and
    /// reading goes on at the low mark. Set only together with `PAUSED`.
    pub(crate) const HELD: Self = Self::bit(16);
    /// A shutdown neither waits for the connection nor closes it.
    pub(crate) const BACKGROUND: Self = Self::bit(17);
    /// A job of the connection is with the workers; `Extras::jobs` counts them.
    pub(crate) const HAS_JOBS: Self = Self::bit(18);
    /// A layer stands between the socket and the handler.
    pub(crate) const LAYERED: Self = Self::bit(19);
    /// The layer is not ready: no plaintext comes of it or goes to it.
    pub(crate) const HANDSHAKING: Self = Self::bit(20);
    /// Bytes of the layer, or of before it, wait for the socket; they leave even
    /// during the handshake.
    pub(crate) const WIRE_PENDING: Self = Self::bit(21);
    /// A frame is open: the handler has left input, or has begun the frame.
    pub(crate) const IN_FRAME: Self = Self::bit(22);
    /// The handler has begun the open frame, and it alone ends it. Set only
    /// together with `IN_FRAME`.
    pub(crate) const FRAME_DECLARED: Self = Self::bit(23);
    /// The connection has limits of its own.
    pub(crate) const OWN_LIMITS: Self = Self::bit(24);

    /// A flag above the bits of the life.
    const fn bit(number: u32) -> Self {
        Self(1 << (LIFE_BITS + number))
    }

    pub(crate) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when any of `others` is set.
    #[inline]
    pub(crate) const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }
}

/// How many bits of the word are the life's; the flags are above them.
const LIFE_BITS: u32 = 7;

/// The phase is a number of three bits. `Dead` is the only one with the third.
const PHASE: u32 = 0b111;
const LIVE: u32 = Phase::Live as u32;
const DEAD: u32 = Phase::Dead as u32;

/// Every phase behind `Live` has one of these.
const ENDED: u32 = 0b110;

/// Our half, in two bits: further output is refused, and our FIN is out.
const FINISHING: u32 = 1 << 3;
const FIN_SENT: u32 = 1 << 4;

/// The peer's FIN was read.
const PEER_DONE: u32 = 1 << 5;

/// `connect` is neither answered by `open` nor by `connect_failed` yet.
const UNANSWERED: u32 = 1 << 6;

/// The phase, both halves and the flags of a connection, in one word: see the
/// module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life(u32);

impl Life {
    // Beginnings

    /// A connection that is there, before its `open`.
    pub(crate) const fn live(flags: Flags) -> Self {
        Self(LIVE | flags.0)
    }

    /// A connection that a handler asked for: it owes an answer.
    pub(crate) const fn connecting(flags: Flags) -> Self {
        Self(Phase::Connecting as u32 | UNANSWERED | flags.0)
    }

    /// An accepted connection whose `open` waits for the handshake of its layer.
    pub(crate) const fn handshaking(flags: Flags) -> Self {
        Self(Phase::Connecting as u32 | Flags::LAYERED.0 | Flags::HANDSHAKING.0 | flags.0)
    }

    /// A pipe, a terminal or a file, one half of which has ended from the beginning.
    /// Nobody asked for it by `connect`.
    pub(crate) const fn one_way(side: Side) -> Self {
        let ended = match side {
            Side::Both => 0,
            Side::Input => FINISHING | FIN_SENT,
            Side::Output => PEER_DONE,
        };
        Self(Phase::Connecting as u32 | ended | Flags::PIPE.0)
    }

    // Transitions

    /// The connection is there, and `open` answers.
    pub(crate) fn establish(&mut self) {
        debug_assert_eq!(self.phase(), Phase::Connecting, "a connection is established once");
        self.0 &= !UNANSWERED;
        self.enter(Phase::Live);
    }

    /// Takes the answer that a connection owes. True if it owed one.
    pub(crate) const fn answer(&mut self) -> bool {
        let owed = self.0 & UNANSWERED != 0;
        self.0 &= !UNANSWERED;
        owed
    }

    /// Our half is to end behind what is queued. False if it takes no output any
    /// more.
    pub(crate) const fn finish(&mut self) -> bool {
        let takes_output = self.takes_output();
        if takes_output {
            self.0 |= FINISHING;
        }
        takes_output
    }

    /// Our FIN is out.
    pub(crate) fn send_fin(&mut self) {
        debug_assert!(
            self.phase() == Phase::Closing || self.is_live() && self.output() == Output::Finishing,
            "a FIN is sent by a connection that ends: {self:?}"
        );
        debug_assert_ne!(self.output(), Output::FinSent, "a FIN is sent once");
        self.0 |= FINISHING | FIN_SENT;
    }

    /// The peer's FIN was read. Returns what follows.
    pub(crate) fn end_input(&mut self) -> AfterInput {
        debug_assert_eq!(self.input(), Input::Open, "a FIN is read once");
        self.0 |= PEER_DONE;
        match self.phase() {
            Phase::Live => AfterInput::Deliver,
            Phase::Lingering => AfterInput::Die,
            Phase::Connecting | Phase::Closing | Phase::Dead => AfterInput::Nothing,
        }
    }

    /// The connection ends in order: input is discarded, and output is written.
    pub(crate) fn close(&mut self) {
        debug_assert_eq!(self.phase(), Phase::Live, "only what is live ends in order");
        self.enter(Phase::Closing);
    }

    /// All output is written, and our FIN is out: the peer's is awaited.
    pub(crate) fn linger(&mut self) {
        debug_assert_eq!(self.phase(), Phase::Closing, "only what closes lingers");
        debug_assert_eq!(self.output(), Output::FinSent, "our FIN goes before");
        self.enter(Phase::Lingering);
    }

    /// The connection ends at once. False if it was dead.
    pub(crate) fn die(&mut self) -> bool {
        let was_alive = !self.is_dead();
        self.enter(Phase::Dead);
        was_alive
    }

    fn enter(&mut self, phase: Phase) {
        debug_assert!(phase >= self.phase(), "from {:?} back to {phase:?}", self.phase());
        self.0 = self.0 & !PHASE | phase as u32;
    }

    /// The step that follows when all output is written.
    pub(crate) fn after_output(self) -> AfterOutput {
        match (self.phase(), self.output(), self.input()) {
            (Phase::Live, Output::Finishing, Input::Open) => AfterOutput::SendFin,
            (Phase::Live, Output::Finishing, Input::Done) => AfterOutput::Finish,
            (Phase::Closing, _, Input::Done) => AfterOutput::Die,
            (Phase::Closing, ..) if self.has(Flags::PIPE) => AfterOutput::Die,
            (Phase::Closing, ..) => AfterOutput::Linger,
            (Phase::Live, Output::Open | Output::FinSent, _)
            | (Phase::Connecting | Phase::Lingering | Phase::Dead, ..) => AfterOutput::Nothing,
        }
    }

    // Questions

    pub(crate) const fn phase(self) -> Phase {
        match self.0 & PHASE {
            0 => Phase::Connecting,
            1 => Phase::Live,
            2 => Phase::Closing,
            3 => Phase::Lingering,
            _ => Phase::Dead,
        }
    }

    pub(crate) const fn output(self) -> Output {
        match self.0 & (FINISHING | FIN_SENT) {
            0 => Output::Open,
            FINISHING => Output::Finishing,
            _ => Output::FinSent,
        }
    }

    pub(crate) const fn input(self) -> Input {
        if self.0 & PEER_DONE == 0 { Input::Open } else { Input::Done }
    }

    /// True while `connect` is not answered.
    pub(crate) const fn is_unanswered(self) -> bool {
        self.0 & UNANSWERED != 0
    }

    #[inline]
    pub(crate) const fn is_connecting(self) -> bool {
        self.0 & PHASE == Phase::Connecting as u32
    }

    /// True while the handler gets callbacks with input and timers.
    #[inline]
    pub(crate) const fn is_live(self) -> bool {
        self.0 & PHASE == LIVE
    }

    #[inline]
    pub(crate) const fn is_dead(self) -> bool {
        self.0 & DEAD != 0
    }

    /// True before the end: while the connection is being made, and while it is
    /// live.
    #[inline]
    pub(crate) const fn is_before_end(self) -> bool {
        self.0 & ENDED == 0
    }

    /// True while a connection takes output: before its end, and before a requested
    /// FIN.
    #[inline]
    pub(crate) const fn takes_output(self) -> bool {
        self.0 & (ENDED | FINISHING) == 0
    }

    /// True while neither the handler nor the loop has paused the reading, and no
    /// FIN has ended it. A pause is about what the handler is given: the handshake of
    /// a layer is read all the same.
    #[inline]
    pub(crate) const fn is_read(self) -> bool {
        let stops = self.0 & (Flags::PAUSED.0 | PEER_DONE);
        stops == 0 || stops == Flags::PAUSED.0 && self.has(Flags::HANDSHAKING)
    }

    /// True while a read may find input: as [`is_read`](Self::is_read), and the
    /// socket is readable, and nothing is to be delivered again before.
    #[inline]
    pub(crate) const fn wants_input(self) -> bool {
        const READABLE: u32 = Flags::READABLE.0;
        let state = self.0 & (READABLE | Flags::PAUSED.0 | Flags::RESUMED.0 | PEER_DONE | DEAD);
        state == READABLE || state == READABLE | Flags::PAUSED.0 && self.has(Flags::HANDSHAKING)
    }

    #[inline]
    pub(crate) const fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }

    /// True when the connection is live, both its halves are open, and of `looked_at`
    /// exactly `set` are set. (One comparison.)
    #[inline]
    pub(crate) const fn is_open_with(self, looked_at: Flags, set: Flags) -> bool {
        self.0 & (PHASE | FINISHING | PEER_DONE | looked_at.0) == LIVE | set.0
    }

    /// True when the connection takes output, and all of `set` are set. (One
    /// comparison.)
    #[inline]
    pub(crate) const fn takes_output_with(self, set: Flags) -> bool {
        self.0 & (ENDED | FINISHING | set.0) == set.0
    }

    /// True when an empty queue has no consequence: no FIN and no `drained` follows.
    #[inline]
    pub(crate) const fn is_plain(self) -> bool {
        self.0 & (PHASE | FINISHING | Flags::ABOVE_HIGH.0) == LIVE
    }

    // Flags

    #[inline]
    pub(crate) const fn set(&mut self, flags: Flags) {
        self.0 |= flags.0;
    }

    #[inline]
    pub(crate) const fn unset(&mut self, flags: Flags) {
        self.0 &= !flags.0;
    }

    /// The mark of a list, to be set when the connection is put on it.
    #[inline(always)]
    pub(crate) const fn mark(&mut self, flag: Flags) -> FlagMark<'_> {
        FlagMark { life: self, flag }
    }
}

/// A flag that says whether a connection is on a list.
pub(crate) struct FlagMark<'a> {
    life: &'a mut Life,
    flag: Flags,
}

impl Mark for FlagMark<'_> {
    #[inline(always)]
    fn enter(self) -> bool {
        let is_new = !self.life.has(self.flag);
        self.life.set(self.flag);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Life {
        Life::live(Flags::WRITABLE)
    }

    #[test]
    fn a_life_goes_through_its_phases_in_order() {
        let mut life = Life::connecting(Flags::NONE);
        assert!(life.is_connecting() && life.is_before_end() && life.takes_output() && !life.is_live());
        life.establish();
        assert!(life.is_live() && life.takes_output() && life.is_before_end());
        assert_eq!((life.phase(), life.output(), life.input()), (Phase::Live, Output::Open, Input::Open));
        life.close();
        assert!(!life.is_live() && !life.takes_output() && !life.is_before_end() && !life.is_dead());
        assert_eq!(life.after_output(), AfterOutput::Linger);
        life.send_fin();
        life.linger();
        assert_eq!(
            (life.phase(), life.output(), life.input()),
            (Phase::Lingering, Output::FinSent, Input::Open)
        );
        assert_eq!(life.end_input(), AfterInput::Die);
        assert!(life.die());
        assert!(life.is_dead() && !life.is_before_end() && !life.takes_output());
        assert!(!life.die(), "it dies once");
    }

    #[test]
    fn each_half_ends_by_itself() {
        let mut life = live();
        assert!(life.finish());
        assert!(!life.finish() && !life.takes_output(), "it takes no output any more");
        assert_eq!((life.output(), life.after_output()), (Output::Finishing, AfterOutput::SendFin));
        life.send_fin();
        assert_eq!((life.output(), life.after_output()), (Output::FinSent, AfterOutput::Nothing));
        assert!(life.is_read());
        assert_eq!(life.end_input(), AfterInput::Deliver);
        assert!(life.is_live() && !life.is_read());

        let mut life = live();
        assert_eq!(life.end_input(), AfterInput::Deliver);
        assert!(life.takes_output());
        assert_eq!(life.after_output(), AfterOutput::Nothing, "the handler may go on");
        assert!(life.finish());
        assert_eq!(life.after_output(), AfterOutput::Finish, "both halves have ended");
        life.close();
        assert_eq!(life.after_output(), AfterOutput::Die, "the peer has left already");
    }

    #[test]
    fn what_closes_ends_when_its_output_is_written_and_reads_on() {
        let mut life = live();
        life.close();
        assert!(!life.finish());
        assert_eq!(life.end_input(), AfterInput::Nothing, "the output is written first");
        assert_eq!(life.after_output(), AfterOutput::Die);
    }

    #[test]
    fn a_one_way_connection_has_one_half() {
        let mut input = Life::one_way(Side::Input);
        assert_eq!((input.output(), input.input()), (Output::FinSent, Input::Open));
        assert!(!input.takes_output() && !input.answer(), "nobody asked for it by connect");
        input.establish();
        input.close();
        assert_eq!(input.after_output(), AfterOutput::Die, "a pipe does not linger");
        let output = Life::one_way(Side::Output);
        assert_eq!((output.output(), output.input()), (Output::Open, Input::Done));
        assert!(output.is_connecting() && output.takes_output() && !output.is_read());
        assert!(output.has(Flags::PIPE));
    }

    #[test]
    fn a_connect_is_answered_once() {
        let mut life = Life::connecting(Flags::NONE);
        assert!(life.answer());
        assert!(!life.answer());
        let mut life = Life::connecting(Flags::NONE);
        life.establish();
        assert!(!life.answer(), "`open` has answered");
        assert!(!live().answer());
    }

    #[test]
    fn questions_of_many_facts_are_one_comparison() {
        let fast = Flags::READABLE.union(Flags::WRITABLE);
        let mut life = live();
        assert!(!life.is_open_with(fast, fast) && !life.wants_input());
        life.set(Flags::READABLE.union(Flags::IN_READ_LIST));
        assert!(life.is_open_with(fast, fast) && life.wants_input());
        for change in [
            |life: &mut Life| life.close(),
            |life: &mut Life| {
                life.die();
            },
            |life: &mut Life| {
                life.finish();
            },
            |life: &mut Life| {
                life.end_input();
            },
            |life: &mut Life| life.unset(Flags::WRITABLE),
        ] {
            let mut changed = life;
            change(&mut changed);
            assert!(!changed.is_open_with(fast, fast), "{changed:?}");
        }
        life.set(Flags::RESUMED);
        assert!(life.is_read() && !life.wants_input(), "what was left is delivered first");
        life.unset(Flags::RESUMED);
        life.set(Flags::PAUSED);
        assert!(!life.wants_input() && !life.is_read());
        assert!(life.is_plain());
        life.set(Flags::ABOVE_HIGH);
        assert!(!life.is_plain());
        assert!(!life.takes_output_with(Flags::DIRTY));
        life.set(Flags::DIRTY);
        assert!(life.takes_output_with(Flags::DIRTY));
        life.close();
        assert!(!life.takes_output_with(Flags::DIRTY));
    }

    #[test]
    fn a_mark_is_set_once() {
        let mut life = live();
        assert!(life.mark(Flags::IN_READ_LIST).enter());
        assert!(!life.mark(Flags::IN_READ_LIST).enter());
        life.unset(Flags::IN_READ_LIST);
        assert!(life.mark(Flags::IN_READ_LIST).enter());
        assert!(life.is_live() && life.has(Flags::WRITABLE), "nothing else has changed");
    }

    /// What a debug build refuses.
    #[cfg(debug_assertions)]
    mod illegal {
        use super::*;

        #[test]
        #[should_panic(expected = "established once")]
        fn to_establish_what_is_live() {
            live().establish();
        }

        #[test]
        #[should_panic(expected = "ends in order")]
        fn to_close_what_is_being_made() {
            Life::connecting(Flags::NONE).close();
        }

        #[test]
        #[should_panic(expected = "lingers")]
        fn to_linger_while_live() {
            live().linger();
        }

        #[test]
        #[should_panic(expected = "our FIN goes before")]
        fn to_linger_before_the_fin() {
            let mut life = live();
            life.close();
            life.linger();
        }

        #[test]
        #[should_panic(expected = "a connection that ends")]
        fn to_send_a_fin_that_nobody_asked_for() {
            live().send_fin();
        }

        #[test]
        #[should_panic(expected = "sent once")]
        fn to_send_a_second_fin() {
            let mut life = live();
            life.close();
            life.send_fin();
            life.send_fin();
        }

        #[test]
        #[should_panic(expected = "read once")]
        fn to_read_a_second_fin() {
            let mut life = live();
            let _ = life.end_input();
            let _ = life.end_input();
        }

        #[test]
        #[should_panic(expected = "ends in order")]
        fn to_close_the_dead() {
            let mut life = live();
            life.die();
            life.close();
        }
    }
}

#[cfg(test)]
mod properties {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Establish,
        Answer,
        Finish,
        SendFin,
        EndInput,
        Close,
        Linger,
        Die,
        Set(Flags),
        Unset(Flags),
    }

    /// Any set of flags.
    fn flags() -> impl Strategy<Value = Flags> {
        any::<u32>().prop_map(|bits| Flags(bits << LIFE_BITS))
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => Just(Step::Establish),
            1 => Just(Step::Answer),
            2 => Just(Step::Finish),
            3 => Just(Step::SendFin),
            2 => Just(Step::EndInput),
            2 => Just(Step::Close),
            2 => Just(Step::Linger),
            1 => Just(Step::Die),
            2 => flags().prop_map(Step::Set),
            2 => flags().prop_map(Step::Unset),
        ]
    }

    /// Whether the diagram has this transition from here.
    fn is_legal(life: Life, step: Step) -> bool {
        match step {
            Step::Establish => life.phase() == Phase::Connecting,
            Step::SendFin => match life.phase() {
                Phase::Live => life.output() == Output::Finishing,
                Phase::Closing => life.output() != Output::FinSent,
                _ => false,
            },
            Step::EndInput => life.input() == Input::Open,
            Step::Close => life.phase() == Phase::Live,
            Step::Linger => life.phase() == Phase::Closing && life.output() == Output::FinSent,
            Step::Answer | Step::Finish | Step::Die | Step::Set(_) | Step::Unset(_) => true,
        }
    }

    fn begin(how: u8) -> Life {
        match how {
            0 => Life::live(Flags::WRITABLE),
            1 => Life::connecting(Flags::AWAITS_FIRST_FRAME),
            2 => Life::one_way(Side::Input),
            _ => Life::one_way(Side::Output),
        }
    }

    proptest! {
        /// Whatever the order of legal transitions: phases and halves only move
        /// forward, a change of flags moves neither, and what is dead stays so.
        #[test]
        fn a_life_only_moves_forward(how in 0_u8..4, steps in prop::collection::vec(step(), 1..60)) {
            let mut life = begin(how);
            for step in steps {
                if !is_legal(life, step) {
                    continue;
                }
                let before = life;
                match step {
                    Step::Establish => life.establish(),
                    Step::Answer => prop_assert!(!life.answer() || before.is_connecting() || before.is_dead()),
                    Step::Finish => {
                        prop_assert_eq!(life.finish(), before.takes_output());
                        prop_assert!(!life.takes_output());
                    }
                    Step::SendFin => life.send_fin(),
                    Step::EndInput => prop_assert_eq!(
                        life.end_input() == AfterInput::Deliver,
                        before.is_live()
                    ),
                    Step::Close => life.close(),
                    Step::Linger => life.linger(),
                    Step::Die => prop_assert_eq!(life.die(), !before.is_dead()),
                    Step::Set(flags) => life.set(flags),
                    Step::Unset(flags) => life.unset(flags),
                }
                prop_assert!(life.phase() >= before.phase());
                prop_assert!(life.output() >= before.output());
                prop_assert!(life.input() >= before.input());
                if matches!(step, Step::Set(_) | Step::Unset(_)) {
                    prop_assert_eq!(life.0 & ((1 << LIFE_BITS) - 1), before.0 & ((1 << LIFE_BITS) - 1));
                }
                // The questions agree with the phase and the halves.
                prop_assert_eq!(life.is_live(), life.phase() == Phase::Live);
                prop_assert_eq!(life.is_dead(), life.phase() == Phase::Dead);
                prop_assert_eq!(life.is_connecting(), life.phase() == Phase::Connecting);
                prop_assert_eq!(life.is_before_end(), life.phase() <= Phase::Live);
                let takes_output = life.is_before_end() && life.output() == Output::Open;
                prop_assert_eq!(life.takes_output(), takes_output);
                let is_paused = life.has(Flags::PAUSED) && !life.has(Flags::HANDSHAKING);
                let is_read = life.input() == Input::Open && !is_paused;
                prop_assert_eq!(life.is_read(), is_read);
                let waits = life.has(Flags::RESUMED) || !life.has(Flags::READABLE);
                prop_assert_eq!(life.wants_input(), is_read && !waits && !life.is_dead());
                let plain = life.is_live() && life.output() == Output::Open && !life.has(Flags::ABOVE_HIGH);
                prop_assert_eq!(life.is_plain(), plain);
                let is_open = life.is_live() && life.output() == Output::Open && life.input() == Input::Open;
                let fast = Flags::READABLE.union(Flags::WRITABLE);
                let has_both = life.has(Flags::READABLE) && life.has(Flags::WRITABLE);
                prop_assert_eq!(life.is_open_with(fast, fast), is_open && has_both);
                prop_assert_eq!(life.takes_output_with(Flags::DIRTY), takes_output && life.has(Flags::DIRTY));
            }
        }
    }
}
