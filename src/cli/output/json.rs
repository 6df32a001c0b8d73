//! Events as JSON, one object a line.
//!
//! `docs/aiocp.schema.json` says what each may hold, and the manual what it means.

use std::time::Duration;

use super::object::Object;
use crate::report::{Copied, Difference, Event, Made, Proof, Totals, Way, What};

/// How a side of a file was read or written.
fn with_way(object: Object, field: &str, way: Way) -> Object {
    let object = object.with(field, way.name());
    match way {
        Way::Buffered(reason) => object.with(&format!("{field}_reason"), reason),
        _ => object,
    }
}

/// What a proof of a copy is worth.
fn with_proof(object: Object, proof: Proof) -> Object {
    let (from, reason) = match proof {
        Proof::Direct => ("device", None),
        Proof::Dropped(reason) => ("emptied cache", Some(reason)),
        Proof::Memory(reason) => ("memory", Some(reason)),
    };
    object.with("verified_from", from).with_some("verified_reason", reason)
}

/// An event as one line.
pub fn line(event: &Event) -> String {
    let object = match event {
        Event::Copied(file) => copied(file),
        Event::Made(made) => self::made(made),
        Event::Skipped(path, why) => Object::new("skipped")
            .name("path", path)
            .with("reason", why.name())
            .with("message", why.to_string()),
        Event::Failed(error) => Object::failed("failed", error),
        Event::Warning(error) => Object::failed("warning", error),
        Event::Differs(difference) => mismatch(difference),
        Event::Same(path, proof) => with_proof(Object::new("verified").name("path", path), *proof),
        Event::NoKernelAio(reason) => Object::new("notice")
            .with("message", format!("kernel AIO: {reason}; threads do its work")),
    };
    object.line()
}

fn copied(file: &Copied) -> Object {
    let mut object = Object::new("file").name("source", &file.source).name("target", &file.target);
    object = object.with("size_bytes", file.size_bytes).with("replaced", file.replaced);
    if file.in_place {
        object = object.with("in_place", true);
    }
    if let Some(backup) = &file.backup {
        object = object.name("backup", backup);
    }
    if let Some(proof) = file.proof {
        object = with_proof(object, proof);
    }
    let hash = file.hash.map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string());
    object = with_way(object.with_some("blake3", hash), "read", file.route.read);
    with_way(object, "written", file.route.write).seconds(file.elapsed)
}

fn made(made: &Made) -> Object {
    let object = Object::new("made")
        .with("kind", made.kind)
        .name("source", &made.source)
        .name("target", &made.target);
    let object = object.with("replaced", made.replaced);
    match &made.backup {
        Some(backup) => object.name("backup", backup),
        None => object,
    }
}

fn mismatch(difference: &Difference) -> Object {
    let object = Object::new("mismatch").name("path", &difference.path);
    let object = match &difference.what {
        What::Bytes(range) => object
            .with("what", "bytes")
            .with("start_bytes", range.start)
            .with("end_bytes", range.end),
        What::Missing => object.with("what", "missing"),
        What::Extra => object.with("what", "extra"),
        What::Kind { is, was } => object.with("what", "kind").with("is", *is).with("was", *was),
        What::Link { to, source } => {
            object.with("what", "link").name("leads_to", to).name("source_leads_to", source)
        }
        What::Device => object.with("what", "device"),
    };
    object.with("mended", difference.mended).with("message", difference.to_string())
}

/// The last line of a run.
pub fn summary(totals: &Totals, elapsed: Duration, exit_code: u8, dry_run: bool) -> String {
    let mut object = Object::new("summary").with("exit_code", exit_code).with("dry_run", dry_run);
    for (field, sum) in totals.fields() {
        object = object.with(field, Totals::get(sum));
    }
    object.seconds(elapsed).line()
}
