//! Scans the WebSocket frames that a client sends ([RFC 6455](https://www.rfc-editor.org/rfc/rfc6455#section-5.2),
//! section 5.2): where a frame ends, whether data was among them, and the code of a close frame. Reads only headers, at
//! most [`MAX_HEADER_BYTES`] at a time, the code of a close frame as a part of its header, and nothing of a chunk that lies
//! within a payload. Knows no stream and no host.
//!
//! A frame that no client may send (without a mask, or with a length in more bytes than it needs) ends the scan: the
//! engine will refuse it, and the boundaries of later frames are unknown.

/// A header: 2 bytes, 8 for the longest length, 4 for the mask.
pub const MAX_HEADER_BYTES: usize = 14;
/// Maximum payload of a control frame (RFC 6455, section 5.5).
const MAX_CONTROL_PAYLOAD: u64 = 125;
/// Maximum text of a close frame: its code takes 2 bytes of the payload.
const MAX_REASON_BYTES: usize = 123;
const MASKED: u8 = 0x80;
/// The opcode of a close frame, and the bytes of the code at the start of its payload.
const CLOSE: u8 = 8;
const CODE_BYTES: u8 = 2;

/// What a chunk contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanResult {
    /// The header of a data frame ended in it, or the scanner is desynchronized.
    pub data: bool,
    /// The first frame boundary in it or at its end.
    pub boundary: Option<usize>,
    /// The header of a close frame ended in it.
    pub close: bool,
    /// The code of a close frame in it.
    pub close_code: Option<u16>,
}

/// The position in a client's frames, from chunk to chunk.
#[derive(Clone, Debug)]
pub struct FrameScanner {
    position: Position,
    header: [u8; MAX_HEADER_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Position {
    /// After this many bytes of a header; 0: between two frames.
    Header(usize),
    /// Before this many bytes of a payload, at least one.
    Payload(u64),
    /// Frame boundaries are unknown from here on.
    Desynchronized,
}

impl Default for FrameScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameScanner {
    /// A scanner before the first frame.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            position: Position::Header(0),
            header: [0; MAX_HEADER_BYTES],
        }
    }

    /// Whether the scan has ended at an invalid frame.
    #[must_use]
    pub fn is_desynchronized(&self) -> bool {
        self.position == Position::Desynchronized
    }

    /// Scans the next `size` bytes. `read(offset, max)` returns up to `max` of them; when it returns none the scan
    /// ends.
    pub fn scan<B: AsRef<[u8]>>(
        &mut self,
        size: usize,
        mut read_bytes: impl FnMut(usize, usize) -> Option<B>,
    ) -> ScanResult {
        let mut result = ScanResult::default();
        let mut offset = 0;
        while offset < size {
            let available = size.saturating_sub(offset);
            let consumed = match self.position {
                Position::Desynchronized => {
                    result.data = true;
                    return result;
                }
                Position::Payload(payload_left) => {
                    let consumed = usize::try_from(payload_left)
                        .unwrap_or(usize::MAX)
                        .min(available);
                    let payload_left = payload_left.saturating_sub(consumed as u64);
                    self.position = match payload_left {
                        0 => Position::Header(0),
                        payload_left => Position::Payload(payload_left),
                    };
                    consumed
                }
                Position::Header(header_bytes) => {
                    if header_bytes == 0 {
                        result.boundary.get_or_insert(offset);
                    }
                    let missing = MAX_HEADER_BYTES.saturating_sub(header_bytes).min(available);
                    let bytes = read_bytes(offset, missing);
                    match bytes.and_then(|bytes| self.read_header(header_bytes, bytes.as_ref())) {
                        Some(Header::Complete {
                            consumed,
                            data,
                            close,
                            close_code,
                        }) => {
                            result.data |= data;
                            result.close |= close;
                            result.close_code = result.close_code.or(close_code);
                            consumed
                        }
                        Some(Header::Partial) => available,
                        None => {
                            self.position = Position::Desynchronized;
                            continue;
                        }
                    }
                }
            };
            offset = offset.saturating_add(consumed);
        }
        if self.position == Position::Header(0) {
            result.boundary.get_or_insert(size);
        }
        result
    }

    /// Continues a header of which `header_bytes` bytes were read. `None` when no client may send it.
    fn read_header(&mut self, header_bytes: usize, input: &[u8]) -> Option<Header> {
        let header_tail = self.header.get_mut(header_bytes..)?;
        let input = input.get(..header_tail.len()).unwrap_or(input);
        header_tail.get_mut(..input.len())?.copy_from_slice(input);
        let available = header_bytes.saturating_add(input.len());
        let [first, second, ..] = self.header;
        let extended = match second & !MASKED {
            126 => 2,
            127 => 8,
            _ => 0_usize,
        };
        if available >= 2 && second & MASKED == 0 {
            return None;
        }
        let opcode = first & 0x0f;
        let has_code = opcode == CLOSE && extended == 0 && second & !MASKED >= CODE_BYTES;
        let code_len = if has_code { usize::from(CODE_BYTES) } else { 0 };
        let header_len = extended.saturating_add(6).saturating_add(code_len);
        if available < header_len {
            self.position = Position::Header(available);
            return (!input.is_empty()).then_some(Header::Partial);
        }
        let length = match extended {
            0 => u64::from(second & !MASKED),
            _ => {
                let digits = self.header.get(2..extended.saturating_add(2))?;
                digits.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
            }
        };
        let is_minimal = match extended {
            0 => true,
            2 => length > 125,
            _ => length > u64::from(u16::MAX) && length <= u64::MAX >> 1,
        };
        if !is_minimal || (opcode >= 8 && length > MAX_CONTROL_PAYLOAD) {
            return None;
        }
        self.position = match length.saturating_sub(code_len as u64) {
            0 => Position::Header(0),
            payload_left => Position::Payload(payload_left),
        };
        let [
            _,
            _,
            first_mask,
            second_mask,
            _,
            _,
            first_byte,
            second_byte,
            ..,
        ] = self.header;
        let code = u16::from_be_bytes([first_byte ^ first_mask, second_byte ^ second_mask]);
        Some(Header::Complete {
            consumed: header_len.saturating_sub(header_bytes),
            data: opcode <= 2,
            close: opcode == CLOSE,
            close_code: has_code.then_some(code),
        })
    }
}

enum Header {
    /// It ended after `consumed` bytes of the chunk.
    Complete {
        consumed: usize,
        data: bool,
        close: bool,
        close_code: Option<u16>,
    },
    /// The next chunk continues it.
    Partial,
}

/// A close frame as a client sends it: masked. A text that is too long is cut.
#[must_use]
pub fn close_frame(code: u16, text: &str, mask: [u8; 4]) -> Vec<u8> {
    let (text, _) = text.split_at(text.floor_char_boundary(MAX_REASON_BYTES));
    let payload = code.to_be_bytes().into_iter().chain(text.bytes());
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
mod tests;
