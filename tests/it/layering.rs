//! Holds the files of `src/` against tests/it/layering/floors.txt: which file may
//! import which, which may call which, and what only one file may name.

mod calls;
mod scan;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use calls::Method;
use scan::Scan;

/// Where the loop meets the operating system.
const SYSTEM: &str = "src/driver/mio.rs";

/// Where the loop meets user code.
const CONTAIN: &str = "src/contain.rs";

/// What only one file may name outside of tests, or none.
const ONLY_IN: [(&str, Option<&str>); 8] = [
    ("mio::Poll", Some(SYSTEM)),
    ("Instant::now", Some(SYSTEM)),
    ("SystemTime", Some("src/http/date.rs")), // docs/guarantees.md, 55
    ("catch_unwind", Some(CONTAIN)),
    ("thread::spawn", None),
    ("thread_local", None),
    ("static", Some("src/testing.rs")),
    ("RefCell", None),
];

/// The files of `src/` but for its programs, by path, with their text.
type Files = BTreeMap<String, String>;

/// The files in order, each with its floor.
#[derive(Debug, PartialEq, Eq)]
struct Map(Vec<(u32, String)>);

impl Map {
    /// Reads lines of three kinds: `FLOOR NAME`, an indented file of the floor
    /// above it, and comments behind `#`.
    fn read(text: &str) -> Result<Self, String> {
        let mut floor = None;
        let mut files = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let content = line.split('#').next().unwrap_or_default().trim_end();
            let wrong = || format!("line {}: neither `FLOOR NAME` nor an indented file: {line}", number + 1);
            if content.is_empty() {
                continue;
            } else if let Some(file) = content.strip_prefix("    ") {
                files.push((floor.ok_or_else(wrong)?, format!("src/{file}")));
            } else {
                floor = Some(content.split(' ').next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?);
            }
        }
        if files.is_empty() { Err("there are no files".into()) } else { Ok(Self(files)) }
    }

    /// A file's place in the whole order, and its floor.
    fn place(&self, file: &str) -> Option<(usize, u32)> {
        self.0.iter().position(|(_, name)| name == file).map(|place| (place, self.0[place].0))
    }

    /// True for a file that is built on what lib.rs offers.
    fn is_on_top(&self, file: &str) -> bool {
        let floor = |file| self.place(file).map(|(_, floor)| floor);
        floor("src/lib.rs").is_some_and(|door| floor(file) > Some(door))
    }
}

/// The map, and what every file says.
struct Crate<'a> {
    map: &'a Map,
    scans: BTreeMap<&'a str, Scan>,
}

impl<'a> Crate<'a> {
    fn new(map: &'a Map, files: &'a Files) -> Self {
        Self { map, scans: files.iter().map(|(file, text)| (file.as_str(), Scan::of(text))).collect() }
    }

    /// Everything that is wrong, each on a line of its own.
    fn violations(&self) -> Vec<String> {
        let mut found = self.misplaced();
        for (file, scan) in &self.scans {
            for path in &scan.paths {
                let wrong = self.wrong_import(file, scan, path);
                found.extend(wrong.map(|wrong| format!("{file}:{}: {wrong}", path.line)));
            }
            for (name, home) in ONLY_IN.into_iter().filter(|(_, home)| *home != Some(file)) {
                let home = home.unwrap_or("no file");
                let say = |line| format!("{file}:{line}: names `{name}`, which is for {home}");
                found.extend(scan.lines_naming(name).into_iter().map(say));
            }
        }
        found.extend(self.wrong_calls());
        found
    }

    /// The calls to methods that are written further up. Where the methods of one
    /// type are in many files, no import shows what these need of each other.
    fn wrong_calls(&self) -> Vec<String> {
        let calls: BTreeMap<_, _> = self.scans.iter().map(|(file, scan)| (*file, scan.calls())).collect();
        let homes = calls::homes(calls.iter().map(|(file, calls)| (*file, calls)));
        let mut found = Vec::new();
        for (file, calls) in &calls {
            for (method, line) in &calls.called {
                let Some(home) = homes.get(method).filter(|home| *home != file) else { continue };
                if let (Some((from, _)), Some((to, _))) = (self.map.place(file), self.map.place(home))
                    && to > from
                {
                    let Method { of, name } = method;
                    found.push(format!("{file}:{line}: calls `{of}::{name}`, of {home}, which is above it"));
                }
            }
        }
        found
    }

