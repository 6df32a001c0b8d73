//! `-p`, `-a`, `--preserve` and `--no-preserve`. As in `cp`, they take effect in the order in which
//! they were given.

use clap::parser::ValueSource;
use clap::{ArgMatches, ValueEnum};

use crate::copy::Preserve;

/// What `--preserve` can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Attribute {
    Mode,
    Ownership,
    Timestamps,
    Links,
    Context,
    Xattr,
    All,
}

impl Attribute {
    /// Sets one attribute, or all. What is named is demanded; as in `cp`, `all` does not demand
    /// extended attributes.
    fn set(self, on: bool, preserve: &mut Preserve) {
        match self {
            Self::Mode => {
                (preserve.mode, preserve.mode_demanded, preserve.acls_demanded) = (on, on, on)
            }
            Self::Ownership => preserve.ownership = on,
            Self::Timestamps => (preserve.timestamps, preserve.timestamps_demanded) = (on, on),
            Self::Links => (preserve.links, preserve.links_demanded) = (on, on),
            Self::Context => preserve.context = on,
            Self::Xattr => (preserve.xattr, preserve.xattr_demanded) = (on, on),
            Self::All => {
                for one in [
                    Self::Mode,
                    Self::Ownership,
                    Self::Timestamps,
                    Self::Links,
                    Self::Context,
                    Self::Xattr,
                ] {
                    one.set(on, preserve);
                }
                preserve.xattr_demanded = false;
            }
        }
    }
}

/// Sets what `-a` keeps: everything. What the destination's filesystem cannot hold is only a
/// warning.
fn archive(preserve: &mut Preserve) {
    *preserve = Preserve {
        mode: true,
        ownership: true,
        timestamps: true,
        links: true,
        xattr: true,
        context: true,
        specials: true,
        mode_demanded: true,
        timestamps_demanded: true,
        links_demanded: true,
        ..*preserve
    };
}

/// What the command line asks to keep.
pub fn preserve(matches: &ArgMatches) -> Preserve {
    type Change = Box<dyn Fn(&mut Preserve)>;
    let mut changes: Vec<(usize, Change)> = Vec::new();
    for (id, on) in [("preserve", true), ("no_preserve", false)] {
        let attributes = matches.get_many::<Attribute>(id).unwrap_or_default();
        for (at, &attribute) in matches.indices_of(id).unwrap_or_default().zip(attributes) {
            changes.push((at, Box::new(move |preserve| attribute.set(on, preserve))));
        }
    }
    let is_given = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
    let flag = |id| matches.indices_of(id).filter(|_| is_given(id)).and_then(Iterator::last);
    if let Some(at) = flag("archive") {
        changes.push((at, Box::new(archive)));
    }
    if let Some(at) = flag("preserve_default") {
        let set = |preserve: &mut Preserve| {
            for one in [Attribute::Mode, Attribute::Ownership, Attribute::Timestamps] {
                one.set(true, preserve);
            }
        };
        changes.push((at, Box::new(set)));
    }
    // As in cp, -d means both -P and this.
    if let Some(at) = flag("no_dereference_links") {
        changes.push((at, Box::new(|preserve| Attribute::Links.set(true, preserve))));
    }
    changes.sort_by_key(|(at, _)| *at);
    let mut preserve = Preserve::default();
    changes.iter().for_each(|(_, change)| change(&mut preserve));
    preserve
}
