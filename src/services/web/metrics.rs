//! `/metrics`: the counters of the reactor in Prometheus' text format (0.0.4).

use std::fmt::Write;

use crate::Stats;

/// The type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric without labels.
struct Metric {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: u64,
}

/// What is not in [`Stats`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gauges {
    pub(super) connections: usize,
    pub(super) children: usize,
    pub(super) members: usize,
}

/// Writes all metrics.
pub(super) fn text(stats: &Stats, gauges: Gauges) -> String {
    let mut out = String::with_capacity(6 << 10);
    for Metric { name, kind, help, value } in metrics(stats, gauges) {
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "# HELP serve_forever_{name} {help}\n# TYPE serve_forever_{name} {kind}\nserve_forever_{name} {value}"
        );
    }
    out.push_str("# HELP serve_forever_system_calls_total Calls into the operating system, by kind.\n");
    out.push_str("# TYPE serve_forever_system_calls_total counter\n");
    for (call, count) in stats.system.by_name() {
        let _ = writeln!(out, "serve_forever_system_calls_total{{call=\"{call}\"}} {count}");
    }
    out
}

fn metrics(stats: &Stats, gauges: Gauges) -> Vec<Metric> {
    let counter = |name, help, value| Metric { name, kind: "counter", help, value };
    let gauge = |name, help, value: usize| Metric { name, kind: "gauge", help, value: value as u64 };
    vec![
        gauge("connections", "Open connections of this service.", gauges.connections),
        gauge("children", "Child processes.", gauges.children),
        gauge("chat_members", "Members of the chat's room.", gauges.members),
        counter("turns_total", "Turns of the loop.", stats.turns),
        counter("events_total", "Events that the system reported.", stats.events),
        counter("stale_events_total", "Events of connections that had ended before.", stats.stale_events),
        counter("accepted_total", "Connections accepted.", stats.accepted),
        counter("connected_total", "Outbound connections established.", stats.connected),
        counter("connect_failures_total", "Outbound connections that failed.", stats.connect_failures),
        counter("refused_full_total", "Connections closed at a limit of connections.", stats.refused_full),
        counter("refused_by_handler_total", "Connections that a handler refused.", stats.refused_by_handler),
        counter(
            "accept_pauses_total",
            "Pauses of accepting for want of descriptors or memory.",
            stats.accept_pauses,
        ),
        counter(
            "accept_errors_total",
            "Connections that failed while they were accepted.",
            stats.accept_errors,
        ),
        counter("closed_total", "Connections closed.", stats.closed),
        counter("timed_out_total", "Connections closed by a deadline.", stats.timed_out),
        counter("broken_total", "Connections closed by an error of the system.", stats.broken),
        counter("overflowed_total", "Connections closed by a full output queue.", stats.overflowed),
        counter("callbacks_failed_total", "Callbacks that returned an error.", stats.failed),
        counter("callbacks_panicked_total", "Callbacks that panicked.", stats.panicked),
        counter("callbacks_slow_total", "Callbacks slower than Config::slow_callback.", stats.slow),
        counter("received_bytes_total", "Bytes read.", stats.bytes_in),
        counter("sent_bytes_total", "Bytes written.", stats.bytes_out),
        counter("dropped_messages_total", "Messages dropped at a hard mark.", stats.dropped),
        counter("received_datagrams_total", "Datagrams received.", stats.datagrams_in),
        counter("sent_datagrams_total", "Datagrams sent.", stats.datagrams_out),
        counter("timers_fired_total", "Timers of handlers that fired.", stats.timers_fired),
        counter("children_started_total", "Child processes started.", stats.children_started),
        counter("calls_total", "Calls from handles that ran.", stats.calls),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_metric_has_its_help_its_type_and_a_number() {
        let stats = Stats { turns: 7, ..Stats::default() };
        let text = text(&stats, Gauges { connections: 3, ..Gauges::default() });
        assert!(
            text.contains("\nserve_forever_turns_total 7\n")
                && text.contains("\nserve_forever_connections 3\n")
        );
        assert!(text.ends_with('\n'));
        let mut typed = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a name and a type");
                assert!(typed.insert(name), "{name} twice");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else if !line.starts_with("# HELP ") {
                let (name, value) = line.rsplit_once(' ').expect("a name and a value");
                assert!(typed.contains(name.split('{').next().expect("a name")), "{line}");
                assert!(value.parse::<u64>().is_ok(), "{line}");
            }
        }
    }
}
