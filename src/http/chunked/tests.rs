use proptest::prelude::*;

use super::*;

/// A body, and what is left of the input.
type Decoded = (Vec<u8>, Vec<u8>);

/// The body of a message, and what is left of the input; `None` if the rest has
/// not come.
fn decode(pieces: &[&[u8]]) -> Result<Option<Decoded>, Refusal> {
    decode_within(pieces, &HttpLimits::default())
}

fn decode_within(pieces: &[&[u8]], limits: &HttpLimits) -> Result<Option<Decoded>, Refusal> {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut body = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let mut input = *piece;
        loop {
            match decoder.next(&mut input, limits)? {
                Part::Data(data) => body.extend_from_slice(data),
                Part::Incomplete => break,
                Part::End => {
                    let rest = [&[input], &pieces[number + 1..]].concat().concat();
                    return Ok(Some((body, rest)));
                }
            }
        }
        assert!(input.is_empty());
    }
    Ok(None)
}

fn is_bad(text: &str) -> bool {
    matches!(decode(&[text.as_bytes()]), Err(refusal) if refusal.status == 400)
}

const GOOD: &[u8] = b"5;a=\"b\";c\r\nhello\r\n0A\r\n0123456789\r\n0;x\r\nA: b\r\nC-d:\r\n\r\nGET";

#[test]
fn chunks_are_joined_and_extensions_and_trailers_dropped() {
    let decoded = decode(&[GOOD]).expect("good").expect("complete");
    assert_eq!(decoded, (b"hello0123456789".to_vec(), b"GET".to_vec()));
}

#[test]
fn every_pair_of_cuts_gives_the_same() {
    let whole = decode(&[GOOD]);
    for first in 0..=GOOD.len() {
        for second in first..=GOOD.len() {
            assert_eq!(decode(&[&GOOD[..first], &GOOD[first..second], &GOOD[second..]]), whole);
        }
    }
}

#[test]
fn a_size_with_a_sign_or_a_prefix_or_without_digits() {
    for size in ["+5", "-5", "0x5", " 5", "", ";a", "g", "5h"] {
        assert!(is_bad(&format!("{size}\r\nhello\r\n0\r\n\r\n")), "{size:?}");
    }
}

#[test]
fn a_space_behind_a_size() {
    for space in [" ", "\t", " ;a"] {
        assert!(is_bad(&format!("5{space}\r\nhello\r\n0\r\n\r\n")));
    }
}

#[test]
fn a_size_that_overflows() {
    assert!(is_bad("10000000000000000\r\n"), "2^64");
    assert!(is_bad("00000000000000005\r\nhello\r\n0\r\n\r\n"), "17 digits");
    let mut decoder = BodyDecoder::new(BodyLength::Chunked);
    let mut input = &b"ffffffffffffffff\r\n"[..];
    assert_eq!(decoder.next(&mut input, &HttpLimits::default()), Ok(Part::Incomplete));
    assert_eq!(
        decoder,
        BodyDecoder::Chunked(Chunked { step: Step::Data(u64::MAX), extensions: 0, trailers: 0 })
    );
}

#[test]
fn a_bare_cr_or_lf_between_chunks() {
    for text in [
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5;a\nb\r\n",
        "5;a\rb\r\n",
        "0\r\n\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\rc\r\n\r\n",
    ] {
        assert!(is_bad(text), "{text:?}");
    }
}

#[test]
fn a_chunk_that_is_longer_than_its_size() {
    assert!(is_bad("4\r\nhello\r\n0\r\n\r\n"));
}

#[test]
fn extensions_are_bounded_over_all_chunks() {
    let limits = HttpLimits { max_chunk_extensions: 10, ..HttpLimits::default() };
    let text = |length: usize| format!("1;{0}\r\na\r\n1;{0}\r\nb\r\n0\r\n\r\n", "x".repeat(length));
    assert!(decode_within(&[text(5).as_bytes()], &limits).is_ok());
    assert_eq!(
        decode_within(&[text(6).as_bytes()], &limits).map_err(|refusal| refusal.status.as_u16()),
        Err(400)
    );
}

#[test]
fn trailers_are_bounded_and_checked() {
    let limits = HttpLimits { max_head: 10, ..HttpLimits::default() };
    let endless = format!("0\r\n{}", "a: b\r\n".repeat(10));
    assert_eq!(decode_within(&[endless.as_bytes()], &limits), Err(Refusal::HEAD_TOO_LONG));
    for trailer in [" a: b", "a : b", ": b", "a", "a\0: b", "a: \0", "a: b\r\n c"] {
        assert!(is_bad(&format!("0\r\n{trailer}\r\n\r\n")), "{trailer:?}");
    }
}

#[test]
fn a_body_by_length_ends_where_it_says() {
    let mut decoder = BodyDecoder::new(BodyLength::Known(5));
    let limits = HttpLimits::default();
    let mut input = &b"hel"[..];
    assert_eq!(decoder.next(&mut input, &limits), Ok(Part::Data(b"hel")));
    assert_eq!(decoder.next(&mut input, &limits), Ok(Part::Incomplete));
    let mut input = &b"loGET"[..];
    assert_eq!(decoder.next(&mut input, &limits), Ok(Part::Data(b"lo")));
    assert_eq!((decoder.next(&mut input, &limits), input), (Ok(Part::End), &b"GET"[..]));
}

proptest! {
    #[test]
    fn properties_what_was_chunked_comes_back(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
        rest in proptest::collection::vec(any::<u8>(), 0..6),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
    ) {
        let mut text = Vec::new();
        for chunk in &chunks {
            text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            text.extend_from_slice(chunk);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\n\r\n");
        text.extend_from_slice(&rest);
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(text.len())).chain([0, text.len()]).collect();
        ends.sort_unstable();
        let pieces: Vec<_> = ends.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        prop_assert_eq!(decode(&pieces), Ok(Some((chunks.concat(), rest))));
    }

    #[test]
    fn properties_nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = decode(&[&bytes]);
    }
}
