//! Random trees, options and operands.

use std::path::PathBuf;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{Case, Extra, Node, Planted};

fn path() -> impl Strategy<Value = PathBuf> {
    let names = select(&["a", "b", "c", "d", "a~", "odd \n\\", "-n"][..]);
    prop::collection::vec(names, 1..4).prop_map(|names| names.into_iter().collect())
}

/// The targets of symbolic links.
const LINKS: [&str; 10] =
    ["a", "../a", "b/c", "gone", ".", "..", "../../src/a", "../src/a", "../dst/b", "/gone"];

fn node() -> impl Strategy<Value = Node> {
    let mode = || select(&[0o644, 0o600, 0o755, 0o444, 0o4755, 0o2711, 0o1777][..]);
    let contents = select(&["", "one", "two", "three\n"][..]);
    let link = select(&LINKS[..]);
    prop_oneof![
        10 => (contents, prop::bool::weighted(0.1), mode())
            .prop_map(|(contents, hole, mode)| Node::File { contents, hole, mode }),
        6 => mode().prop_map(|mode| Node::Dir { mode }),
        4 => link.prop_map(Node::Link),
        2 => (0..3usize).prop_map(Node::Hard),
        1 => Just(Node::Fifo),
    ]
}

fn tree(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Planted>> {
    let owner = prop_oneof![4 => Just(0), 1 => Just(1234)];
    let extra =
        prop_oneof![6 => Just(Extra::Nothing), 1 => Just(Extra::Attribute), 1 => Just(Extra::Acl)];
    let planted = (path(), node(), 1_000..1_004i64, owner, extra);
    let planted = planted.prop_map(|(path, node, age, owner, extra)| Planted {
        path,
        node,
        age,
        owner,
        extra,
    });
    prop::collection::vec(planted, sizes)
}

/// Random options in random order, at most one from each row.
fn options() -> impl Strategy<Value = Vec<&'static str>> {
    let rows: [&'static [&'static str]; 14] = [
        &["-n", "-u", "-i", "-u", "-f", "--no-clobber"],
        &["-f"],
        &[
            "-b",
            "--backup=numbered",
            "--backup=simple",
            "--backup=none",
            "-S.old",
            "--remove-destination",
            "--remove-destination",
        ],
        &["-L", "-P", "-H", "-d"],
        &["-l", "-s"],
        &["--attributes-only"],
        &["--strip-trailing-slashes"],
        &["--sparse=always", "--sparse=never", "--sparse=auto"],
        &["--reflink=auto", "--reflink=never"],
        &["-x", "-R"],
        &["-v"],
        &["-a", "-p", "-a", "--preserve=all", "--preserve=ownership", "--preserve=xattr"],
        &[
            "-a",
            "--no-preserve=mode",
            "--no-preserve=links",
            "--no-preserve=timestamps",
            "--no-preserve=all",
        ],
        &["--preserve=mode,ownership", "--preserve", "--no-preserve=ownership,links"],
    ];
    subsequence((0..rows.len()).collect::<Vec<_>>(), 0..5)
        .prop_flat_map(move |rows_used| {
            rows_used.into_iter().map(|row| select(rows[row])).collect::<Vec<_>>()
        })
        .prop_shuffle()
}

/// The shapes of a command.
const OPERANDS: [&[&str]; 25] = [
    &["src", "dst"],
    &["-T", "src", "dst"],
    &["-T", "src", "dst"],
    &["-T", "src", "dst"],
    &["src/.", "dst"],
    &["src", "new"],
    &["src/a", "dst/a"],
    &["src/a", "dst/b"],
    &["src/a", "src/b", "src/c", "dst"],
    &["src/a", "src/b", "-t", "dst"],
    &["src/a", "src/b/a", "src/c/a", "dst"],
    &["src/a", "src/a", "./src/a", "dst"],
    &["src/a/", "src/b/", "dst"],
    &["src/a", "new"],
    &["src/a", "new/"],
    &["src/a", "src/b"],
    &["src/a", "src/a"],
    &["src/a", "src/a~"],
    &["src/a~", "src/a"],
    &["src", "src/d"],
    &["--parents", "src/a", "src/b/c", "dst"],
    &["--parents", "src/a/b", "./src//a", "src/b/", "dst"],
    &["--parents", "src/../src/a", "dst"],
    &["--parents", "src/a/b", "dst"],
    &["--parents", "./src//a/", "dst"],
];

pub fn any_case() -> impl Strategy<Value = Case> {
    (tree(1..14), tree(0..8), options(), select(&OPERANDS[..]), any::<bool>()).prop_map(
        |(source, target, mut options, operands, yes)| {
            let mut operands = operands.to_vec();
            if operands[0] == "--parents" {
                options.push(operands.remove(0));
            }
            Case { source, target, options, operands, yes }
        },
    )
}

pub fn case() -> impl Strategy<Value = Case> {
    any_case().prop_filter("a deliberate difference", |case| !case.is_out(""))
}
