//! `Report`: the results of a run, as text, JSON or CSV.

mod text;

use std::borrow::Cow;

use serde_json::Value;

use crate::load::{Kind, LoadOptions, LoadReport, Pace};
use crate::server::ServerSample;
use crate::units::micros;

/// The latencies a report names: the key's middle, the table's name, the
/// quantile.
const QUANTILES: [(&str, &str, f64); 7] = [
    ("min", "min", 0.0),
    ("p50", "p50", 0.5),
    ("p90", "p90", 0.9),
    ("p99", "p99", 0.99),
    ("p99_9", "p99.9", 0.999),
    ("p99_99", "p99.99", 0.9999),
    ("max", "max", 1.0),
];

/// The fields of JSON and CSV, for `--help`.
pub(crate) const FIELDS: &str = "\
Fields of --output json (one flat object) and csv (a header and one row); null,
or empty in CSV, where a run has no such value:
  endpoint                     the server
  loop                         \"closed\" or \"open\"
  connections, idle_connections
  size_bytes                   bytes per message
  pipeline                     outstanding per connection; null in an open loop
  rate_per_second              wanted rate; null in a closed loop
  warmup_s, elapsed_s          the window ends with the last message's return
  messages                     came back whole and right
  messages_lost                begun, or due, and never back
  messages_per_second
  megabytes_per_second         10^6 bytes of messages, one way
  latency_min_us, latency_p50_us, latency_p90_us, latency_p99_us,
  latency_p99_9_us, latency_p99_99_us, latency_max_us, latency_mean_us
                               in an open loop from the time a message was meant
                               to go, in a closed one from the time it may go
  client_cpu_us_per_message    the load's own thread
  errors                       connections which failed
  errors_refused, errors_reset, errors_closed_early, errors_mismatch,
  errors_stalled, errors_other the same by kind
  server_cpu_us_per_message    the embedded server's thread; null with bench
  server_calls_per_message     its system calls; null with bench
  server_calls_NAME_per_message
                               the same by name; absent with bench";

/// The results of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report<'a> {
    /// The options of the run.
    pub(crate) options: &'a LoadOptions,
    /// The result of the load.
    pub(crate) load: &'a LoadReport,
    /// The resources that the embedded server used within the window, if there
    /// is one.
    pub(crate) server: Option<&'a ServerSample>,
}

impl Report<'_> {
    /// The flat fields, in the order of [`FIELDS`].
    fn fields(&self) -> Vec<(Cow<'static, str>, Value)> {
        let Self { options, load, .. } = *self;
        let (name, pipeline, rate) = match options.pace {
            Pace::Closed { pipeline } => ("closed", Some(pipeline), None),
            Pace::Open { rate } => ("open", None, Some(rate)),
        };
        let mut fields: Vec<(Cow<'static, str>, Value)> = vec![
            ("endpoint".into(), options.endpoint.to_string().into()),
            ("loop".into(), name.into()),
            ("connections".into(), options.connections.into()),
            ("idle_connections".into(), options.idle.into()),
            ("size_bytes".into(), options.size.into()),
            ("pipeline".into(), pipeline.into()),
            ("rate_per_second".into(), rate.into()),
            ("warmup_s".into(), options.warmup.as_secs_f64().into()),
            ("elapsed_s".into(), load.elapsed.as_secs_f64().into()),
            ("messages".into(), load.messages.into()),
            ("messages_lost".into(), load.lost.into()),
            ("messages_per_second".into(), number(self.messages_per_second(), 1)),
            ("megabytes_per_second".into(), number(self.megabytes_per_second(), 3)),
        ];
        for (key, _, quantile) in QUANTILES {
            let value = number(self.latency_us(quantile), 3);
            fields.push((format!("latency_{key}_us").into(), value));
        }
        let mean = (load.messages > 0).then(|| load.latency.mean() / 1e3);
        fields.push(("latency_mean_us".into(), number(mean, 3)));
        let cpu = self.per_message(micros(load.cpu));
        fields.push(("client_cpu_us_per_message".into(), number(cpu, 4)));

        fields.push(("errors".into(), load.failures.total().into()));
        for kind in Kind::ALL {
            let count = load.failures.count(kind);
            fields.push((format!("errors_{}", kind.key()).into(), count.into()));
        }

        let cpu = self.server.and_then(|used| self.per_message(micros(used.cpu)));
        fields.push(("server_cpu_us_per_message".into(), number(cpu, 4)));
        let calls = self.server.and_then(|used| self.per_message(total(used)));
        fields.push(("server_calls_per_message".into(), number(calls, 4)));
        for &(name, count) in self.server.map_or(&[][..], |used| &used.calls) {
            let value = number(self.per_message(count as f64), 4);
            fields.push((format!("server_calls_{name}_per_message").into(), value));
        }
        fields
    }

    /// One object, its fields in order, a line each.
    pub(crate) fn json(&self) -> String {
        // Not by serde_json's map, which sorts its keys.
        let lines: Vec<String> = self
            .fields()
            .into_iter()
            .map(|(key, value)| format!("  {}: {value}", Value::from(key)))
            .collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }

    /// A header and a row (RFC 4180).
    pub(crate) fn csv(&self) -> String {
        let (keys, values): (Vec<_>, Vec<_>) = self.fields().into_iter().unzip();
        let values: Vec<String> = values.iter().map(cell).collect();
        format!("{}\n{}\n", keys.join(","), values.join(","))
    }

    /// All faults of the run in one line; `None` without faults.
    pub(crate) fn complaint(&self) -> Option<String> {
        let load = self.load;
        let mut parts = Vec::new();
        if load.lost > 0 {
            let begun = load.messages + load.lost;
            parts.push(format!("{} of {begun} messages came back", load.messages));
        }
        for (kind, count, first) in load.failures.iter() {
            parts.push(match count {
                1 => format!("{kind}: {first}"),
                _ => format!("{kind}, {count} times, first {first}"),
            });
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn messages_per_second(&self) -> Option<f64> {
        let seconds = self.load.elapsed.as_secs_f64();
        (seconds > 0.0).then(|| self.load.messages as f64 / seconds)
    }

    fn megabytes_per_second(&self) -> Option<f64> {
        let bytes = self.options.size as f64;
        self.messages_per_second().map(|rate| rate * bytes / 1e6)
    }

    fn latency_us(&self, quantile: f64) -> Option<f64> {
        let latency = &self.load.latency;
        if latency.is_empty() {
            return None;
        }
        // The smallest is what the bucket of the smallest begins with; the
        // histogram answers quantiles with a bucket's end.
        let nanos = match quantile {
            0.0 => latency.min(),
            _ => latency.value_at_quantile(quantile),
        };
        Some(nanos as f64 / 1e3)
    }

    fn per_message(&self, amount: f64) -> Option<f64> {
        let messages = self.load.messages;
        (messages > 0).then(|| amount / messages as f64)
    }
}

fn total(used: &ServerSample) -> f64 {
    used.calls.iter().map(|&(_, count)| count as f64).sum()
}

/// A number without digits which mean nothing; null when there is none.
fn number(value: Option<f64>, decimals: i32) -> Value {
    let scale = 10_f64.powi(decimals);
    value.map(|value| (value * scale).round() / scale).into()
}

/// A CSV cell.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