    /// Where the map and the directory disagree.
    fn misplaced(&self) -> Vec<String> {
        let mut found = Vec::new();
        for pair in self.map.0.windows(2) {
            if pair[0].0 > pair[1].0 {
                found.push(format!("the map lists {} below a file of a higher floor", pair[1].1));
            }
        }
        for (place, (_, file)) in self.map.0.iter().enumerate() {
            if self.map.0[..place].iter().any(|(_, earlier)| earlier == file) {
                found.push(format!("the map lists {file} twice"));
            }
            if !self.scans.contains_key(file.as_str()) {
                found.push(format!("the map lists {file}, which is not there"));
            }
        }
        let missing = self.scans.keys().filter(|file| self.map.place(file).is_none());
        found.extend(missing.map(|file| format!("{file} is not on the map, tests/it/layering/floors.txt")));
        found
    }

    fn wrong_import(&self, file: &str, scan: &Scan, path: &scan::Path) -> Option<String> {
        let written = path.segments.join("::");
        let segments = self.absolute(file, scan, path)?;
        let target = self.file_of(&segments);
        if target == file || (path.is_reexport && is_child(&target, file)) {
            return None;
        }
        let (from, to) = (self.map.place(file)?, self.map.place(&target)?);
        // Its own neighbours it may know; of the rest, what is public.
        let is_neighbour = self.map.is_on_top(&target) && segments[0] == module_path(file)[0];
        if self.map.is_on_top(file) && !is_neighbour && !self.is_offered(&segments) {
            return Some(format!("imports `{written}`, which a user's crate could not"));
        }
        (to.0 > from.0).then(|| {
            let place = if to.1 == from.1 { "stands behind it on the same floor" } else { "is above it" };
            format!("imports `{written}`, of {target} (floor {}), which {place} (floor {})", to.1, from.1)
        })
    }

    /// The path from the crate's root; `None` if it leads out of the crate.
    fn absolute(&self, file: &str, scan: &Scan, path: &scan::Path) -> Option<Vec<String>> {
        let mut base: Vec<String> = module_path(file);
        base.extend(path.inside.iter().cloned());
        let mut rest = path.segments.as_slice();
        match rest[0].as_str() {
            "crate" => (base, rest) = (Vec::new(), &rest[1..]),
            "self" => rest = &rest[1..],
            "super" => {}
            own if scan.modules.iter().any(|(module, _)| module == own) => base = module_path(file),
            _ => return None,
        }
        while rest.first().is_some_and(|first| first == "super") {
            base.pop();
            rest = &rest[1..];
        }
        base.extend(rest.iter().cloned());
        if base.is_empty() { None } else { Some(base) }
    }

    /// Whether a path from the root is open to users: lib.rs brings its first
    /// name out, and it leads through no module that is private.
    fn is_offered(&self, segments: &[String]) -> bool {
        let mut file = "src/lib.rs".to_owned();
        for (place, segment) in segments.iter().enumerate() {
            let Some(scan) = self.scans.get(file.as_str()) else { return true };
            match scan.modules.iter().find(|(module, _)| module == segment) {
                Some((_, true)) => file = self.file_of(&segments[..=place]),
                Some((_, false)) => return false,
                None if place > 0 => return true,
                None => return scan.paths.iter().any(|path| path.is_reexport && path.name == *segment),
            }
        }
        true
    }

    /// The file that holds the module which a path leads through last.
    fn file_of(&self, segments: &[String]) -> String {
        let candidates = (0..=segments.len()).rev().flat_map(|length| {
            let module = segments[..length].join("/");
            [format!("src/{module}.rs"), format!("src/{module}/mod.rs")]
        });
        let is_there = |file: &String| self.scans.contains_key(file.as_str());
        candidates.into_iter().find(is_there).unwrap_or_else(|| "src/lib.rs".into())
    }
}

/// `src/driver/mio.rs` is `driver::mio`, `src/driver/mod.rs` is `driver`.
fn module_path(file: &str) -> Vec<String> {
    let file = file.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    file.split('/').filter(|part| *part != "lib").map(Into::into).collect()
}

