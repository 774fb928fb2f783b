//! Any text is an endpoint that is read back as it is displayed, or an error
//! that names it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serve_forever::{Endpoint, Error};

fuzz_target!(|text: &str| {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            let shown = endpoint.to_string();
            assert_eq!(shown.parse::<Endpoint>().expect("it was displayed"), endpoint);
        }
        Err(Error::Endpoint { text: named, reason }) => assert!(named == text && !reason.is_empty()),
        Err(other) => panic!("{other}"),
    }
});
