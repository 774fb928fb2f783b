//! The program as it is used: every row, every server.

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
    assert_eq!(kinds, ["echo", "idle", "chat", "churn", "memory", "instructions"]);
    for row in rows.iter().filter(|row| row["skipped"].is_null()) {
        assert_eq!(row["ours_to"].as_object().expect("ratios").len(), 3, "{row}");
        for peer in row["peers"].as_array().expect("a list") {
            assert!(peer["error"].is_null() && peer["to_floor"].as_f64() > Some(0.0), "{row}");
        }
    }
}
