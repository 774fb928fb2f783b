use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::Value;

use super::*;
use crate::endpoint::Endpoint;
use crate::load::{Failures, Window};

fn options(pace: Pace) -> LoadOptions {
    LoadOptions {
        endpoint: Endpoint::Unix("/run/a,\"b\".sock".into()),
        tls: None,
        connections: 2000,
        idle: 3,
        size: 100,
        pace,
        warmup: Duration::ZERO,
        window: Window::Messages(10_000),
        timeout: Duration::from_secs(10),
    }
}

fn load(messages: u64) -> LoadReport {
    let mut latency = Histogram::new(3).expect("3 digits are valid");
    for micros in 1..=messages {
        latency.record(micros * 1000).expect("it resizes");
    }
    LoadReport {
        elapsed: Duration::from_secs(2),
        messages,
        lost: 0,
        latency,
        failures: Failures::default(),
        cpu: Duration::from_millis(10),
    }
}

fn server() -> ServerSample {
    ServerSample {
        cpu: Duration::from_millis(20),
        calls: vec![("epoll_wait", 5000), ("recv", 20_000), ("accept4", 0)],
    }
}

#[test]
fn json_is_flat_and_in_units() {
    let (options, load, server) = (options(Pace::Closed { pipeline: 4 }), load(10_000), server());
    let report = Report { options: &options, load: &load, server: Some(&server) };
    let json: Value = serde_json::from_str(&report.json()).expect("valid JSON");
    assert_eq!(json["endpoint"], "unix:/run/a,\"b\".sock");
    assert_eq!(json["loop"], "closed");
    assert_eq!(json["pipeline"], 4);
    assert_eq!(json["rate_per_second"], Value::Null);
    assert_eq!(json["messages_per_second"], 5000.0);
    assert_eq!(json["megabytes_per_second"], 0.5);
    let p99 = json["latency_p99_us"].as_f64().expect("a number");
    assert!((9900.0..9910.0).contains(&p99), "{p99}");
    assert_eq!(json["client_cpu_us_per_message"], 1.0);
    assert_eq!(json["server_cpu_us_per_message"], 2.0);
    assert_eq!(json["server_calls_per_message"], 2.5);
    assert_eq!(json["server_calls_recv_per_message"], 2.0);
    assert_eq!(json["errors"], 0);
    let object = json.as_object().expect("an object");
    assert!(object.values().all(|v| !v.is_object() && !v.is_array()));
}

#[test]
fn every_field_is_documented() {
    let (options, load) = (options(Pace::Open { rate: 1.0 }), load(1));
    let report = Report { options: &options, load: &load, server: None };
    let documented: Vec<&str> = FIELDS.split([' ', ',', '\n']).collect();
    for (key, _) in report.fields() {
        assert!(documented.contains(&&*key), "{key}");
    }
}

#[test]
fn csv_has_a_header_and_one_row() {
    let (options, load) = (options(Pace::Open { rate: 1.0 }), load(10));
    let report = Report { options: &options, load: &load, server: None };
    let csv = report.csv();
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 2);
    let quoted = "\"unix:/run/a,\"\"b\"\".sock\"";
    let row = lines[1].strip_prefix(quoted).expect("a quoted endpoint");
    assert_eq!(lines[0].split(',').count(), row.split(',').count());
    assert!(row.starts_with(",open,2000,3,100,,1.0,"), "{row}");
}

#[test]
fn the_table_is_aligned_and_complete() {
    let (options, load, server) = (options(Pace::Closed { pipeline: 1 }), load(10_000), server());
    let report = Report { options: &options, load: &load, server: Some(&server) };
    let text = report.text();
    for line in [
        "2,000 connections and 3 idle × 100 B, closed loop, 1 outstanding each, 10,000 messages",
        "  messages/s               5,000",
        "  messages                10,000  in 2.000 s",
        "  server CPU/message        2.00  µs, 1 % of one CPU",
        "    recv                    2.00",
        "  errors                    none",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?}\n{text}");
    }
    assert!(!text.contains("accept4"), "{text}");
    assert_eq!(report.complaint(), None);
}

#[test]
fn a_run_without_messages_has_no_rates() {
    let (options, mut load) = (options(Pace::Closed { pipeline: 1 }), load(0));
    load.elapsed = Duration::ZERO;
    load.lost = 7;
    let report = Report { options: &options, load: &load, server: None };
    let json: Value = serde_json::from_str(&report.json()).expect("valid JSON");
    assert_eq!(json["messages_per_second"], Value::Null);
    assert_eq!(json["latency_p50_us"], Value::Null);
    let complaint = report.complaint();
    assert_eq!(complaint.as_deref(), Some("0 of 7 messages came back"));
    let text = report.text();
    assert!(text.contains("  latency p50            -  µs\n"), "{text}");
    assert!(text.contains("  client CPU/message     -  µs\n"), "{text}");
}
