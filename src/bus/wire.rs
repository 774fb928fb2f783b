//! RESP3 on the wire: frames by the codec of `redis-protocol`, behind a scan that bounds
//! them.

use bytes::{Bytes, BytesMut};
use redis_protocol::resp3;
pub(super) use redis_protocol::resp3::types::BytesFrame as Frame;

/// The deepest nesting of a frame: the codec recurses.
const DEEPEST: usize = 8;

/// Takes the first frame from `input`, if it is there whole.
///
/// # Errors
///
/// It is longer than `most` bytes, nested too deeply, or no RESP3.
pub(super) fn take_frame(input: &mut BytesMut, most: usize) -> Result<Option<Frame>, String> {
    let Some(length) = scan(input, most)? else { return Ok(None) };
    let bytes = input.split_to(length).freeze();
    match resp3::decode::complete::decode_bytes(&bytes) {
        Ok(Some((frame, used))) if used == length => Ok(Some(frame)),
        Ok(_) => Err("a frame is not as long as it says".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The length of the first frame, or `None` if its end is not there yet.
fn scan(input: &[u8], most: usize) -> Result<Option<usize>, String> {
    let mut open = [0_usize; DEEPEST];
    let mut depth = 0;
    let mut at = 0;
    loop {
        if at > most {
            return Err(format!("a frame is longer than {most} bytes"));
        }
        let rest = input.get(at..).unwrap_or_default();
        let Some(end) = rest.windows(2).take(most).position(|pair| pair == b"\r\n") else {
            return if at + rest.len() > most {
                Err(format!("a frame is longer than {most} bytes"))
            } else {
                Ok(None)
            };
        };
        let line = &rest[..end];
        at += end + 2;
        let is_whole = match line.first() {
            Some(b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(') => true,
            Some(b'$' | b'=' | b'!') => {
                at += number(line, most)? + 2;
                at <= input.len()
            }
            Some(kind @ (b'*' | b'~' | b'>' | b'%' | b'|')) => {
                let count = number(line, most)?;
                let items = if matches!(kind, b'%' | b'|') { 2 * count } else { count };
                // An attribute stands before the value that it belongs to.
                let items = items + usize::from(*kind == b'|');
                if items > 0 {
                    *open.get_mut(depth).ok_or("a frame is nested too deeply")? = items;
                    depth += 1;
                    continue;
                }
                true
            }
            Some(other) => return Err(format!("no frame begins with {:?}", char::from(*other))),
            None => return Err("an empty line is no frame".into()),
        };
        if !is_whole {
            return if at > most { Err(format!("a frame is longer than {most} bytes")) } else { Ok(None) };
        }
        loop {
            let Some(last) = depth.checked_sub(1) else { return Ok(Some(at)) };
            open[last] -= 1;
            if open[last] > 0 {
                break;
            }
            depth = last;
        }
    }
}

/// The number behind the first byte of a line.
fn number(line: &[u8], most: usize) -> Result<usize, String> {
    let text = std::str::from_utf8(&line[1..]).unwrap_or_default();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if is_number && number <= most => Ok(number),
        _ => Err(format!("{:?} is no length from 0 to {most}", String::from_utf8_lossy(line))),
    }
}

/// Appends a command of these words.
pub(super) fn push_command(out: &mut BytesMut, words: &[&[u8]]) {
    use resp3::types::BorrowedFrame;
    let words: Vec<_> =
        words.iter().map(|data| BorrowedFrame::BlobString { data, attributes: None }).collect();
    let frame = BorrowedFrame::Array { data: &words, attributes: None };
    // The buffer grows as it has to, so that the encoder's one error does not occur.
    let encoded = resp3::encode::complete::extend_encode_borrowed(out, &frame, false);
    debug_assert!(encoded.is_ok(), "{encoded:?}");
}

/// The bytes of a string.
pub(super) const fn text(frame: &Frame) -> Option<&Bytes> {
    match frame {
        Frame::BlobString { data, .. }
        | Frame::SimpleString { data, .. }
        | Frame::VerbatimString { data, .. } => Some(data),
        _ => None,
    }
}

/// The items of an array.
pub(super) fn items(frame: &Frame) -> Option<&[Frame]> {
    match frame {
        Frame::Array { data, .. } => Some(data),
        _ => None,
    }
}

/// The text of an error.
pub(super) fn error(frame: &Frame) -> Option<String> {
    match frame {
        Frame::SimpleError { data, .. } => Some(data.to_string()),
        Frame::BlobError { data, .. } => Some(String::from_utf8_lossy(data).into_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1000;

    fn taken(input: &[u8]) -> Result<Option<Frame>, String> {
        take_frame(&mut BytesMut::from(input), MOST)
    }

    #[test]
    fn a_frame_is_taken_whole_wherever_it_ends() {
        let frame = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhe\r\no\r\n";
        let map = b"%2\r\n+a\r\n*2\r\n:1\r\n_\r\n$1\r\nb\r\n#t\r\n";
        let attribute = b"|1\r\n+ttl\r\n:3\r\n*1\r\n:2\r\n";
        for whole in
            [&frame[..], map, attribute, b"*0\r\n", b"$0\r\n\r\n", b"-ERR no\r\n", b"=6\r\ntxt:ab\r\n"]
        {
            for end in 0..whole.len() {
                assert_eq!(scan(&whole[..end], MOST), Ok(None), "{end} of {}", whole.escape_ascii());
            }
            let two = [whole, b":7\r\n"].concat();
            let mut input = BytesMut::from(&two[..]);
            assert!(take_frame(&mut input, MOST).expect("RESP3").is_some(), "{}", whole.escape_ascii());
            assert_eq!(&input[..], b":7\r\n");
        }
    }

    #[test]
    fn what_is_too_long_or_too_deep_or_no_frame_is_refused() {
        for (input, expected) in [
            (b"*1\r\n".repeat(9), "nested too deeply"),
            (b"*1\r\n".repeat(100_000), "nested too deeply"),
            (b"$1001\r\n".to_vec(), "no length"),
            (b"*99999999999999999999\r\n".to_vec(), "no length"),
            (b"$-1\r\n".to_vec(), "no length"),
            (b"$?\r\n".to_vec(), "no length"),
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "no frame begins"),
            (b"\r\n".to_vec(), "empty line"),
            (vec![b'+'; 1002], "longer than"),
            ([&b"*3\r\n$900\r\n"[..], &[b'x'; 900], b"\r\n$900\r\n"].concat(), "longer than"),
        ] {
            let error = taken(&input).expect_err("it is refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn any_bytes_are_a_frame_an_error_or_too_few(input in proptest::collection::vec(
                prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'%'), Just(b'|'), any::<u8>()], 0..200,
            )) {
                let _ = taken(&input);
            }

            #[test]
            fn a_command_is_read_back(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..8)) {
                let mut out = BytesMut::new();
                push_command(&mut out, &words.iter().map(Vec::as_slice).collect::<Vec<_>>());
                let frame = take_frame(&mut out, MOST).expect("RESP3").expect("whole");
                prop_assert!(out.is_empty());
                let read: Vec<_> = items(&frame).expect("an array").iter().map(|item| text(item).expect("a string").to_vec()).collect();
                prop_assert_eq!(read, words);
            }
        }
    }
}
