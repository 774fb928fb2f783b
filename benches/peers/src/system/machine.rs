//! On what the figures were taken: a figure without it says nothing.

use std::fs;
use std::process::{Command, Stdio};

use serde::Serialize;

use super::cpus::Cpus;

/// The versions that this was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

/// The packages that are compared.
const PEERS: [&str; 4] = ["serve-forever", "mio", "tokio", "message-io"];

/// The machine, and the software of interest.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    /// The compiler in the path, if there is one.
    rust: Option<String>,
    cpus: Cpus,
    /// The CPUs, as a mask in hexadecimal digits, that process what the loopback
    /// receives; none by default: the CPU of the sender does.
    steered_to: Option<String>,
    /// The day that the runs began, in UTC.
    date: Option<String>,
    /// Of which state of the project, if this was built where its history is.
    commit: Option<String>,
    /// How all this was asked for.
    command: String,
    /// Runnable processes, on average, as the runs began; others than these
    /// make the figures noisy.
    load_average: Option<String>,
    packages: Vec<Package>,
}

#[derive(Debug, Serialize)]
struct Package {
    name: &'static str,
    version: String,
}

impl Machine {
    pub(crate) fn look(cpus: Cpus) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find(|line| line.starts_with("model name"));
        let cpu = model.and_then(|line| line.split_once(':')).map_or("unknown", |(_, name)| name.trim());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").ok();
        Self {
            cpu: cpu.into(),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: kernel.trim().into(),
            rust: said("rustc", &["--version"]),
            date: said("date", &["-u", "+%Y-%m-%d"]),
            commit: commit(),
            command: command(std::env::args().skip(1)),
            cpus,
            steered_to: steered_to(),
            load_average: load.and_then(|text| text.split(' ').next().map(str::to_owned)),
            packages: PEERS.map(|name| Package { name, version: version(name) }).into(),
        }
    }

    /// What was measured, when and how.
    pub(crate) fn provenance(&self) -> String {
        let known = |what: &Option<String>| what.as_deref().unwrap_or("unknown").to_owned();
        format!("{}, commit {}, by `{}`", known(&self.date), known(&self.commit), self.command)
    }

    /// In two lines, three if the loopback's packets are steered.
    pub(crate) fn text(&self) -> String {
        let Cpus { server, load } = self.cpus;
        let rust = self.rust.as_deref().unwrap_or("rustc unknown");
        let average = self.load_average.as_deref().unwrap_or("unknown");
        let packages: Vec<_> =
            self.packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
        let steered = self.steered_to.as_ref().map_or_else(String::new, |mask| {
            format!("what the loopback receives is processed by the CPUs of the mask {mask}\n")
        });
        format!(
            "{}, {} cores, Linux {}, {rust}; server on CPU {server}, load on CPU {load}; \
             load average at the start {average}\n{}\n{steered}",
            self.cpu,
            self.cores,
            self.kernel,
            packages.join(", ")
        )
    }
}

/// What a program says, if it is there and does not fail.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// Where Receive Packet Steering has the loopback's packets processed, if it has.
fn steered_to() -> Option<String> {
    mask(&fs::read_to_string("/sys/class/net/lo/queues/rx-0/rps_cpus").ok()?).map(str::to_owned)
}

/// A mask of CPUs, unless there is none in it.
fn mask(text: &str) -> Option<&str> {
    let mask = text.trim();
    mask.contains(|digit: char| digit != '0' && digit != ',').then_some(mask)
}

/// The commit, and whether files of the project are not as they are there.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| said("git", &[&["-C", env!("CARGO_MANIFEST_DIR")], arguments].concat());
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { commit } else { commit + ", with changes" })
}

/// The command line, as it would be typed elsewhere: without the folder for the
/// profiles, which is a path of this machine and changes no figure.
fn command(mut arguments: impl Iterator<Item = String>) -> String {
    let mut line = "cargo run --release --manifest-path benches/peers/Cargo.toml".to_owned();
    let mut separator = " -- ";
    while let Some(argument) = arguments.next() {
        if argument == "--profiles" {
            arguments.next();
        } else if !argument.starts_with("--profiles=") {
            line += separator;
            line += &argument;
            separator = " ";
        }
    }
    line
}

/// All versions of a package in the lock file: message-io has a mio of its own.
fn version(name: &str) -> String {
    let head = format!("name = \"{name}\"");
    let mut lines = LOCK.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line == head
            && let Some(version) = lines.next().and_then(|line| line.strip_prefix("version = "))
        {
            found.push(version.trim_matches('"'));
        }
    }
    found.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_no_folder_of_this_machine() {
        const BARE: &str = "cargo run --release --manifest-path benches/peers/Cargo.toml";
        let of = |line: &str| command(line.split_whitespace().map(str::to_owned));
        assert_eq!(of(""), BARE);
        assert_eq!(of("--profiles here"), BARE);
        assert_eq!(of("--rounds 9 --profiles here --smoke"), format!("{BARE} -- --rounds 9 --smoke"));
        assert_eq!(of("--profiles=here --smoke"), format!("{BARE} -- --smoke"));
    }

    #[test]
    fn a_mask_without_a_cpu_is_none() {
        assert_eq!([mask("0\n"), mask("00,00000000\n"), mask("")], [None; 3]);
        assert_eq!([mask("1\n"), mask("00,00000100\n")], [Some("1"), Some("00,00000100")]);
    }

    #[test]
    fn every_peer_has_a_version() {
        for name in PEERS {
            assert!(version(name).starts_with(|c: char| c.is_ascii_digit()), "{name}: {}", version(name));
        }
    }
}
