//! The proof that an action was recorded. [`RecordedAction`] has one constructor, private to the store: `act` takes it by
//! value, so an action that was not recorded first does not compile.

use super::ActionRow;
use contract::Epoch;

/// An action that is durable in the store and may be carried out once. Neither `Clone` nor `Deserialize` on purpose.
#[derive(Debug)]
pub struct RecordedAction {
    row: ActionRow,
    lease: Epoch,
}

impl RecordedAction {
    /// Only a store's record transaction, after its commit, may make one.
    pub(in crate::store) fn committed(row: ActionRow, lease: Epoch) -> Self {
        Self { row, lease }
    }

    /// The action as recorded.
    pub fn row(&self) -> &ActionRow {
        &self.row
    }

    /// The lease under which it was recorded.
    pub fn lease(&self) -> Epoch {
        self.lease
    }

    /// Consumes the right to act.
    pub fn into_row(self) -> ActionRow {
        self.row
    }
}
