//! A fixed set of seeds, each a whole run over the simulated network with
//! every check after every turn. `examples/explore.rs` runs more. Datagrams
//! have seeds of their own, in `tests/it/simulated_datagrams.rs`.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::BytesMut;
use serve_forever::driver::sim::{Actor, ClientId, Network, Pace, Rng};
use serve_forever::sim::commands::Commands;
use serve_forever::sim::subject::{
    Chat, Echo, Hesitant, Hub, Layered, Once, Relay, RelayHandler, Timed, Upper,
};
use serve_forever::sim::{
    ClientPlan, Ending, Life, Plan, Record, Subject, Totals, run, run_recorded, shrink, stop_at,
};
use serve_forever::{AfterEof, BoxError, CloseReason, ConnId, Io, Limits, Origin, StreamHandler};

/// Failures after which a test has seen enough: a run that never comes to
/// rest takes its time.
const ENOUGH: usize = 5;

/// Runs these seeds, and fails with what failed.
#[track_caller]
fn explore<S: Subject>(subject: &S, seeds: std::ops::Range<u64>) -> Totals {
    let mut totals = Totals::default();
    let mut failed = Vec::new();
    for seed in seeds {
        match run(subject, &Plan::new(seed), Record::Nothing) {
            Ok(run) => totals += run,
            Err(failure) => failed.push(format!("seed {seed}: {failure}")),
        }
        if failed.len() == ENOUGH {
            break;
        }
    }
    assert!(failed.is_empty(), "seeds failed, these and perhaps more\n{}", failed.join("\n"));
    totals
}

#[test]
fn an_echo_keeps_its_promises() {
    let totals = explore(&Echo, 0..1000);
    // The seeds reach what they are there for, and there are no datagrams, children or jobs.
    let struck = |(name, count): &(&str, u64)| {
        *count > 0 || ["datagrams", "children", "jobs"].iter().any(|what| name.starts_with(what))
    };
    assert!(totals.faults.by_name().iter().all(struck), "{:?}", totals.faults);
    assert!(totals.connections > 1000 && totals.bytes > 100_000, "{totals:?}");
}

#[test]
fn an_upper_keeps_its_promises() {
    explore(&Upper, 10_000..10_500);
}

#[test]
fn one_answer_is_not_lost() {
    explore(&Once, 20_000..20_500);
}

#[cfg(feature = "bus")]
#[test]
fn nodes_of_a_bus_see_one_order_and_lose_nothing_in_silence() {
    explore(&serve_forever::sim::rooms::Rooms, 90_000..90_025);
    // A message that Redis has refused when it was sent again; one that was taken for
    // another's; members that it forgot and told nobody.
    for seed in [67, 177, 442, 741, 1044] {
        explore(&serve_forever::sim::rooms::Rooms, seed..seed + 1);
    }
}

#[test]
fn records_cross_connections_in_order() {
    explore(&Hub, 30_000..30_500);
}

#[test]
fn timers_fire_in_time_and_as_often_as_they_were_set() {
    explore(&Timed, 40_000..40_500);
}

#[test]
fn a_chat_delivers_each_line_once_and_knows_who_is_there() {
    explore(&Chat::default(), 50_000..50_500);
}

#[test]
fn so_does_one_that_limits_its_members() {
    explore(&Chat { lines_per_second: NonZeroU32::new(10) }, 60_000..60_500);
}

/// Who reads was dropped as too slow, for the process was stopped for most of
/// the second in which the room waited for it.
#[test]
fn a_stop_of_the_process_drops_nobody_from_a_chat_who_reads() {
    for seed in [7_028_197, 7_035_077, 7_036_541, 7_127_629] {
        explore(&Chat::default(), seed..seed + 1);
    }
}

/// A line that a turn had left to the next one was taken for one that its member
/// does not read, for the process was stopped in between.
#[test]
fn a_line_that_was_not_offered_yet_is_no_stall() {
    explore(&Chat::default(), 30_000_364..30_000_365);
}

/// Whose last line waited for its turn at the end of a shutdown stayed in the
/// room for ever.
#[test]
fn a_shutdown_that_is_over_leaves_nobody_in_a_chat() {
    for seed in [7_039_296, 7_059_724, 7_096_698] {
        explore(&Chat { lines_per_second: NonZeroU32::new(10) }, seed..seed + 1);
    }
}

