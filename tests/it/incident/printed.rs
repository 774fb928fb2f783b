//! What the page has printed, as the test of a project.

use serve_forever::Limits;
use serve_forever::driver::sim::{Conditions, Script};
use serve_forever::sim::World;

use super::ledger::Ledger;

#[test]
pub(super) fn a_record_is_counted_however_it_is_cut() {
    let script = Script::new().send("\r\n").cut_at([1]).finish();
    let mut world = World::<_, true>::new(0, Conditions::calm(), Ledger::default(), Limits::default())
        .expect("good limits");
    let client = world.play(script);
    world.run().expect("the reactor keeps its promises");
    assert_eq!(world.client(client).received(), b"1\r\n");
}
