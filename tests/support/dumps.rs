//! Realistic dumps of any size, the same for the same seed, written as a stream.
//!
//! ```ignore
//! let text = Dump::new(1).size(100_000).completed("2026-11-20  1:02:03").text();
//! std::io::copy(&mut Dump::new(1).size(1 << 30).reader(), &mut zip)?;     // nothing of it is held in memory
//! ```

use std::io::{self, Read};

/// Words of the texts in the rows: as compressible as what people write.
const WORDS: &[&str] = &[
    "livraison",
    "panier",
    "remise",
    "client",
    "facture",
    "adresse",
    "commande",
    "paiement",
    "stock",
    "article",
    "retour",
    "quantité",
    "référence",
    "catalogue",
    "urgent",
    "cadeau",
    "hiver",
    "bleu",
    "boîte",
    "carton",
    "l\\'été",
    "prix",
];
const NAMES: &[&str] =
    &["Martin", "Bernard", "Dubois", "Thomas", "Robert", "Petit", "Durand", "Lefèvre", "Moreau", "Roux"];

/// What a mysqldump will hold.
#[derive(Debug, Clone)]
pub struct Dump {
    seed: u64,
    size_bytes: u64,
    completed: String,
    whole: bool,
}

impl Dump {
    /// A small mysqldump; another seed gives other rows.
    pub fn new(seed: u64) -> Self {
        Self { seed, size_bytes: 10_000, completed: "2026-11-20  1:00:00".to_owned(), whole: true }
    }

    /// How long it will be, in bytes: the next end of a row after that, and the closing lines (below 1 KB more).
    pub fn size(self, bytes: u64) -> Self {
        Self { size_bytes: bytes, ..self }
    }

    /// The date in the last line, which mysqldump alone writes there.
    pub fn completed(self, date: &str) -> Self {
        Self { completed: date.to_owned(), ..self }
    }

    /// Ends in the middle of a row, as when the server went away.
    pub fn cut(self) -> Self {
        Self { whole: false, ..self }
    }

    /// All of it.
    pub fn text(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes).expect("made here");
        bytes
    }

    /// All of it, made while it is read.
    pub fn reader(self) -> Reader {
        let head = "-- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)\n--\n-- Host: localhost    Database: boutique\n\
            -- ------------------------------------------------------\n-- Server version\t8.0.36\n\n\
            /*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;\n/*!50503 SET NAMES utf8mb4 */;\n\n\
            --\n-- Table structure for table `orders`\n--\n\nDROP TABLE IF EXISTS `orders`;\nCREATE TABLE `orders` (\n\
            \x20 `id` bigint NOT NULL AUTO_INCREMENT,\n  `token` char(32) NOT NULL,\n  `name` varchar(80) DEFAULT NULL,\n\
            \x20 `mail` varchar(120) DEFAULT NULL,\n  `amount` decimal(10,2) NOT NULL,\n  `created` datetime NOT NULL,\n\
            \x20 `note` text,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;\n\n\
            LOCK TABLES `orders` WRITE;\n/*!40000 ALTER TABLE `orders` DISABLE KEYS */;\n";
        Reader {
            state: self.seed ^ 0x9E37_79B9_7F4A_7C15,
            row: 0,
            made: 0,
            ended: false,
            at: 0,
            ready: head.into(),
            dump: self,
        }
    }
}

/// Yields a [`Dump`].
pub struct Reader {
    dump: Dump,
    state: u64,
    row: u64,
    made: u64,
    ended: bool,
    ready: Vec<u8>,
    at: usize,
}

impl Reader {
    /// SplitMix64: short, and the same everywhere.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.state;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[(self.next() % from.len() as u64) as usize]
    }

    /// One row; a hundred rows make one statement.
    fn make_row(&mut self) -> String {
        let (high, low, amount, when) = (self.next(), self.next(), self.next() % 100_000, self.next());
        let (name, count) = (self.pick(NAMES), 3 + self.next() % 13);
        let note: Vec<&str> = (0..count).map(|_| self.pick(WORDS)).collect();
        let opening = if self.row.is_multiple_of(100) { "INSERT INTO `orders` VALUES " } else { "," };
        self.row += 1;
        let row = self.row;
        format!(
            "{opening}({row},'{high:016x}{low:016x}','{name}','{}{}@example.org',{}.{:02},'20{:02}-{:02}-{:02} {:02}:{:02}:00','{}')",
            name.to_lowercase(),
            low % 1000,
            amount / 100,
            amount % 100,
            15 + when % 11,
            1 + when / 11 % 12,
            1 + when / 132 % 28,
            when / 3696 % 24,
            when / 88_704 % 60,
            note.join(" ")
        )
    }

    fn refill(&mut self) {
        self.made += self.ready.len() as u64;
        self.at = 0;
        self.ready.clear();
        if self.ended {
            return;
        }
        if self.made < self.dump.size_bytes {
            let row = self.make_row();
            self.ready.extend_from_slice(row.as_bytes());
            if self.row.is_multiple_of(100) {
                self.ready.extend_from_slice(b";\n");
            }
            return;
        }
        self.ended = true;
        if !self.dump.whole {
            self.ready = b",(99,'cut in the mid".to_vec();
            return;
        }
        if !self.row.is_multiple_of(100) {
            self.ready.extend_from_slice(b";\n");
        }
        let tail = "/*!40000 ALTER TABLE `orders` ENABLE KEYS */;\nUNLOCK TABLES;\n\n\
            /*!40101 SET CHARACTER_SET_CLIENT=@OLD_CHARACTER_SET_CLIENT */;\n\n-- Dump completed on ";
        self.ready.extend_from_slice(format!("{tail}{}\n", self.dump.completed).as_bytes());
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.at == self.ready.len() {
                self.refill();
                if self.ready.is_empty() {
                    break;
                }
            }
            let count = (self.ready.len() - self.at).min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&self.ready[self.at..self.at + count]);
            (self.at, filled) = (self.at + count, filled + count);
        }
        Ok(filled)
    }
}

/// Bytes that do not compress, always the same.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(bytes).collect()
}
