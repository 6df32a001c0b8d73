//! The moment in which a copy takes its name, where no journal keeps it.

use super::services::Services;
use crate::copy::events::Published;
use crate::copy::names::Admitted;
use crate::error::{Operation, Result};
use crate::fs::{Given, IfTaken, Unpublished};
use crate::tree::OpenDir;

impl Services<'_> {
    /// [`Names::publish`](crate::copy::names::Names::publish). Without a journal what is replaced
    /// is held until the new name is durable: else the old name, which the device still has, would
    /// lead to what is written to its blocks meanwhile.
    pub(super) fn publish_name(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        op: Operation,
        publish: impl FnOnce(IfTaken) -> std::result::Result<Given, Unpublished>,
    ) -> Result<Option<Published>> {
        let name = entry.target_name();
        let backup = self.options.existing.backup.as_ref();
        let backup = backup.map(|backup| backup.simple_name(name));
        let names = [Some(name), backup.as_deref()].into_iter().flatten();
        let old = self.durable.reach_old(dir, names);
        let published = self.names.publish(dir, entry, op, publish);
        self.durable.hold_old(dir, old);
        published
    }
}