/// Whether the module of `file` is one of `parent`'s own: what `parent`
/// brings out of it, it does not use itself.
fn is_child(file: &str, parent: &str) -> bool {
    let (file, parent) = (module_path(file), module_path(parent));
    file.len() > parent.len() && file.starts_with(&parent)
}

fn read_sources(directory: &Path, root: &Path, into: &mut Files) {
    for entry in fs::read_dir(directory).expect("src/ can be listed") {
        let path = entry.expect("src/ can be listed").path();
        if path.is_dir() {
            if path != root.join("src/bin") {
                read_sources(&path, root, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).expect("it is below the root").to_string_lossy().into_owned();
            into.insert(name, fs::read_to_string(&path).expect("a source file is UTF-8"));
        }
    }
}

#[test]
fn every_file_imports_and_calls_what_is_below() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let map = Map::read(include_str!("layering/floors.txt")).expect("the map can be read");
    let mut files = Files::new();
    read_sources(&root.join("src"), root, &mut files);
    let violations = Crate::new(&map, &files).violations();
    assert!(violations.is_empty(), "\n{}", violations.join("\n"));
}

/// The checker itself, on crates that are made up.
mod checker {
    use super::*;

    const MAP: &str = "\
# made up
0 values
    a.rs
    b.rs # the second

1 system
    driver/mod.rs
    driver/mio.rs
2 door
    lib.rs
3 top
    s/one.rs
    s/mod.rs
";

    /// What is wrong with a good crate once `text` is in `file`.
    fn with(file: &str, text: &str) -> Vec<String> {
        let map = Map::read(MAP).expect("a good map");
        let mut files: Files = [
            ("src/a.rs", "pub struct A;"),
            ("src/b.rs", "use crate::a::A;"),
            ("src/driver/mod.rs", "mod mio; pub use self::mio::M; use crate::{a::A, b::B};"),
            ("src/driver/mio.rs", "use super::D; fn f() -> crate::b::B {} fn g() { Instant::now() }"),
            (
                "src/lib.rs",
                "mod a; mod b; mod driver; pub mod s; pub use crate::a::A; pub use crate::driver::M as Mio;",
            ),
            ("src/s/one.rs", "use crate::{A, Mio};"),
            ("src/s/mod.rs", "mod one; pub use self::one::One; fn f() { one::f(); super::A }"),
        ]
        .map(|(file, text)| (file.to_owned(), text.to_owned()))
        .into();
        files.insert(file.into(), text.into());
        Crate::new(&map, &files).violations()
    }

    /// Exactly one violation, which says all of this.
    #[track_caller]
    fn assert_one(violations: &[String], says: &[&str]) {
        assert_eq!(violations.len(), 1, "{violations:?}");
        assert!(says.iter().all(|word| violations[0].contains(word)), "{violations:?}");
    }

    #[test]
    fn a_good_crate_passes() {
        assert_eq!(with("src/a.rs", "pub struct A; mod tests { use super::*; }"), [""; 0]);
    }

    #[test]
    fn an_import_from_above_is_found_wherever_it_stands() {
        assert_one(
            &with("src/a.rs", "\nuse crate::driver::D;"),
            &["src/a.rs:2:", "src/driver/mod.rs", "is above"],
        );
        assert_one(
            &with("src/a.rs", "fn f(_: crate::driver::mio::M) {}"),
            &["src/a.rs:1:", "src/driver/mio.rs"],
        );
        assert_one(&with("src/a.rs", "use super::driver::D;"), &["`super::driver::D`", "floor 1", "floor 0"]);
        assert_one(&with("src/a.rs", "use crate::{\n  s::{\n One } };"), &["src/a.rs:3:", "src/s/mod.rs"]);
        assert_one(&with("src/a.rs", "use crate::Mio;"), &["src/lib.rs"]);
        assert_one(&with("src/a.rs", "pub use crate::driver::D;"), &["src/driver/mod.rs"]);
    }

