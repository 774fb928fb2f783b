//! The paths that a source file names: enough of Rust's grammar for `use`
//! trees, inline modules, comments and literals, and no more.

use std::collections::BTreeSet;

use super::calls::Calls;

/// What a file says of modules.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Every path that starts at `crate`, `self`, `super`, a module of the
    /// file's own, or at the name of another crate in a `use`.
    pub(crate) paths: Vec<Path>,
    /// `mod name;`, each with whether it is `pub`.
    pub(crate) modules: Vec<(String, bool)>,
    tokens: Vec<Token>,
    /// For each token: whether it is inside of a `#[cfg(test)] mod`.
    in_tests: Vec<bool>,
}

/// A path as it is written, a group (`a::{b, c}`) taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    /// The name it is brought in under.
    pub(crate) name: String,
    pub(crate) line: usize,
    /// It stands in a `pub use`.
    pub(crate) is_reexport: bool,
    /// The inline modules around it.
    pub(crate) inside: Vec<String>,
    /// It stands in a `#[cfg(test)] mod`.
    pub(crate) in_tests: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Scan {
    pub(crate) fn of(source: &str) -> Self {
        let tokens = tokens(source);
        let mut scan = Self { modules: modules(&tokens), ..Self::default() };
        let mut around: Vec<(String, usize, bool)> = Vec::new();
        let (mut depth, mut at) = (0, 0);
        // Set while inside of a `use`: whether it is `pub`.
        let mut in_use = None;
        while at < tokens.len() {
            let in_tests = around.iter().any(|(_, _, in_tests)| *in_tests);
            let mut next = at + 1;
            match tokens[at].text.as_str() {
                "mod" if text(&tokens, at + 2) == "{" => {
                    around.push((text(&tokens, at + 1).into(), depth, is_test_module(&tokens, at)));
                }
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    around.pop_if(|(_, opened_at, _)| *opened_at == depth);
                }
                "use" => in_use = Some(is_public(&tokens, at)),
                ";" => in_use = None,
                _ if scan.starts_path(&tokens, at, in_use.is_some()) => {
                    let found = scan.paths.len();
                    next = tree(&tokens, at, &mut Vec::new(), &mut scan.paths);
                    for path in &mut scan.paths[found..] {
                        path.is_reexport = in_use == Some(true);
                        path.in_tests = in_tests;
                        path.inside = around.iter().map(|(name, ..)| name.clone()).collect();
                    }
                }
                _ => {}
            }
            scan.in_tests.extend(std::iter::repeat_n(in_tests, next - at));
            at = next;
        }
        scan.tokens = tokens;
        scan
    }

    /// The lines, outside of tests, that name `name`: an item, or a path's end
    /// whether or not it stands in a group.
    pub(crate) fn lines_naming(&self, name: &str) -> Vec<usize> {
        let words: Vec<_> = name.split("::").flat_map(|word| ["::", word]).skip(1).collect();
        let hit = |at: usize| words.iter().enumerate().all(|(n, word)| text(&self.tokens, at + n) == *word);
        let spelt = (0..self.tokens.len()).filter(|at| !self.in_tests[*at] && hit(*at));
        let grouped = self.paths.iter().filter(|path| !path.in_tests && path.segments.join("::") == name);
        let lines = spelt.map(|at| self.tokens[at].line).chain(grouped.map(|path| path.line));
        lines.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The methods of split types that the file writes and calls.
    pub(crate) fn calls(&self) -> Calls {
        Calls::of(&self.tokens, &self.in_tests)
    }

    fn starts_path(&self, tokens: &[Token], at: usize, in_use: bool) -> bool {
        let word = tokens[at].text.as_str();
        let follows = text(tokens, at + 1) == "::";
        let is_first = at == 0 || !matches!(text(tokens, at - 1), "::" | ".");
        let is_root = matches!(word, "crate" | "self" | "super")
            || self.modules.iter().any(|(module, _)| module == word)
            || in_use && is_word(word);
        follows && is_first && is_root
    }
}

/// Reads a path with its groups from `at`, below `prefix`; returns where it ends.
fn tree(tokens: &[Token], mut at: usize, prefix: &mut Vec<String>, into: &mut Vec<Path>) -> usize {
    let line = tokens[at].line;
    let depth = prefix.len();
    loop {
        if text(tokens, at) == "{" {
            at += 1;
            while !matches!(text(tokens, at), "}" | "") {
                at = tree(tokens, at, prefix, into);
                at += usize::from(text(tokens, at) == ",");
            }
            prefix.truncate(depth);
            return at + 1;
        }
        prefix.push(text(tokens, at).into());
        at += 1;
        let goes_on = text(tokens, at) == "::"
            && (matches!(text(tokens, at + 1), "{" | "*") || is_word(text(tokens, at + 1)));
        if !goes_on {
            break;
        }
        at += 1;
    }
    let mut segments = prefix.clone();
    // `a::{self}` names `a`.
    if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
        segments.pop();
    }
    let mut name = segments.last().cloned().unwrap_or_default();
    if text(tokens, at) == "as" {
        name = text(tokens, at + 1).into();
        at += 2;
    }
    into.push(Path { segments, name, line, is_reexport: false, inside: Vec::new(), in_tests: false });
    prefix.truncate(depth);
    at
}

