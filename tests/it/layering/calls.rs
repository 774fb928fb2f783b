//! The calls between files that hold the methods of one type: which method is
//! written where, and who calls it.
//!
//! Methods are found by the grammar of `impl` blocks, calls by their receiver:
//! `self` inside of such a block, a path that ends in the field or variable of the
//! type (`self.core.end(…)`, `core.end(…)`), or the type (`Core::new(…)`). That is no
//! type inference; for two types of which one is a field of the other it is enough.

use std::collections::BTreeMap;

use super::scan::Token;

/// A type whose methods are in many files, and the name of the values of it.
pub(crate) const SPLIT: [(&str, &str); 2] = [("Core", "core"), ("Reactor", "reactor")];

/// The methods that a file writes and those that it calls, of split types.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    pub(crate) written: Vec<Method>,
    /// Each with its line.
    pub(crate) called: Vec<(Method, usize)>,
}

/// A method by its type and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Method {
    pub(crate) of: &'static str,
    pub(crate) name: String,
}

impl Calls {
    /// Reads the tokens of a file; `in_tests` says of each whether it is in a test.
    pub(crate) fn of(tokens: &[Token], in_tests: &[bool]) -> Self {
        let mut calls = Self::default();
        // The type of the block around, and the depth at which it opened.
        let mut block: Option<(Option<&'static str>, usize)> = None;
        let mut depth = 0;
        for at in 0..tokens.len() {
            match text(tokens, at) {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    block = block.filter(|(_, opened_at)| *opened_at < depth);
                }
                // (`impl` in a signature opens no block.)
                "impl" if block.is_none() => block = Some((type_of_block(tokens, at), depth)),
                "fn" => {
                    if let Some((Some(of), opened_at)) = block
                        && depth == opened_at + 1
                    {
                        calls.written.push(Method { of, name: text(tokens, at + 1).into() });
                    }
                }
                name if !in_tests[at] && is_called(tokens, at) => {
                    let own = block.and_then(|(of, _)| of);
                    if let Some(of) = receiver(tokens, at, own) {
                        calls.called.push((Method { of, name: name.into() }, tokens[at].line));
                    }
                }
                _ => {}
            }
        }
        calls
    }
}

/// In which file each method is written.
pub(crate) fn homes<'a>(files: impl Iterator<Item = (&'a str, &'a Calls)>) -> BTreeMap<&'a Method, &'a str> {
    files.flat_map(|(file, calls)| calls.written.iter().map(move |method| (method, file))).collect()
}

/// The split type of the `impl` block whose keyword is at `at`.
fn type_of_block(tokens: &[Token], at: usize) -> Option<&'static str> {
    let head = (at..tokens.len()).take_while(|at| text(tokens, *at) != "{");
    let mut of = None;
    let mut depth = 0;
    for at in head.skip(1) {
        match text(tokens, at) {
            "<" => depth += 1,
            ">" if text(tokens, at - 1) != "-" => depth -= 1,
            "where" => break,
            // The type stands behind it.
            "for" => of = None,
            name if depth == 0 => of = split_type(name).or(of),
            _ => {}
        }
    }
    of
}

fn split_type(name: &str) -> Option<&'static str> {
    SPLIT.into_iter().map(|(of, _)| of).find(|of| *of == name)
}

/// Whether the word at `at` is called: `name(…)` or `name::<…>(…)`.
fn is_called(tokens: &[Token], at: usize) -> bool {
    match text(tokens, at + 1) {
        "(" => true,
        "::" => text(tokens, at + 2) == "<",
        _ => false,
    }
}

/// The split type of the receiver of the method that is called at `at`.
fn receiver(tokens: &[Token], at: usize, own: Option<&'static str>) -> Option<&'static str> {
    let before = at.checked_sub(2)?;
    let name = text(tokens, before);
    match text(tokens, at - 1) {
        "." if name == "self" => own,
        "." => SPLIT.into_iter().find(|(_, value)| *value == name).map(|(of, _)| of),
        "::" if name == "Self" => own,
        "::" => split_type(name),
        _ => None,
    }
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

#[cfg(test)]
mod tests {
    use super::super::scan::Scan;
    use super::*;

    fn names(methods: impl IntoIterator<Item = Method>) -> Vec<String> {
        methods.into_iter().map(|method| format!("{}::{}", method.of, method.name)).collect()
    }

    #[test]
    fn the_methods_of_a_split_type_are_found_and_no_others() {
        let source = "
            impl Core { fn a(&self) { fn inner() {} } pub(crate) const fn b() -> u8 { 0 } }
            impl<D: Driver> Reactor<D> { pub fn c(f: impl FnOnce(u8) -> Core) {} }
            impl<T> From<Core> for Other<T> { fn from() {} }
            impl<D: Driver> Drop for Reactor<D> where D: Sized { fn drop(&mut self) {} }
            impl Other { fn d(&self) {} }
            fn e() {}
        ";
        let calls = Scan::of(source).calls();
        assert_eq!(names(calls.written), ["Core::a", "Core::b", "Reactor::c", "Reactor::drop"]);
    }

    #[test]
    fn a_call_is_found_by_its_receiver() {
        let source = "
            impl<D: Driver> Reactor<D> {
                fn f(&mut self) {
                    self.a(self.core.b::<u8>());
                    core.c(); let core = 1; Self::d(); Core::e(); self.streams.g(); Other::h(); i();
                    driver.core().j();
                    Self::k(map(Core::l));
                }
            }
            impl Other { fn g(&self) { self.m(); self.core.n() } }
            #[cfg(test)] mod tests { fn t(core: Core) { core.o(); } }
        ";
        let called = Scan::of(source).calls().called;
        assert_eq!(called[0].1, 4);
        let called = names(called.into_iter().map(|(method, _)| method));
        let expected = ["Reactor::a", "Core::b", "Core::c", "Reactor::d", "Core::e", "Reactor::k", "Core::n"];
        assert_eq!(called, expected);
    }
}
