//! Events as JSON, one object a line.
//!
//! `docs/aiocp.schema.json` says what each may hold, and the manual what it means. A change that
//! takes a field away or gives it another meaning increases [`VERSION`].

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::report::{Copied, Difference, Event, Made, Proof, Totals, Way, What};

/// The version of the format, which every object names.
const VERSION: u64 = 1;

/// An object in the making.
struct Object(Map<String, Value>);

impl Object {
    fn new(event: &str) -> Self {
        Self(Map::new()).with("v", VERSION).with("event", event)
    }

    fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    fn with_some(self, field: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// A name under `field` if it is UTF-8, else its bytes in base64 under another name.
    fn name(self, field: &str, path: &Path) -> Self {
        match path.to_str() {
            Some(text) => self.with(field, text),
            None => {
                self.with(&format!("{field}_base64"), STANDARD.encode(path.as_os_str().as_bytes()))
            }
        }
    }

    fn way(self, field: &str, way: Way) -> Self {
        let object = self.with(field, way.name());
        match way {
            Way::Buffered(reason) => object.with(&format!("{field}_reason"), reason),
            _ => object,
        }
    }

    fn proof(self, proof: Proof) -> Self {
        let (from, reason) = match proof {
            Proof::Direct => ("device", None),
            Proof::Dropped(reason) => ("emptied cache", Some(reason)),
            Proof::Memory(reason) => ("memory", Some(reason)),
        };
        self.with("verified_from", from).with_some("verified_reason", reason)
    }

    fn line(self) -> String {
        format!("{}\n", Value::Object(self.0))
    }
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
        Event::Failed(error) => failed("failed", error),
        Event::Warning(error) => failed("warning", error),
        Event::Differs(difference) => mismatch(difference),
        Event::Same(path, proof) => Object::new("verified").name("path", path).proof(*proof),
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
        object = object.proof(proof);
    }
    let hash = file.hash.map(|hash| blake3::Hash::from_bytes(hash).to_hex().to_string());
    object = object
        .with_some("blake3", hash)
        .way("read", file.route.read)
        .way("written", file.route.write);
    object.with("seconds", seconds(file.elapsed))
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

fn failed(event: &str, error: &Error) -> Object {
    let object = Object::new(event).name("path", &error.path).with("operation", error.op.words());
    let object = object
        .with_some("offset_bytes", error.offset_bytes)
        .with("reason", error.cause.to_string());
    object
        .with_some("errno", error.errno())
        .with_some("hint", error.hint())
        .with("message", error.to_string())
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
    object.with("seconds", seconds(elapsed)).line()
}

/// A span of time in seconds, rounded to microseconds.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}