/// A child ended between the last look at it and the moment at which it was let
/// go of: its status was there, and was not told.
#[test]
fn the_status_of_a_child_that_ends_at_the_very_last_is_told() {
    for seed in [7_019_251, 7_127_012, 7_148_923] {
        explore(&Commands, seed..seed + 1);
    }
}

/// The process was stopped seven times in one turn, in which some of a frame came
/// in time; the rest was read in the next one, as it must be.
#[test]
fn a_frame_that_came_in_time_is_read_however_often_the_process_is_stopped() {
    explore(&Commands, 7_258_875..7_258_876);
}

/// A signal interrupted the first write of what waits, and the process was stopped
/// before the second: no check of its deadline was set.
#[test]
fn output_of_which_the_first_write_is_interrupted_has_its_deadline() {
    for seed in [20_015_980, 20_024_221, 20_035_124, 20_063_647, 20_131_006] {
        explore(&Hesitant, seed..seed + 1);
    }
}

/// The process was stopped until a frame was late, and what came then paused its
/// connection: a frame has no deadline meanwhile, and a new one after it.
#[test]
fn a_frame_that_is_late_as_its_connection_is_paused_has_a_new_deadline() {
    explore(&Chat::default(), 20_056_480..20_056_481);
}

#[test]
fn what_a_handler_leaves_is_handed_back_when_it_resumes() {
    explore(&Hesitant, 70_000..70_300);
}

#[test]
fn services_keep_their_promises_behind_a_layer() {
    let totals = explore(&Layered(Echo), 100_000..100_500);
    assert!(totals.connections > 500 && totals.bytes > 100_000, "{totals:?}");
    explore(&Layered(Once), 110_000..110_200);
    explore(&Layered(Hub), 120_000..120_300);
    explore(&Layered(Hesitant), 130_000..130_300);
    explore(&Layered(Chat::default()), 140_000..140_200);
}

#[test]
fn a_relay_carries_what_actors_ask_and_what_they_answer() {
    let totals = explore(&Relay, 150_000..150_300);
    assert!(totals.connections > 1000 && totals.bytes > 50_000, "{totals:?}");
    explore(&Layered(Relay), 160_000..160_100);
}

/// Signals interrupted each write of some output, and the process was stopped for
/// longer than the write-stall deadline, which nobody watched.
#[test]
fn a_stall_is_watched_though_each_write_is_interrupted() {
    for seed in [200_084, 200_299, 200_666] {
        explore(&Relay, seed..seed + 1);
    }
}

#[test]
fn programs_answer_each_line_and_leave_nothing_behind() {
    let totals = explore(&Commands, 80_000..80_300);
    let is_other = |name: &str| name.starts_with("datagrams") || name.starts_with("jobs");
    let struck = |(name, count): &(&str, u64)| *count > 0 || is_other(name);
    assert!(totals.faults.by_name().iter().all(struck), "{:?}", totals.faults);
    assert!(totals.children > 1000, "{totals:?}");
}

#[cfg(feature = "http")]
#[test]
fn requests_are_answered_in_order_however_they_are_cut() {
    let totals = explore(&serve_forever::sim::requests::Requests, 150_000..150_300);
    assert!(totals.connections > 500 && totals.bytes > 100_000, "{totals:?}");
    explore(&Layered(serve_forever::sim::requests::Requests), 160_000..160_100);
}

/// Answers behind the last one of a connection, input that was too long of one that then
/// stalled, and requests that counted as late because the process had been stopped.
#[cfg(feature = "http")]
#[test]
fn the_last_answer_to_requests_is_the_right_one() {
    let late = [30_008_350, 30_010_296, 30_010_495, 30_012_444, 30_017_458, 30_048_354, 30_074_312];
    let too_long = [30_002_446, 30_003_549, 30_015_364];
    for seed in [30_000_940, 30_001_611, 30_002_139].into_iter().chain(too_long).chain(late) {
        explore(&serve_forever::sim::requests::Requests, seed..seed + 1);
    }
}

#[cfg(feature = "workers")]
#[test]
fn each_job_is_told_once_and_its_line_is_answered() {
    let totals = explore(&serve_forever::sim::jobs::Jobs, 150_000..150_200);
    let faults = totals.faults;
    assert!(faults.jobs_lost > 20 && faults.jobs_panicked > 20, "{faults:?}");
}

