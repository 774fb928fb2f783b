//! Masking of payloads (RFC 6455, 5.3).

/// Masks, or unmasks, a part of a payload that begins `offset` bytes behind the
/// payload's first.
pub(super) fn apply(data: &mut [u8], mask: [u8; 4], offset: usize) {
    let key: [u8; 8] = std::array::from_fn(|place| mask[(offset + place) % 4]);
    let word = u64::from_ne_bytes(key);
    let mut words = data.chunks_exact_mut(8);
    for chunk in &mut words {
        let bytes: [u8; 8] = (&*chunk).try_into().unwrap_or_default();
        chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_masked_as_the_whole() {
        let mask = [1, 2, 4, 8];
        let data: Vec<u8> = (0..50).collect();
        let expected: Vec<u8> = data.iter().enumerate().map(|(place, byte)| byte ^ mask[place % 4]).collect();
        for cut in 0..=data.len() {
            let mut masked = data.clone();
            let (first, second) = masked.split_at_mut(cut);
            apply(first, mask, 0);
            apply(second, mask, cut);
            assert_eq!(masked, expected, "{cut}");
        }
    }
}
