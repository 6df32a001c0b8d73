//! The events of `--json`, from the schema.

use std::fmt::Write;

use serde_json::Value;

/// A section for each event: what it is, and its fields.
pub fn sections(schema: &str) -> String {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let mut text = String::new();
    for of_event in schema["oneOf"].as_array().unwrap() {
        let name = of_event["$ref"].as_str().unwrap().rsplit('/').next().unwrap();
        let event = &schema["$defs"][name];
        let described = event["description"].as_str().unwrap();
        write!(text, "### {name}\n\n{described}\n\n| field | values | |\n| --- | --- | --- |\n")
            .unwrap();
        let required: Vec<_> = event["required"].as_array().unwrap().iter().collect();
        for (field, form) in event["properties"].as_object().unwrap() {
            if ["v", "event"].contains(&&**field) || field.ends_with("_base64") {
                continue;
            }
            let is_always = required.iter().any(|name| *name == field);
            let always = if is_always { "always" } else { "" };
            let form = referred(&schema, form);
            writeln!(text, "| `{field}` | {} | {always} |", values(form)).unwrap();
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

/// A form with a list of values in place of a reference to it. Names stay references.
fn referred<'s>(schema: &'s Value, form: &'s Value) -> &'s Value {
    let name = form["$ref"].as_str().and_then(|path| path.rsplit('/').next());
    match name.map(|name| &schema["$defs"][name]) {
        Some(listed) if listed["enum"].is_array() => listed,
        _ => form,
    }
}

/// What values a field has.
fn values(form: &Value) -> String {
    let quoted = |value: &Value| format!("`{value}`");
    if let Some(values) = form["enum"].as_array() {
        return values.iter().map(quoted).collect::<Vec<_>>().join(", ");
    }
    match (&form["const"], &form["type"], &form["$ref"]) {
        (Value::Null, Value::String(kind), _) => kind.clone(),
        (Value::Null, _, Value::String(_)) => "a name".to_owned(),
        (value, ..) => quoted(value),
    }
}
