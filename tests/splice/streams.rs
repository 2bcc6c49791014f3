//! DEFLATE streams written by hand, block by block and bit by bit: what no compressor would write, but every decoder reads.

use fastrand::Rng;

/// A raw DEFLATE stream in the making, and what it inflates to.
#[derive(Default)]
pub struct Stream {
    bytes: Vec<u8>,
    /// Bits used in the last byte; 0 when it is full.
    used_bits: u8,
    /// What a decoder will make of it.
    pub content: Vec<u8>,
}

impl Stream {
    /// Its bytes; the last one filled with zeros.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How many bits of the last byte are used; 0 when all are.
    pub fn used_bits(&self) -> u8 {
        self.used_bits
    }

    /// A stored block (RFC 1951 §3.2.4).
    pub fn stored(&mut self, is_last: bool, content: &[u8]) {
        let len = u16::try_from(content.len()).expect("a stored block has 16 bits for its length");
        self.header(is_last, 0);
        self.used_bits = 0;
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(&(!len).to_le_bytes());
        self.bytes.extend_from_slice(content);
        self.content.extend_from_slice(content);
    }

    /// A block with the fixed codes (§3.2.6): literals, with a copy of the last few bytes after some of them.
    pub fn fixed(&mut self, is_last: bool, content: &[u8], rng: &mut Rng) {
        self.header(is_last, 1);
        for &byte in content {
            self.fixed_symbol(u16::from(byte));
            self.content.push(byte);
            if rng.u8(..) < 16 {
                let distance = rng.usize(1..=4.min(self.content.len()));
                // Lengths of 3 and of 258, the only ends of the table without further bits; distance codes 0 to 3.
                let (symbol, len) = if rng.bool() { (257, 3) } else { (285, 258) };
                self.fixed_symbol(symbol);
                self.code(distance as u16 - 1, 5);
                for _ in 0..len {
                    self.content.push(self.content[self.content.len() - distance]);
                }
            }
        }
        self.fixed_symbol(256);
    }

    /// A block with codes of its own (§3.2.7): eight bits for a literal, nine for 255 and for the block's end.
    pub fn dynamic(&mut self, is_last: bool, content: &[u8]) {
        self.header(is_last, 2);
        // 257 literal codes, 1 distance code, 18 code length codes.
        self.bits(0, 5);
        self.bits(0, 5);
        self.bits(14, 4);
        // In the order of §3.2.7 only the lengths 8, 9 and 1 occur; their codes are `0`, `11` and `10`.
        for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
            let len = match symbol {
                8 => 1,
                1 | 9 => 2,
                _ => 0,
            };
            self.bits(len, 3);
        }
        (0..255).for_each(|_| self.code(0, 1));
        (0..2).for_each(|_| self.code(3, 2));
        self.code(2, 2);
        for &byte in content {
            if byte == 255 { self.code(0x1fe, 9) } else { self.code(u16::from(byte), 8) }
        }
        self.code(0x1ff, 9);
        self.content.extend_from_slice(content);
    }

    /// Up to eight blocks of any kind and length, empty ones among them.
    pub fn random(rng: &mut Rng) -> Self {
        let mut stream = Self::default();
        let count = rng.usize(1..=8);
        for index in 0..count {
            let is_last = index + 1 == count;
            let len = if rng.u8(..) < 64 { 0 } else { rng.usize(..=rng.clone().usize(1..3000)) };
            let content: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
            match rng.u8(..3) {
                0 => stream.stored(is_last, &content),
                1 => stream.fixed(is_last, &content, rng),
                _ => stream.dynamic(is_last, &content),
            }
        }
        stream
    }

    fn header(&mut self, is_last: bool, kind: u16) {
        self.bits(u16::from(is_last), 1);
        self.bits(kind, 2);
    }

    fn fixed_symbol(&mut self, symbol: u16) {
        match symbol {
            0..=143 => self.code(0x30 + symbol, 8),
            144..=255 => self.code(0x190 + symbol - 144, 9),
            256..=279 => self.code(symbol - 256, 7),
            _ => self.code(0xc0 + symbol - 280, 8),
        }
    }

    /// A Huffman code: its first bit first (§3.1.1).
    fn code(&mut self, code: u16, len: u8) {
        (0..len).rev().for_each(|bit| self.bits(code >> bit & 1, 1));
    }

    /// A number: its lowest bit first.
    fn bits(&mut self, value: u16, len: u8) {
        for bit in 0..len {
            if self.used_bits == 0 {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().expect("pushed if there was none");
            *last |= ((value >> bit & 1) as u8) << self.used_bits;
            self.used_bits = (self.used_bits + 1) % 8;
        }
    }
}