    #[test]
    fn an_import_from_a_later_file_of_the_same_floor_is_found() {
        assert_one(&with("src/a.rs", "use crate::b::B;"), &["src/b.rs", "same floor"]);
        let text = "mod mio; use self::mio::M;";
        assert_one(&with("src/driver/mod.rs", text), &["src/driver/mio.rs", "same floor"]);
        assert_one(
            &with("src/driver/mod.rs", "mod mio; fn f() { mio::f() }"),
            &["src/driver/mio.rs", "same floor"],
        );
    }

    #[test]
    fn what_is_on_top_takes_only_what_a_user_could() {
        assert_one(
            &with("src/s/one.rs", "use crate::b::B;"),
            &["src/s/one.rs:1:", "a user's crate could not"],
        );
        assert_one(&with("src/s/one.rs", "use crate::*;"), &["a user's crate could not"]);
        let brings_out_nothing = "mod a; mod b; pub mod driver; pub mod s;";
        assert_eq!(with("src/lib.rs", brings_out_nothing).len(), 3, "A twice and Mio are not to be had");
        assert_eq!(with("src/s/one.rs", "use crate::driver::M;").len(), 1, "a private module");
        assert_eq!(with("src/s/one.rs", "use crate::s::x;").len(), 1, "later on the same floor");
        assert_eq!(with("src/s/mod.rs", "mod one; use crate::s::one::X; use crate::A;"), [""; 0]);
    }

    #[test]
    fn a_file_and_a_row_without_each_other_are_found() {
        assert_one(&with("src/new.rs", ""), &["src/new.rs", "not on the map"]);
        let map = Map::read("1 x\n    lib.rs\n0 y\n    gone.rs\n").expect("a map");
        let files = Files::from([("src/lib.rs".to_owned(), String::new())]);
        let violations = Crate::new(&map, &files).violations();
        assert_eq!(violations.len(), 2, "{violations:?}");
        assert!(violations[0].contains("gone.rs below a file of a higher floor"));
        assert!(violations[1].contains("src/gone.rs, which is not there"));
    }

    #[test]
    fn what_only_one_file_may_name_is_found_elsewhere() {
        assert_one(&with("src/b.rs", "use mio::Poll;"), &["src/b.rs:1:", "mio::Poll", SYSTEM]);
        assert_one(&with("src/b.rs", "use mio::{\n Events,\n Poll};"), &["src/b.rs:3:", "mio::Poll"]);
        assert_one(&with("src/b.rs", "fn f() {\n Instant::now(); }"), &["src/b.rs:2:", "Instant::now"]);
        assert_one(
            &with("src/b.rs", "static X: u8 = 0; fn f(_: &'static str) {}"),
            &["static", "src/testing.rs"],
        );
        assert_eq!(
            with("src/b.rs", "// mio::Poll\n#[cfg(test)] mod tests { fn f() { Instant::now() } }"),
            [""; 0]
        );
    }

    #[test]
    fn a_call_of_a_method_that_is_written_above_is_found() {
        let calls = "impl Core { fn a(&self) { self.a(); self.b(); } }";
        assert_eq!(with("src/b.rs", calls), [""; 0], "nobody writes `b`");
        let map = Map::read(MAP).expect("a good map");
        let files: Files = [
            ("src/a.rs", "impl Core {\n fn a(&self) { self.a();\n self.b(); } }"),
            ("src/b.rs", "impl Core { fn b(&self) { self.a(); } }"),
            ("src/driver/mod.rs", "fn f(core: &Core) { core.a(); core.b(); }"),
            ("src/driver/mio.rs", ""),
            ("src/lib.rs", "mod a; mod b; mod driver; pub mod s;"),
            ("src/s/one.rs", ""),
            ("src/s/mod.rs", "mod one;"),
        ]
        .map(|(file, text)| (file.to_owned(), text.to_owned()))
        .into();
        let violations = Crate::new(&map, &files).violations();
        assert_one(&violations, &["src/a.rs:3:", "`Core::b`", "src/b.rs", "is above"]);
    }

    #[test]
    fn a_map_that_cannot_be_read_is_an_error() {
        assert!(Map::read("# nothing\n").is_err());
        let error = Map::read("0 values\n    a.rs\nvalues\n    b.rs\n").expect_err("no number");
        assert!(error.contains("line 3"), "{error}");
        let error = Map::read("\n    a.rs\n").expect_err("no floor");
        assert!(error.contains("line 2"), "{error}");
    }
}
