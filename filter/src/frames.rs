//! Walks the frames that a client sends (RFC 6455, section 5.2): where one ends, and whether data was
//! among them. Needs the headers' few bytes only, asks for at most [`MAX_HEADER_BYTES`] at a time, and
//! for nothing when a chunk lies within a payload. Knows no stream and no host.
//!
//! What no client may send (a frame without a mask, a length in more bytes than it needs) ends the walk:
//! the engine will refuse it, and nothing behind it can be told apart.

/// A header: 2 bytes, 8 for the longest length, 4 for the mask.
pub const MAX_HEADER_BYTES: usize = 14;
/// What a control frame's payload may have at the most, and a close frame's: its code takes 2 (section 5.5).
const MAX_CONTROL_PAYLOAD: u64 = 125;
const MAX_REASON_BYTES: usize = 123;
const MASKED: u8 = 0x80;

/// What a chunk was found to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// The header of a data frame ended in it, or bytes of which nothing is known any more.
    pub data: bool,
    /// The first place in it, or right behind it, at which no frame is under way.
    pub boundary: Option<usize>,
}

/// Where in a frame the bytes so far have ended.
#[derive(Clone, Debug)]
pub struct Walker {
    at: At,
    header: [u8; MAX_HEADER_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// So many bytes of a header are known; 0: between two frames.
    Header(usize),
    /// So many bytes of a payload are to come, at least one.
    Payload(u64),
    /// No frame could be told from another any more.
    Lost,
}

impl Default for Walker {
    fn default() -> Self {
        Self::new()
    }
}

impl Walker {
    /// Before the first frame.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            at: At::Header(0),
            header: [0; MAX_HEADER_BYTES],
        }
    }

    /// Whether the walk has ended.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.at == At::Lost
    }

    /// Goes over the next `size` bytes. `read` gives those from an offset on, up to a number of them;
    /// what it does not give ends the walk.
    pub fn walk<B: AsRef<[u8]>>(
        &mut self,
        size: usize,
        mut read: impl FnMut(usize, usize) -> Option<B>,
    ) -> Walked {
        let mut walked = Walked::default();
        let mut offset = 0;
        while offset < size {
            let rest = size.saturating_sub(offset);
            let passed = match self.at {
                At::Lost => {
                    walked.data = true;
                    return walked;
                }
                At::Payload(left) => {
                    let passed = usize::try_from(left).unwrap_or(usize::MAX).min(rest);
                    let left = left.saturating_sub(passed as u64);
                    self.at = if left == 0 {
                        At::Header(0)
                    } else {
                        At::Payload(left)
                    };
                    passed
                }
                At::Header(known) => {
                    if known == 0 {
                        walked.boundary.get_or_insert(offset);
                    }
                    let wanted = MAX_HEADER_BYTES.saturating_sub(known).min(rest);
                    let bytes = read(offset, wanted);
                    match bytes.and_then(|bytes| self.header(known, bytes.as_ref())) {
                        Some(Header::Whole { passed, data }) => {
                            walked.data |= data;
                            passed
                        }
                        Some(Header::Cut) => rest,
                        None => {
                            self.at = At::Lost;
                            continue;
                        }
                    }
                }
            };
            offset = offset.saturating_add(passed);
        }
        if self.at == At::Header(0) {
            walked.boundary.get_or_insert(size);
        }
        walked
    }

    /// Reads on in a header of which `known` bytes are there. `None` when no client may send it.
    fn header(&mut self, known: usize, more: &[u8]) -> Option<Header> {
        let rest = self.header.get_mut(known..)?;
        let more = more.get(..rest.len()).unwrap_or(more);
        rest.get_mut(..more.len())?.copy_from_slice(more);
        let there = known.saturating_add(more.len());
        let [first, second, ..] = self.header;
        let extended = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0_usize,
        };
        if there >= 2 && second & MASKED == 0 {
            return None;
        }
        let whole = extended.saturating_add(6);
        if there < whole {
            self.at = At::Header(there);
            return (!more.is_empty()).then_some(Header::Cut);
        }
        let length = match extended {
            0 => u64::from(second & !MASKED),
            _ => {
                let digits = self.header.get(2..extended.saturating_add(2))?;
                digits.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
            }
        };
        let opcode = first & 0x0f;
        let fits = match extended {
            0 => true,
            2 => length > 125,
            _ => length > u64::from(u16::MAX) && length <= u64::MAX >> 1,
        };
        if !fits || (opcode >= 8 && length > MAX_CONTROL_PAYLOAD) {
            return None;
        }
        self.at = if length == 0 {
            At::Header(0)
        } else {
            At::Payload(length)
        };
        Some(Header::Whole {
            passed: whole.saturating_sub(known),
            data: opcode <= 2,
        })
    }
}

enum Header {
    /// Its last bytes were so many.
    Whole { passed: usize, data: bool },
    /// More of it is to come.
    Cut,
}

