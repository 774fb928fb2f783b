//! `Reply`: what a simulated Redis says, as RESP3; and the commands that it is sent.

/// A value of RESP3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(&'static str),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Push(Vec<Self>),
}

impl Reply {
    pub(super) fn bulk(text: &str) -> Self {
        Self::Bulk(text.into())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut line = |kind: char, text: &str| out.extend(format!("{kind}{text}\r\n").into_bytes());
        match self {
            Self::Simple(text) => line('+', text),
            Self::Error(text) => line('-', text),
            Self::Integer(value) => line(':', &value.to_string()),
            Self::Null => line('_', ""),
            Self::Bulk(bytes) => {
                line('$', &bytes.len().to_string());
                out.extend_from_slice(bytes);
                out.extend_from_slice(b"\r\n");
            }
            Self::Array(items) | Self::Push(items) => {
                line(if matches!(self, Self::Push(_)) { '>' } else { '*' }, &items.len().to_string());
                items.iter().for_each(|item| item.encode(out));
            }
            Self::Map(pairs) => {
                line('%', &pairs.len().to_string());
                for (key, value) in pairs {
                    key.encode(out);
                    value.encode(out);
                }
            }
        }
    }
}

/// Takes the first command from `input`, if it is there whole.
pub(super) fn take_command(input: &mut Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let mut at = 0;
    let line = |at: &mut usize| -> Option<usize> {
        let rest = input.get(*at + 1..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        let number = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
        *at += 1 + end + 2;
        Some(number)
    };
    let count = line(&mut at)?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let length = line(&mut at)?;
        words.push(input.get(at..at + length)?.to_vec());
        at += length + 2;
    }
    (at <= input.len()).then(|| {
        input.drain(..at);
        words
    })
}