fn modules(tokens: &[Token]) -> Vec<(String, bool)> {
    let is_declaration = |at: &usize| tokens[*at].text == "mod" && text(tokens, at + 2) == ";";
    let named = |at: usize| (text(tokens, at + 1).to_owned(), is_public(tokens, at));
    (0..tokens.len()).filter(is_declaration).map(named).collect()
}

/// Whether the item whose keyword is at `at` is `pub`, to whomever.
fn is_public(tokens: &[Token], at: usize) -> bool {
    let before = &tokens[..at];
    let before = match before.last() {
        Some(token) if token.text == ")" => {
            &before[..before.iter().rposition(|token| token.text == "(").unwrap_or(0)]
        }
        _ => before,
    };
    before.last().is_some_and(|token| token.text == "pub")
}

/// Whether `#[cfg(test)]` stands in front of the `mod` at `at`.
fn is_test_module(tokens: &[Token], at: usize) -> bool {
    let words = ["#", "[", "cfg", "(", "test", ")", "]"];
    at >= words.len() && tokens[at - words.len()..at].iter().map(|token| &token.text).eq(words)
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Words, `::` and single signs; comments and literals are left out.
fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (length, is_token) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), false)
        } else if rest.starts_with("/*") {
            (block_comment(rest), false)
        } else if first == '"' {
            (1 + string(&rest[1..]), false)
        } else if first == '\'' {
            (quote(rest), false)
        } else if let Some(literal) = prefixed_string(rest) {
            (literal, false)
        } else if word > 0 {
            (word, true)
        } else if rest.starts_with("::") {
            (2, true)
        } else {
            (first.len_utf8(), !first.is_whitespace())
        };
        if is_token {
            tokens.push(Token { text: rest[..length].into(), line });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// The length of a string with a prefix (`b"…"`, `r#"…"#`), if one starts here.
fn prefixed_string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"].into_iter().find(|prefix| {
        let after = rest.strip_prefix(prefix).unwrap_or_default();
        after.trim_start_matches('#').starts_with('"') && (prefix.ends_with('r') || after.starts_with('"'))
    })?;
    let after = &rest[prefix.len()..];
    if !prefix.ends_with('r') {
        return Some(prefix.len() + 1 + string(&after[1..]));
    }
    let hashes = after.len() - after.trim_start_matches('#').len();
    let end = format!("\"{}", "#".repeat(hashes));
    let body = &after[hashes + 1..];
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(prefix.len() + hashes + 1 + length)
}

/// The length of a string's text with its closing quote.
fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// The length of a character literal, or of a lifetime.
fn quote(rest: &str) -> usize {
    let inner = &rest[1..];
    let Some(first) = inner.chars().next() else { return 1 };
    if first == '\\' {
        // What is escaped may be the quote itself.
        let escaped = 1 + inner[1..].chars().next().map_or(0, char::len_utf8);
        return 1 + escaped + inner[escaped..].find('\'').map_or(0, |end| end + 1);
    }
    if inner[first.len_utf8()..].starts_with('\'') {
        return 1 + first.len_utf8() + 1;
    }
    1 + inner.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(inner.len())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(source: &str) -> Vec<String> {
        Scan::of(source).paths.into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn a_use_tree_is_taken_apart() {
        let source = "use crate::a::{self, B, c::{D as E, *}};\nuse super::f;\npub(crate) use self::g::H;";
        assert_eq!(
            written(source),
            ["crate::a", "crate::a::B", "crate::a::c::D", "crate::a::c::*", "super::f", "self::g::H"]
        );
        let paths = Scan::of(source).paths;
        assert_eq!((paths[2].name.as_str(), paths[2].line), ("E", 1));
        let reexports: Vec<bool> = paths.iter().map(|path| path.is_reexport).collect();
        assert_eq!(reexports, [false, false, false, false, false, true]);
    }

    #[test]
    fn a_path_counts_wherever_it_stands_but_not_in_comments_and_literals() {
        let source = r##"
            //! crate::no::A
            /* crate::no /* crate::no::B */ crate::no */
            fn f<'a>(x: &'a str) -> crate::yes::C<u8> {
                let _ = ("crate::no::D \" crate::no", r#"crate::no " crate::no"#, b"crate::no", '"', '\'');
                self.g(); Self::h();
                crate::yes::d::<crate::yes::E>()
            }
        "##;
        assert_eq!(written(source), ["crate::yes::C", "crate::yes::d", "crate::yes::E"]);
    }

    #[test]
    fn a_module_of_the_file_starts_a_path_and_inline_modules_are_known() {
        let source =
            "pub mod a;\nmod b;\nfn f() { b::g(); x.b::<u8>(); }\n#[cfg(test)]\nmod t { use super::*; }";
        let scan = Scan::of(source);
        assert_eq!(scan.modules, [("a".to_owned(), true), ("b".to_owned(), false)]);
        assert_eq!(written(source), ["b::g", "super::*"]);
        assert_eq!(scan.paths[1].inside, ["t"]);
    }

    #[test]
    fn words_are_found_outside_of_tests_alone() {
        let source = "fn f() {\n Instant::now() }\n#[cfg(test)]\nmod tests {\n fn g() { Instant::now() } }";
        assert_eq!(Scan::of(source).lines_naming("Instant::now"), [2]);
    }
}
