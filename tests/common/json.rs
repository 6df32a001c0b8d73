//! The output of `--json`, checked against the schema in the repository.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::run_with;

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The schema of a program.
pub fn schema(program: &str) -> Value {
    serde_json::from_str(&text(&format!("docs/{program}.schema.json"))).unwrap()
}

/// Runs a command with `--json` and this standard input. Returns the objects, each checked against
/// the schema.
pub fn events(program: &str, command: &mut Command, input: &[u8], code: i32) -> Vec<Value> {
    let validator = jsonschema::validator_for(&schema(program)).unwrap();
    let output = run_with(command.arg("--json"), input, code);
    let lines = String::from_utf8(output.stdout).unwrap();
    let events: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for event in &events {
        let errors: Vec<_> = validator.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{event}\n{errors:?}");
    }
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["exit_code"]), (&json!("summary"), &json!(code)));
    assert_eq!(events.iter().filter(|event| event["event"] == "summary").count(), 1);
    events
}

/// The first object in which this field has this value.
pub fn named<'a>(events: &'a [Value], field: &str, value: &str) -> &'a Value {
    events
        .iter()
        .find(|event| event[field] == value)
        .unwrap_or_else(|| panic!("no {field} is {value}: {events:?}"))
}

/// The kinds of objects that there are.
pub fn kinds(events: &[Value]) -> BTreeSet<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

/// Holds that the manual of a program mentions each event of its schema and each field.
pub fn the_manual_knows_all(program: &str) {
    let manual = text(&format!("man/{program}.sections.roff"));
    let words: BTreeSet<&str> =
        manual.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    for (event, object) in schema(program)["$defs"].as_object().unwrap() {
        let Some(fields) = object["properties"].as_object() else { continue };
        for field in
            fields.keys().map(|field| field.trim_end_matches("_base64")).chain([event.as_str()])
        {
            assert!(words.contains(field), "the manual does not mention {field}");
        }
    }
}
