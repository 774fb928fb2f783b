//! Any text is an endpoint that is read back as it is displayed, if all of it
//! prints, or an error that names it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serve_forever::{Endpoint, Error, Printable};

fuzz_target!(|text: &str| {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            let shown = endpoint.to_string();
            assert_eq!(Printable(&shown).to_string(), shown);
            if Printable(text).to_string() == text {
                assert_eq!(shown.parse::<Endpoint>().expect("it was displayed"), endpoint);
            }
        }
        Err(Error::Endpoint { text: named, reason }) => assert!(named == text && !reason.is_empty()),
        Err(other) => panic!("{other}"),
    }
});
