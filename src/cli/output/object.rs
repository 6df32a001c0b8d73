//! Objects of JSON, one a line, and what those of both commands have in common.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::error::Error;

/// The version of the formats, which every object names. A change that takes a field away or gives
/// it another meaning increases it.
const VERSION: u64 = 1;

/// An object in the making.
pub struct Object(Map<String, Value>);

impl Object {
    /// One that tells of this event.
    pub fn new(event: &str) -> Self {
        Self(Map::new()).with("v", VERSION).with("event", event)
    }

    /// One that tells of something that may be missing, with its operation and its reason.
    pub fn failed(event: &str, error: &Error) -> Self {
        Self::new(event).name("path", &error.path).error(error)
    }

    /// Adds a field.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.insert(field.to_owned(), value.into());
        self
    }

    /// Adds a field, if there is a value for it.
    pub fn with_some(self, field: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(field, value),
            None => self,
        }
    }

    /// A name under `field` if it is UTF-8, else its bytes in base64 under another name.
    pub fn name(self, field: &str, path: &Path) -> Self {
        match path.to_str() {
            Some(text) => self.with(field, text),
            None => {
                self.with(&format!("{field}_base64"), STANDARD.encode(path.as_os_str().as_bytes()))
            }
        }
    }

    /// What an error says, but for its path.
    pub fn error(self, error: &Error) -> Self {
        self.with("operation", error.op.words())
            .with_some("offset_bytes", error.offset_bytes)
            .with("reason", error.cause.to_string())
            .with_some("errno", error.errno())
            .with_some("hint", error.hint())
            .with("message", error.to_string())
    }

    /// A span of time in seconds, rounded to microseconds.
    pub fn seconds(self, duration: Duration) -> Self {
        self.with("seconds", (duration.as_secs_f64() * 1e6).round() / 1e6)
    }

    /// The line.
    pub fn line(self) -> String {
        format!("{}\n", Value::Object(self.0))
    }
}
