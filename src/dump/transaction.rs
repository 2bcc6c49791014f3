//! Is each transaction that a dump opens committed? A restore that ends before that restores nothing.

/// What the statements say of transactions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Where the open one begins.
    pub open_at: Option<u64>,
    /// Where one begins that another one followed before its `COMMIT`.
    pub abandoned_at: Option<u64>,
    /// One was opened and rolled back, or the last statement is `ROLLBACK`.
    pub rolled_back: bool,
    last_is_rollback: bool,
    /// `GO` ends batches: what is in one is not told apart.
    batches: bool,
}

impl Transaction {
    /// A statement is closed that begins with these words.
    pub fn statement(&mut self, words: &[u8], at: u64) {
        let words = words.trim_ascii();
        let is = |names: &[&str]| names.iter().any(|name| words.eq_ignore_ascii_case(name.as_bytes()));
        self.last_is_rollback = false;
        if words.get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"START TRANSACTION"))
            || is(&[
                "BEGIN",
                "BEGIN TRANSACTION",
                "BEGIN WORK",
                "BEGIN IMMEDIATE",
                "BEGIN IMMEDIATE TRANSACTION",
                "BEGIN EXCLUSIVE TRANSACTION",
                "BEGIN DEFERRED TRANSACTION",
            ])
        {
            self.abandoned_at = self.abandoned_at.or(self.open_at);
            self.open_at = Some(at);
        } else if is(&["COMMIT", "COMMIT WORK", "COMMIT TRANSACTION"]) {
            self.open_at = None;
        } else if is(&["ROLLBACK", "ROLLBACK WORK", "ROLLBACK TRANSACTION"]) {
            self.rolled_back |= self.open_at.is_some();
            self.last_is_rollback = true;
            self.open_at = None;
        }
    }

    pub fn batch(&mut self) {
        *self = Self { batches: true, ..Self::default() };
    }

    pub fn is_committed(&self) -> bool {
        self.open_at.is_none() && self.abandoned_at.is_none() && !self.rolled_back
    }

    pub fn finish(&mut self) {
        self.rolled_back |= self.last_is_rollback && !self.batches;
        if self.batches {
            (self.open_at, self.abandoned_at) = (None, None);
        }
    }
}