#[cfg(feature = "workers")]
#[test]
fn each_name_is_connected_to_or_said_not_to_be_once() {
    let totals = explore(&serve_forever::sim::names::Names, 160_000..160_200);
    assert!(totals.connections > 500 && totals.faults.jobs_lost > 20, "{totals:?}");
}

#[cfg(feature = "upload")]
#[test]
fn a_file_is_there_whole_or_not_at_all() {
    let totals = explore(&serve_forever::sim::uploads::Upload, 90_000..90_300);
    assert!(totals.connections > 500 && totals.bytes > 100_000, "{totals:?}");
}

#[cfg(all(feature = "upload", feature = "workers"))]
#[test]
fn so_is_one_that_workers_write_whatever_becomes_of_its_jobs() {
    let totals = explore(&serve_forever::sim::uploads::OnWorkers, 170_000..170_300);
    assert!(totals.connections > 500 && totals.bytes > 100_000, "{totals:?}");
    assert!(totals.faults.jobs_lost > 20, "{:?}", totals.faults);
}

/// The client had ended its side, and the deadline for its next byte ran on while a
/// worker wrote the last ones.
#[cfg(all(feature = "upload", feature = "workers"))]
#[test]
fn an_end_that_a_worker_holds_up_is_no_stall() {
    explore(&serve_forever::sim::uploads::OnWorkers, 400_178..400_179);
}

/// The process was stopped for longer than a minute after the loop had looked, and
/// the client's next bytes came meanwhile.
#[cfg(feature = "upload")]
#[test]
fn a_stop_of_the_process_ends_no_upload() {
    explore(&serve_forever::sim::uploads::Upload, 8_003_163..8_003_164);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..50 {
        let once = run(&Echo, &Plan::new(seed), Record::Nothing).expect("it keeps its promises");
        let again = run(&Echo, &Plan::new(seed), Record::Trace).expect("it keeps its promises");
        assert_eq!(once, again, "seed {seed}");
    }
    let other = run(&Echo, &Plan::new(50), Record::Nothing).expect("it keeps its promises");
    assert_ne!(run(&Echo, &Plan::new(51), Record::Nothing).expect("it keeps its promises").hash, other.hash);
}

/// Some seeds of plans with a client that nothing but a deadline ends, or a
/// shutdown.
fn plans_with_somebody_who_stays() -> impl Iterator<Item = Plan> {
    let stays = |plan: &Plan| plan.clients.iter().any(|client| client.ending == Ending::Stay);
    (0..1000).map(Plan::new).filter(stays)
}

#[test]
fn a_plan_is_only_made_smaller_into_one_that_something_ends() {
    let mut seen = 0;
    for plan in plans_with_somebody_who_stays().take(30) {
        assert!(plan.can_rest(), "{plan:?}");
        // As far down as it goes, if whoever stays is what it takes to fail.
        let smallest = shrink(&plan, 100_000, |plan| {
            seen += 1;
            assert!(plan.can_rest(), "{plan:?}");
            run(&Echo, plan, Record::Nothing).expect("it keeps its promises");
            let fails = plan.clients.iter().any(|client| client.ending == Ending::Stay);
            fails.then(|| "somebody stays".into())
        });
        assert!(smallest.clients.len() == 1 && smallest.clients[0].pieces.is_empty(), "{smallest:?}");
        assert!(smallest.deadlines || smallest.shutdown.is_some(), "{smallest:?}");
    }
    assert!(seen > 300, "{seen}");
}

#[test]
fn a_plan_that_is_made_smaller_fails_in_the_same_way() {
    let plan = (0..).map(Plan::new).find(|plan| plan.clients.len() == 6).expect("a plan of six");
    let failure = |plan: &Plan| match plan.clients.len() {
        // The number may be another, but not what is said of it.
        count @ 3.. => Some(format!("client #{count} waits")),
        2 => Some("it panicked".into()),
        _ => None,
    };
    assert_eq!(shrink(&plan, 10_000, failure).clients.len(), 3);
    assert_eq!(shrink(&plan, 10_000, |_| None), plan, "what does not fail stays as it is");
}

/// A relay that loses a letter of each line with two in a certain order.
struct Lossy;

