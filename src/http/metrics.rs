//! `metrics_text`: the counters of a reactor and of its services, in Prometheus' text
//! format (0.0.4).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};
use std::time::Duration;

use crate::{Histogram, Io, ServiceStats, Stats};

/// The `Content-Type` of [`metrics_text`].
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The buckets of a histogram that are written: from about a microsecond on, as the
/// clock costs a part of one.
const SHORTEST: Duration = Duration::from_nanos((1 << 10) - 1);
/// To about eight seconds; what took longer is in the sum, and in `+Inf`.
const LONGEST: Duration = Duration::from_nanos((1 << 33) - 1);

/// The counters of the whole reactor and of each of its services, in Prometheus' text
/// format: the body of an answer to `GET /metrics`, with [`METRICS_TYPE`] as its type.
/// Each service has its [name](ServiceStats::name) as its label, and a number behind
/// it where two would have the same. docs/http.md lists the metrics.
///
/// ```
/// # use serve_forever::BoxError;
/// # use serve_forever::http::{HttpHandler, HttpIo, Request};
/// use serve_forever::http::{METRICS_TYPE, StatusCode, header, metrics_text};
/// # struct Api;
/// # impl HttpHandler for Api {
/// # fn request(&mut self, io: &mut HttpIo<'_, '_>, _: &Request<'_>) -> Result<(), BoxError> {
/// let text = metrics_text(io) + "my_requests_total 7\n";
/// let _ = io.answer(StatusCode::OK).header(header::CONTENT_TYPE, METRICS_TYPE).bytes(text);
/// # Ok(())
/// # }
/// # }
/// ```
#[must_use]
pub fn metrics_text(io: &Io<'_>) -> String {
    let mut text = Text(String::with_capacity(16 << 10));
    text.of_services(&labelled(io.service_stats()));
    text.value("children", "gauge", "Child processes that are not reaped yet.", io.children() as u64);
    text.of_reactor(io.stats());
    text.0
}

/// The text, as far as it is written.
struct Text(String);

impl Text {
    fn line(&mut self, line: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP serve_forever_{name} {help}"));
        self.line(format_args!("# TYPE serve_forever_{name} {kind}"));
    }

