//! The program as it is used: every row, every server.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_server_does_the_work_of_every_row() {
    let output = Command::new(env!("CARGO_BIN_EXE_peers"))
        .args(["--smoke", "--output", "json"])
        .output()
        .expect("the program was built for this test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    let rows = report["rows"].as_array().expect("a list");
    let mut kinds: Vec<_> = rows.iter().map(|row| row["kind"].as_str().expect("a name")).collect();
    kinds.dedup();
    let all = [
        "echo",
        "idle",
        "chat",
        "churn",
        "latency",
        "upload",
        "commands",
        "tls",
        "beside",
        "http",
        "socket",
        "bus",
        "kv",
        "memory",
        "tls-memory",
        "broadcast",
        "calls",
        "instructions",
    ];
    assert_eq!(kinds, all);
    for row in rows.iter().filter(|row| row["skipped"].is_null()) {
        let peers = row["peers"].as_array().expect("a list");
        assert_eq!(row["ours_to"].as_object().expect("ratios").len(), peers.len() - 1, "{row}");
        for peer in peers {
            // HTTP, WebSocket, TLS and what is done beside have no floor.
            let without = ["beside", "http", "socket", "tls", "tls-memory"];
            let is_tls = row["name"].as_str().expect("a name").contains("TLS");
            let has_floor = !is_tls && !without.contains(&row["kind"].as_str().expect("a name"));
            assert!(peer["error"].is_null(), "{row}");
            assert!(!has_floor || peer["to_floor"].as_f64() > Some(0.0), "{row}");
        }
    }
}

#[test]
fn the_table_is_put_between_the_marks_of_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("performance.md");
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.md");
    let before = fs::read_to_string(project).expect("it is there");
    fs::write(&path, &before).expect("there is room");
    let run = || {
        let output = Command::new(env!("CARGO_BIN_EXE_peers"))
            .args(["--smoke", "--only", "latency", "--output", "markdown", "--table"])
            .arg(&path)
            .output()
            .expect("the program was built for this test");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let after = fs::read_to_string(&path).expect("it is there");
        let table = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(table.contains("| latency: 1 × 64 B") && table.contains("smoke run"), "{table}");
        assert!(after.contains(table.trim()), "the file has what was printed");
        after.replace(table.trim(), "")
    };
    let rest = run();
    assert_eq!(run(), rest, "but for the table, twice is as once");
    let ends = |text: &str| (text.lines().next().map(str::to_owned), text.lines().last().map(str::to_owned));
    assert_eq!(ends(&rest), ends(&before));
}

#[test]
fn servers_run_side_by_side_and_each_window_counts() {
    let output = Command::new(env!("CARGO_BIN_EXE_peers"))
        .args(["--only", "echo,tls", "--named", "10 × 64 B", "--rounds", "2", "--windows", "3"])
        .args(["--seconds", "0.05", "--output", "json"])
        .output()
        .expect("the program was built for this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    let [row] = &report["rows"].as_array().expect("a list")[..] else { panic!("one row: {report}") };
    for peer in row["peers"].as_array().expect("a list") {
        assert!(peer["error"].is_null(), "{row}");
        let runs = peer["runs"].as_array().expect("a list");
        assert!(runs.len() == 6 && runs.iter().all(|run| run["count"].as_u64() > Some(0)), "{peer}");
    }
    let by_cpu = row["ours_to_by_cpu"].as_array().expect("a list");
    assert_eq!(by_cpu.len(), row["ours_to"].as_object().expect("ratios").len());
    assert!(by_cpu.iter().all(|of| of["rounds"] == 6 && of["better"].as_u64() <= Some(6)), "{row}");
}

#[test]
fn a_name_that_no_row_has_is_an_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_peers"))
        .args(["--only", "tls", "--named", "65 B"])
        .output()
        .expect("the program was built for this test");
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("no row of these kinds has \"65 B\" in its name")
    );
}