/// A close frame as a client sends one: masked. A reason that is too long is cut.
#[must_use]
pub fn close(code: u16, reason: &str, mask: [u8; 4]) -> Vec<u8> {
    let (reason, _) = reason.split_at(reason.floor_char_boundary(MAX_REASON_BYTES));
    let payload = code.to_be_bytes().into_iter().chain(reason.bytes());
    let masked: Vec<u8> = payload
        .zip(mask.into_iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    let size = u8::try_from(masked.len()).unwrap_or(u8::MAX) & !MASKED;
    let mut frame = vec![0x88, MASKED | size];
    frame.extend_from_slice(&mask);
    frame.extend_from_slice(&masked);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// A frame whose payload has `size` bytes, with the shortest header.
    fn frame(first: u8, size: usize) -> Vec<u8> {
        let mut bytes = vec![first];
        match size {
            0..=125 => bytes.push(0x80 | u8::try_from(size).unwrap()),
            126..=0xffff => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(size as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes.extend(std::iter::repeat_n(0xff, size));
        bytes
    }

    /// Walks over the bytes in one chunk; counts the reads.
    fn walk(walker: &mut Walker, bytes: &[u8]) -> (Walked, usize) {
        let mut reads = 0;
        let walked = walker.walk(bytes.len(), |offset, max| {
            assert!(max <= MAX_HEADER_BYTES);
            reads += 1;
            bytes.get(offset..(offset + max).min(bytes.len()))
        });
        (walked, reads)
    }

    #[test]
    fn finds_the_first_boundary_and_data() {
        for size in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            let mut walker = Walker::default();
            let text = frame(0x81, size);
            let (walked, reads) = walk(&mut walker, &text);
            let expected = Walked {
                data: true,
                boundary: Some(0),
            };
            assert_eq!((walked, reads), (expected, 1), "{size}");
            let (walked, _) = walk(&mut walker, &text[..1]);
            assert_eq!(walked.boundary, Some(0));
            let (walked, _) = walk(&mut walker, &text[1..]);
            assert_eq!(walked.boundary, Some(text.len() - 1), "{size}");
        }
    }

    #[test]
    fn control_frames_are_no_data_and_a_chunk_within_a_payload_is_not_read() {
        let mut walker = Walker::default();
        for first in [0x88, 0x89, 0x8a] {
            assert!(!walk(&mut walker, &frame(first, 5)).0.data);
        }
        let text = frame(0x01, 300);
        assert_eq!(walk(&mut walker, &text[..20]).1, 1);
        let within = walk(&mut walker, &text[20..200]);
        assert_eq!(within, (Walked::default(), 0));
        let (last, reads) = walk(&mut walker, &text[200..]);
        assert_eq!((last.boundary, last.data, reads), (Some(108), false, 0));
        // Between the fragments of a message a ping may come.
        let bytes = [frame(0x89, 0), frame(0x80, 7)].concat();
        let (walked, reads) = walk(&mut walker, &bytes);
        assert_eq!((walked.data, walked.boundary, reads), (true, Some(0), 2));
    }

    #[test]
    fn what_no_client_may_send_ends_the_walk() {
        let long = |digits: u64| {
            let mut bytes = vec![0x82, 0xff];
            bytes.extend_from_slice(&digits.to_be_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes
        };
        for bad in [
            vec![0x81, 0x05, b'h'],
            vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0],
            long(0xffff),
            long(1 << 63),
            vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0],
        ] {
            let mut walker = Walker::default();
            let (walked, _) = walk(&mut walker, &bad);
            assert!(walker.is_lost() && walked.data, "{bad:?}");
            let later = walk(&mut walker, b"anything");
            let expected = Walked {
                data: true,
                boundary: None,
            };
            assert_eq!(later, (expected, 0));
        }
        let mut walker = Walker::default();
        walk(&mut walker, &long(u64::MAX >> 1));
        assert!(!walker.is_lost());
        let mut walker = Walker::default();
        walker.walk(5, |_, _| None::<&[u8]>);
        assert!(walker.is_lost());
        let mut walker = Walker::default();
        walker.walk(5, |_, _| Some(b""));
        assert!(walker.is_lost());
    }

    #[test]
    fn a_close_frame_is_masked_and_short() {
        let frame = close(4403, "gone", [1, 2, 3, 4]);
        let (head, payload) = frame.split_at(6);
        assert_eq!(head, [0x88, 0x86, 1, 2, 3, 4]);
        let clear: Vec<u8> = payload
            .iter()
            .zip([1, 2, 3, 4].into_iter().cycle())
            .map(|(byte, mask)| byte ^ mask)
            .collect();
        assert_eq!(clear, [&4403_u16.to_be_bytes()[..], b"gone"].concat());
        for (long, size) in [("x".repeat(300), 131), ("ä".repeat(100), 130)] {
            let frame = close(4401, &long, [0; 4]);
            assert_eq!(frame.len(), size);
            assert!(!walk(&mut Walker::default(), &frame).0.data);
        }
    }
}