    /// A metric without labels.
    fn value(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.line(format_args!("serve_forever_{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) {
        self.value(name, "counter", help, count);
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.family(name, "histogram", help);
        let mut count = 0;
        for (bound, counted) in histogram.buckets() {
            count += counted;
            if (SHORTEST..=LONGEST).contains(&bound) {
                let bound = bound.as_secs_f64();
                self.line(format_args!("serve_forever_{name}_bucket{{le=\"{bound}\"}} {count}"));
            }
        }
        self.line(format_args!("serve_forever_{name}_bucket{{le=\"+Inf\"}} {count}"));
        self.line(format_args!("serve_forever_{name}_sum {}", histogram.sum().as_secs_f64()));
        self.line(format_args!("serve_forever_{name}_count {count}"));
    }

    fn of_services(&mut self, services: &[Labelled<'_>]) {
        let (gauge, counter) = ("gauge", "counter");
        let help = "Open connections, those that are closing included.";
        self.by_service(services, "connections", gauge, help, |stats| stats.connections as u64);
        self.by_service(services, "accepted_total", counter, "Connections accepted.", |stats| stats.accepted);
        let help = "Callbacks that returned an error.";
        self.by_service(services, "callbacks_failed_total", counter, help, |stats| stats.failed);
        let help = "Callbacks that panicked.";
        self.by_service(services, "callbacks_panicked_total", counter, help, |stats| stats.panicked);
        let help = "Callbacks slower than Config::slow_callback.";
        self.by_service(services, "callbacks_slow_total", counter, help, |stats| stats.slow);
        let help = "Connections refused at once, at a limit or by the handler.";
        self.by_reason(services, "refused_total", help, |stats| {
            vec![("full", stats.refused_full), ("handler", stats.refused_by_handler)]
        });
        let help = "Connections closed, by reason.";
        self.by_reason(services, "closed_total", help, |stats| stats.closed.by_reason().to_vec());
    }

    fn by_service(
        &mut self,
        services: &[Labelled<'_>],
        name: &str,
        kind: &str,
        help: &str,
        value: fn(&ServiceStats) -> u64,
    ) {
        self.family(name, kind, help);
        for Labelled { label, stats } in services {
            self.line(format_args!("serve_forever_{name}{{service=\"{label}\"}} {}", value(stats)));
        }
    }

    fn by_reason(
        &mut self,
        services: &[Labelled<'_>],
        name: &str,
        help: &str,
        counts: fn(&ServiceStats) -> Vec<(&'static str, u64)>,
    ) {
        self.family(name, "counter", help);
        for Labelled { label, stats } in services {
            for (reason, count) in counts(stats) {
                let labels = format_args!("service=\"{label}\",reason=\"{reason}\"");
                self.line(format_args!("serve_forever_{name}{{{labels}}} {count}"));
            }
        }
    }

    fn of_reactor(&mut self, stats: &Stats) {
        // By name, so that none is forgotten. The rest is counted by service.
        let Stats {
            turns,
            events,
            stale_events,
            connected,
            connect_failures,
            handshakes,
            handshake_failures,
            accept_pauses,
            accept_errors,
            bytes_in,
            bytes_out,
            dropped,
            datagrams_in,
            datagrams_refused,
            datagrams_too_long,
            datagrams_from_own,
            datagrams_out,
            datagrams_unsent,
            receive_errors,
            stalls_checked,
            timers_fired,
            children_started,
            children_failed,
            children_exited,
            calls,
            jobs,
            local_calls,
            callback_times,
            turn_times,
            system,
            accepted: _,
            refused_full: _,
            refused_by_handler: _,
            closed: _,
            timed_out: _,
            broken: _,
            overflowed: _,
            failed: _,
            panicked: _,
            slow: _,
        } = stats;
        for (name, help, count) in [
            ("turns_total", "Turns of the loop.", turns),
            ("events_total", "Events that the system reported.", events),
            ("stale_events_total", "Events of connections that had ended before.", stale_events),
            ("connected_total", "Outbound connections established.", connected),
            ("connect_failures_total", "Outbound connections that failed.", connect_failures),
            ("handshakes_total", "Handshakes of layers, such as TLS, completed.", handshakes),
            ("handshake_failures_total", "Handshakes of layers that failed.", handshake_failures),
            ("accept_pauses_total", "Pauses of accepting for want of descriptors or memory.", accept_pauses),
            ("accept_errors_total", "Connections that failed while they were accepted.", accept_errors),
            ("received_bytes_total", "Bytes read, of datagrams too.", bytes_in),
            ("sent_bytes_total", "Bytes written, of datagrams too.", bytes_out),
            ("dropped_messages_total", "Messages dropped at a hard mark.", dropped),
            ("received_datagrams_total", "Datagrams received.", datagrams_in),
            ("refused_datagrams_total", "Datagrams that a handler refused.", datagrams_refused),
            ("too_long_datagrams_total", "Datagrams longer than Limits::max_datagram.", datagrams_too_long),
            ("own_datagrams_total", "Datagrams dropped, from this reactor's sockets.", datagrams_from_own),
            ("sent_datagrams_total", "Datagrams sent.", datagrams_out),
            ("unsent_datagrams_total", "Datagrams that the system refused.", datagrams_unsent),
            ("receive_errors_total", "Errors of receiving a datagram.", receive_errors),
            ("stalls_checked_total", "Offers of output that had waited too long.", stalls_checked),
            ("timers_fired_total", "Timers of handlers that fired.", timers_fired),
            ("children_started_total", "Child processes started.", children_started),
            ("children_failed_total", "Child processes that were not started.", children_failed),
            ("children_exited_total", "Child processes that exited.", children_exited),
            ("calls_total", "Calls from handles that ran.", calls),
            ("local_calls_total", "Calls between services that ran.", local_calls),
            ("jobs_total", "Jobs of workers that ended.", jobs),
        ] {
            self.counter(name, help, *count);
        }
        self.family("system_calls_total", "counter", "Calls into the operating system, by kind.");
        for (call, count) in system.by_name() {
            self.line(format_args!("serve_forever_system_calls_total{{call=\"{call}\"}} {count}"));
        }
        let help = "Time in a callback, during which everybody else waits.";
        self.histogram("callback_duration_seconds", help, callback_times);
        self.histogram("turn_duration_seconds", "Time of a turn without the wait.", turn_times);
    }
}

/// A service with its label, as that stands between quotes.
struct Labelled<'a> {
    label: String,
    stats: &'a ServiceStats,
}

/// Gives each service a label that no other has.
fn labelled<'a>(services: impl Iterator<Item = &'a ServiceStats>) -> Vec<Labelled<'a>> {
    let mut taken = BTreeSet::new();
    // The number that was last put behind each name.
    let mut numbers = BTreeMap::new();
    let with_label = |stats: &'a ServiceStats| {
        let name = stats.name.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let number = numbers.entry(name.clone()).or_insert(1_u32);
        let mut label = name.clone();
        while !taken.insert(label.clone()) {
            *number += 1;
            label = format!("{name} {number}");
        }
        Labelled { label, stats }
    };
    services.map(with_label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_a_label_of_its_own() {
        let named = |name: &str| ServiceStats { name: name.into(), ..ServiceStats::default() };
        let services = ["Echo", "Echo 2", "Echo", "Echo", "a \"b\\c\"\nd"].map(named);
        let labels: Vec<_> = labelled(services.iter()).into_iter().map(|service| service.label).collect();
        assert_eq!(labels, ["Echo", "Echo 2", "Echo 3", "Echo 4", "a \\\"b\\\\c\\\"\\nd"]);
    }

    #[test]
    fn a_histogram_is_cumulative_and_has_its_count_and_its_sum() {
        let mut histogram = Histogram::default();
        for nanos in [10, 1023, 1024, 3_000_000, 20_000_000_000] {
            histogram.count_nanos(nanos);
        }
        let mut text = Text(String::new());
        text.histogram("x", "About x.", &histogram);
        let lines: Vec<_> = text.0.lines().collect();
        assert_eq!(lines[..2], ["# HELP serve_forever_x About x.", "# TYPE serve_forever_x histogram"]);
        assert_eq!(lines[2], r#"serve_forever_x_bucket{le="0.000001023"} 2"#);
        assert_eq!(lines[3], r#"serve_forever_x_bucket{le="0.000002047"} 3"#);
        assert!(lines.contains(&r#"serve_forever_x_bucket{le="0.002097151"} 3"#));
        assert!(lines.contains(&r#"serve_forever_x_bucket{le="0.004194303"} 4"#));
        let last = [
            r#"serve_forever_x_bucket{le="8.589934591"} 4"#,
            r#"serve_forever_x_bucket{le="+Inf"} 5"#,
            "serve_forever_x_sum 20.003002057",
            "serve_forever_x_count 5",
        ];
        assert_eq!(lines[lines.len() - 4..], last);
    }
}