struct LossyHandler(RelayHandler);

impl Subject for Lossy {
    type Handler = LossyHandler;

    fn handler(&self) -> LossyHandler {
        LossyHandler(Relay.handler())
    }

    fn limits(&self) -> Limits {
        Relay.limits()
    }

    fn prepare(&self, net: &mut Network) {
        Relay.prepare(net);
    }

    fn actor(&self, plan: &ClientPlan, number: usize) -> Option<Box<dyn Actor>> {
        Relay.actor(plan, number)
    }

    fn stream(&self, rng: &mut Rng, client: usize, len: usize) -> Vec<u8> {
        Relay.stream(rng, client, len)
    }

    fn check(&self, net: &Network, client: ClientId, life: Option<&Life>, whole: bool) -> Result<(), String> {
        Relay.check(net, client, life, whole)
    }
}

impl StreamHandler for LossyHandler {
    type Session = ConnId;

    fn open(&mut self, io: &mut Io<'_>, origin: &Origin) -> Result<ConnId, BoxError> {
        self.0.open(io, origin)
    }

    fn data(&mut self, io: &mut Io<'_>, other: &mut ConnId, input: &mut BytesMut) -> Result<(), BoxError> {
        if let Some(at) = input.windows(2).position(|two| two == b"cd") {
            let behind = input.split_off(at + 1);
            input.truncate(at);
            input.unsplit(behind);
        }
        self.0.data(io, other, input)
    }

    fn drained(&mut self, io: &mut Io<'_>, other: &mut ConnId) -> Result<(), BoxError> {
        self.0.drained(io, other)
    }

    fn eof(
        &mut self,
        io: &mut Io<'_>,
        other: &mut ConnId,
        rest: &mut BytesMut,
    ) -> Result<AfterEof, BoxError> {
        self.0.eof(io, other, rest)
    }

    fn close(&mut self, io: &mut Io<'_>, other: ConnId, why: &CloseReason) {
        self.0.close(io, other, why);
    }

    fn connect_failed(&mut self, io: &mut Io<'_>, tag: u64, error: &std::io::Error) {
        self.0.connect_failed(io, tag, error);
    }
}

/// Fewer actors, which say less, in a network with fewer faults.
#[test]
fn a_run_with_actors_is_made_smaller() {
    let failure = |plan: &Plan| Some(run(&Lossy, plan, Record::Nothing).err()?.violation.what);
    let many = |plan: &Plan| plan.clients.len() > 2 && failure(plan).is_some();
    let plan = (0..).map(Plan::new).find(many).expect("one of them");
    let mut smallest = shrink(&plan, 2000, failure);
    let what = failure(&smallest).expect("it still fails");
    assert!(what.ends_with("something else than the answers to its lines"), "{what}");
    let [client] = &smallest.clients[..] else { panic!("one actor is enough: {smallest:?}") };
    let all: usize = plan.clients.iter().map(ClientPlan::len).sum();
    assert!(client.len() < all, "{smallest:?}");
    assert_eq!((client.pace, client.ending), (Pace::AtOnce, Ending::Finish));
    assert!(smallest.conditions.odds_mut().iter().all(|odds| odds.is_never()), "{smallest:?}");
}

#[test]
fn two_runs_of_one_seed_are_the_same_turn_by_turn_and_others_part_at_one() {
    for seed in 0..20 {
        let plan = Plan::new(seed);
        let (once, outcome) = run_recorded(&Relay, &plan);
        outcome.expect("it keeps its promises");
        let (again, _) = run_recorded(&Relay, &plan);
        assert_eq!(once.first_difference(&again), None, "seed {seed}");
        assert_eq!(once.to_string().parse(), Ok(once.clone()), "seed {seed}");
        let mut other = plan.clone();
        other.conditions.call = (Duration::from_micros(3), Duration::from_micros(3));
        let (other, _) = run_recorded(&Relay, &other);
        let difference = once.first_difference(&other).expect("calls take another time");
        let last = stop_at(&Relay, &plan, difference.turn).expect("it keeps its promises");
        assert!(last.contains(&format!("after turn {} ", difference.turn)), "seed {seed}: {last}");
        assert!(last.starts_with(&difference.these.expect("it goes on").to_string()), "seed {seed}");
    }
}
