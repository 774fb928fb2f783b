use super::*;

const MASK: [u8; 4] = [1, 2, 3, 4];

/// A frame with this first byte and this length, as it is written.
fn head(first: u8, second: &[u8]) -> Vec<u8> {
    [&[first], second].concat()
}

fn parse(bytes: &[u8], from: Role) -> Result<Option<(FrameHead, usize)>, &'static str> {
    FrameHead::parse(bytes, from)
}

#[test]
fn heads_come_back_whatever_their_length() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 40, u64::MAX >> 1] {
        for mask in [None, Some(MASK)] {
            let from = if mask.is_some() { Role::Client } else { Role::Server };
            let head = FrameHead { opcode: Opcode::Binary, is_last: false, mask, length };
            let mut out = BytesMut::new();
            head.put(&mut out);
            assert_eq!(parse(&out, from), Ok(Some((head, out.len()))));
            for cut in 0..out.len() {
                assert_eq!(parse(&out[..cut], from), Ok(None), "{length} cut at {cut}");
            }
        }
    }
}

#[test]
fn a_clients_frame_without_a_mask_and_a_servers_with_one() {
    assert!(parse(&head(0x81, &[0]), Role::Client).is_err());
    assert!(parse(&head(0x81, &[0x80, 1, 2, 3, 4]), Role::Server).is_err());
}

#[test]
fn reserved_bits_and_unknown_opcodes() {
    for first in [0xc1, 0xa1, 0x91, 0x83, 0x84, 0x85, 0x86, 0x87, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f] {
        assert!(parse(&head(first, &[0]), Role::Server).is_err(), "{first:x}");
    }
}

#[test]
fn control_frames_are_short_and_whole() {
    for opcode in [8, 9, 10] {
        assert!(parse(&head(opcode, &[0]), Role::Server).is_err(), "a fragment");
        assert!(parse(&head(0x80 | opcode, &[126, 0, 126]), Role::Server).is_err(), "126 bytes");
        assert!(parse(&head(0x80 | opcode, &[125]), Role::Server).is_ok());
    }
}

#[test]
fn lengths_are_written_in_the_shortest_way_and_fit_63_bits() {
    assert!(parse(&head(0x82, &[126, 0, 125]), Role::Server).is_err());
    assert!(parse(&head(0x82, &[127, 0, 0, 0, 0, 0, 0, 0xff, 0xff]), Role::Server).is_err());
    assert!(parse(&head(0x82, &[127, 0x80, 0, 0, 0, 0, 0, 0, 0]), Role::Server).is_err(), "2^63");
}

#[test]
fn frames_to_broadcast() {
    assert_eq!(text_frame("hi"), &b"\x81\x02hi"[..]);
    assert_eq!(binary_frame(&[0; 300])[..4], [0x82, 126, 1, 44]);
    assert_eq!(close_frame(CloseCode::AWAY, "so long"), &b"\x88\x09\x03\xe9so long"[..]);
}
