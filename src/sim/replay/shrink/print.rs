//! Printing of a shrunk case as a test in Rust.

use std::fmt::Write;

use super::Shrunk;
use super::case::{Case, Ending, Pace};

impl Shrunk {
    /// The test: a function `name` that plays the script into
    /// `handler` under `limits`, both expressions in Rust. It fails as long as the handler
    /// does, and passes once it does not.
    ///
    /// It needs `serve_forever::driver::sim::{Conditions, Script}`,
    /// `serve_forever::sim::World`, and what the expressions name.
    #[must_use]
    pub fn to_test(&self, name: &str, handler: &str, limits: &str) -> String {
        let mut lines = vec!["#[test]".to_owned(), format!("fn {name}() {{")];
        lines.push(format!("    let script = {};", script(&self.case)));
        let world = format!("World::<_, true>::new(0, Conditions::calm(), {handler}, {limits})");
        lines.push(bound(&format!("let mut world = {world}"), ".expect(\"good limits\");"));
        let play = if self.case.is_unix { "play_unix" } else { "play" };
        lines.push(format!("    let client = world.{play}(script);"));
        lines.push("    world.run().expect(\"the reactor keeps its promises\");".to_owned());
        lines.push(match &self.answer {
            Some(answer) => {
                format!("    assert_eq!(world.client(client).received(), b\"{}\");", answer.escape_ascii())
            }
            None => {
                let closed = "world.life(client).and_then(|life| life.closed())";
                format!("    assert_eq!({closed}, Some(\"Finished\"));")
            }
        });
        lines.push("}\n".to_owned());
        lines.join("\n")
    }
}

/// The longest line that rustfmt leaves whole here.
const WIDTH: usize = 100;

/// A statement, whose last call has a line of its own if one is too short for both.
fn bound(head: &str, call: &str) -> String {
    let gap = if 4 + head.len() + call.len() > WIDTH { "\n        " } else { "" };
    format!("    {head}{gap}{call}")
}

/// The script as an expression.
fn script(case: &Case) -> String {
    let mut text = "Script::new()".to_owned();
    match case.pace {
        Pace::Even => {
            push_send(&mut text, &case.bytes());
            if !case.cuts().is_empty() {
                let _ = write!(text, ".cut_at({:?})", case.cuts());
            }
        }
        Pace::Recorded => {
            for piece in &case.pieces {
                if !piece.after.is_zero() {
                    let _ =
                        write!(text, ".after(std::time::Duration::from_nanos({}))", piece.after.as_nanos());
                }
                push_send(&mut text, &piece.bytes);
            }
        }
    }
    text.push_str(match case.ending {
        Ending::Finish => ".finish()",
        Ending::Reset => ".reset()",
    });
    text
}

/// A string, where the bytes are text; else a slice of bytes.
fn push_send(text: &mut String, bytes: &[u8]) {
    let _ = if bytes.is_ascii() {
        write!(text, ".send(\"{}\")", bytes.escape_ascii())
    } else {
        write!(text, ".send(&b\"{}\"[..])", bytes.escape_ascii())
    };
}
