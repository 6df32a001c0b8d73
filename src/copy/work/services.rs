//! What the workers share: every service of a run, by reference.

use crate::copy::data::Data;
use crate::copy::durable::Durable;
use crate::copy::events::Events;
use crate::copy::hardlinks::HardLinks;
use crate::copy::metadata::MetadataCopier;
use crate::copy::names::Names;
use crate::copy::options::Options;
use crate::copy::queue::Queue;
use crate::copy::resume::Resume;
use crate::copy::verify::Verify;
use crate::pipeline::Pipeline;

/// The services of a run.
#[derive(Clone, Copy)]
pub struct Services<'a> {
    pub options: &'a Options,
    pub events: &'a Events<'a>,
    pub metadata: &'a MetadataCopier<'a>,
    pub resume: &'a Resume<'a>,
    pub names: &'a Names<'a>,
    pub durable: &'a Durable<'a>,
    pub data: &'a Data<'a>,
    pub verify: &'a Verify<'a>,
    pub hard_links: &'a HardLinks,
    pub queue: &'a Queue,
    /// What reads small files together.
    pub pipeline: &'a Pipeline<'a>,
    /// How many entries of a batch a worker may have open.
    pub entries_max: usize,
}
