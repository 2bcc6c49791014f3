//! Free space, while the connection is open: a full server is better known a week before.

use super::recorder::Notes;
use super::target::Target;
use crate::step::Step;
use crate::text::{Language, Text};
use crate::units::show_size;

/// Notes the free space of a destination, and warns where less than three more archives of `archive_bytes` have room.
pub fn last_look(target: &mut Target<'_>, archive_bytes: Option<u64>, notes: &mut Notes<'_>) {
    let Some(session) = target.session.as_mut() else { return };
    let free = match session.free_space() {
        Ok(free) => free,
        Err(error) => {
            tracing::info!("free space not known: {error}");
            None
        }
    };
    target.report.free_bytes = free;
    if let (Some(free), Some(bytes)) = (free, archive_bytes)
        && free < bytes.saturating_mul(3)
    {
        let name = &target.settings.name;
        let (en, fr) = (show_size(free, Language::En), show_size(free, Language::Fr));
        let text = Text::new(
            format!("{name} has {en} left, room for less than three more archives like tonight's"),
            format!("{name} n'a plus que {fr} libres, moins de trois archives comme celle de cette nuit"),
        );
        notes.warn_in(Step::Upload, Some(name), text);
    }
}
