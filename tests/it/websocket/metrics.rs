//! `/metrics`: the text that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};

use serve_forever::services::{Chat, Echo, Web};
use serve_forever::{Config, Endpoint};

use crate::util::{Client, Server, eventually, listen_anywhere};

/// The samples of a text in Prometheus' format 0.0.4, by name and labels as they are
/// written. Fails on whatever `promtool check metrics` or the server would refuse:
/// a sample that does not follow its `# TYPE`, a family or a sample that comes twice, a
/// counter without `_total`, a histogram that is not cumulative.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind, mut helped) = ("", "", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a name and a text");
            assert!(help.ends_with('.'), "{line}");
            helped = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(families.insert(family), "{family} comes twice");
            assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
            assert_eq!(family, helped, "its help is before its type");
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a sample and its value");
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            let name = sample.split('{').next().expect("a name");
            let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(samples.insert(sample.to_owned(), value).is_none(), "{sample} comes twice");
        }
    }
    for family in ["callback_duration_seconds", "turn_duration_seconds"] {
        check_histogram(&samples, &format!("serve_forever_{family}"));
    }
    samples
}

fn check_histogram(samples: &BTreeMap<String, f64>, family: &str) {
    let before = format!("{family}_bucket{{le=\"");
    let mut buckets: Vec<(f64, f64)> = samples
        .iter()
        .filter_map(|(sample, count)| Some((sample.strip_prefix(&before)?.strip_suffix("\"}")?, *count)))
        .map(|(bound, count)| (bound.parse().expect("a number, or +Inf"), count))
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(buckets.len() > 20, "{buckets:?}");
    assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{buckets:?}");
    let (last, count) = *buckets.last().expect("there are some");
    assert_eq!((last, count), (f64::INFINITY, samples[&format!("{family}_count")]));
    assert!(samples[&format!("{family}_sum")] > 0.0);
}

/// The body of the answer to `GET /metrics`.
fn scrape(at: &Endpoint) -> String {
    let client = Client::connect(at);
    client.send("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(client.rest()).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    body.to_owned()
}

/// A web server, with two echoes beside it.
fn server() -> Server<Web> {
    let web = Web::new(Chat::new());
    Server::start_prepared(Config::default(), web, Web::limits(), &[listen_anywhere()], |reactor, _| {
        for name in [None, None, Some("a \"b\\c\"\nd")] {
            let echo = reactor.add(Echo::new(), Echo::limits()).expect("good limits");
            if let Some(name) = name {
                reactor.set_name(&echo, name).expect("its own service");
            }
        }
    })
}

#[test]
fn every_service_has_its_counters_and_the_reactor_its_histograms() {
    let server = server();
    let aborted = server.connect();
    aborted.send("GET /chat/ws HTTP/1.1\r\n");
    aborted.reset();
    eventually("its end is counted", || {
        samples(&scrape(server.at()))[r#"serve_forever_closed_total{service="Web",reason="broken"}"#] == 1.0
    });
    let samples = samples(&scrape(server.at()));
    assert_eq!(samples[r#"serve_forever_connections{service="Web"}"#], 1.0);
    assert_eq!(samples["serve_forever_chat_members"], 0.0);
    for echo in ["Echo", "Echo 2", r#"a \"b\\c\"\nd"#] {
        assert_eq!(samples[&format!("serve_forever_accepted_total{{service=\"{echo}\"}}")], 0.0);
    }
    let accepted = samples[r#"serve_forever_accepted_total{service="Web"}"#];
    let closed =
        |reason| samples[&format!("serve_forever_closed_total{{service=\"Web\",reason=\"{reason}\"}}")];
    assert_eq!(closed("closed") + closed("finished") + closed("broken"), accepted - 1.0);
    assert!(samples[r#"serve_forever_system_calls_total{call="read"}"#] > 0.0);
}

#[test]
fn the_page_about_http_names_every_metric() {
    let page = include_str!("../../../docs/http.md");
    let text = scrape(server().at());
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE serve_forever_"));
    let names: Vec<_> = families.filter_map(|family| family.split(' ').next()).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(page.contains(&format!("`{name}`")), "docs/http.md does not name {name}");
    }
}
