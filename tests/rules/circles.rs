//! Circles: among the files of a room, and among the entries of a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::uses::{Kind, Use};
use super::{Breach, House};

/// Who needs whom, and the first use that says so.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, &'a Use>>;

/// What needs itself by way of others.
pub struct Circle<'a> {
    /// The room, or the folder whose entries these are.
    pub place: String,
    pub members: Vec<&'a str>,
    uses: Vec<(&'a str, &'a str, &'a Use)>,
}

impl Circle<'_> {
    fn breach(&self) -> Breach {
        let (_, _, first) = self.uses[0];
        let mut what = format!("{}: a circle of {}:", self.place, self.members.join(", "));
        for (from, to, at) in &self.uses {
            write!(what, "\n    {from} -> {to} by {} ({}:{})", at.name, at.file, at.line)
                .expect("a string takes everything");
        }
        Breach::new(&first.file, first.line, what)
    }
}

/// The uses by code that is more than a test or a declaration of what lies below.
fn of_code(house: &House) -> impl Iterator<Item = (&Use, &str, &[String])> {
    let code = house.uses.iter().filter(|used| !used.in_test && used.kind != Kind::Wiring);
    code.filter_map(|used| {
        let (file, module) = used.to.as_ref()?;
        (*file != used.file).then_some((used, &**file, &**module))
    })
}

/// Circles among the files of each room.
pub fn of_files(house: &House) -> Vec<Circle<'_>> {
    let mut rooms: BTreeMap<&str, Graph<'_>> = BTreeMap::new();
    for (used, file, module) in of_code(house) {
        if let (Some(from), Some(to)) = (used.module.first(), module.first())
            && from == to
        {
            add(rooms.entry(from).or_default(), &used.file, file, used);
        }
    }
    rooms.iter().flat_map(|(room, graph)| circles(&format!("src/{room}"), graph)).collect()
}

/// Circles among the entries of each folder, of which one is a folder itself: circles of files
/// alone are those of the room. The entries of `src` are the rooms.
pub fn of_folders(house: &House) -> Vec<Circle<'_>> {
    let mut folders: BTreeMap<&[String], Graph<'_>> = BTreeMap::new();
    for (used, _, module) in of_code(house) {
        let common = used.module.iter().zip(module).take_while(|(from, to)| from == to).count();
        let (from, to) = (entry(&used.module, common), entry(module, common));
        // A module in a file has no entry of its own.
        if from != to {
            add(folders.entry(&module[..common]).or_default(), from, to, used);
        }
    }
    let is_folder = |above: &[String], name: &str| {
        let path = format!(
            "src/{}{name}/",
            above.iter().map(|part| format!("{part}/")).collect::<String>()
        );
        above.is_empty() || house.sources.iter().any(|source| source.path.starts_with(&path))
    };
    folders
        .iter()
        .flat_map(|(above, graph)| {
            let place = ["src"].into_iter().chain(above.iter().map(|part| &**part));
            circles(&place.collect::<Vec<_>>().join("/"), graph)
                .into_iter()
                .filter(|circle| circle.members.iter().any(|name| is_folder(above, name)))
        })
        .collect()
}

/// The entry of a folder at a depth that a module stands in; the folder's own module is `mod`.
pub fn entry(module: &[String], depth: usize) -> &str {
    module.get(depth).map_or("mod", |entry| entry)
}

fn add<'a>(graph: &mut Graph<'a>, from: &'a str, to: &'a str, used: &'a Use) {
    graph.entry(from).or_default().entry(to).or_insert(used);
}

fn circles<'a>(place: &str, graph: &Graph<'a>) -> Vec<Circle<'a>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|from| (*from, reachable(graph, from))).collect();
    let together = |one: &str, other: &str| {
        let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|set| set.contains(to));
        reaches(one, other) && reaches(other, one)
    };
    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for &one in graph.keys() {
        let members: Vec<&str> =
            graph.keys().copied().filter(|other| together(one, other)).collect();
        if members.is_empty() || !seen.insert(members.clone()) {
            continue;
        }
        let uses = members
            .iter()
            .flat_map(|from| graph[from].iter().map(|(to, used)| (*from, *to, *used)));
        let uses = uses.filter(|(_, to, _)| members.contains(to)).collect();
        circles.push(Circle { place: place.to_owned(), members, uses });
    }
    circles
}

fn reachable<'a>(graph: &Graph<'a>, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&str> = vec![from];
    while let Some(at) = next.pop() {
        for to in graph.get(at).into_iter().flat_map(|uses| uses.keys()) {
            if reached.insert(*to) {
                next.push(to);
            }
        }
    }
    reached
}

/// Every circle, as a breach at its first step.
pub fn breaches(circles: &[Circle<'_>]) -> Vec<Breach> {
    circles.iter().map(Circle::breach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Circles in a library with one room, `room`.
    fn said(files: &[(&str, &str)]) -> Vec<String> {
        let root = [("src/lib.rs", "mod room;")];
        let house = House::example(&[&root, files].concat());
        let all = of_files(&house).into_iter().chain(of_folders(&house));
        all.map(|circle| format!("{}: {}", circle.place, circle.members.join(" "))).collect()
    }

    fn two(one: &str, other: &str) -> Vec<String> {
        said(&[
            ("src/room/mod.rs", "mod one;\nmod other;\npub use one::One;\nuse other::Other;\n"),
            ("src/room/one.rs", one),
            ("src/room/other.rs", other),
        ])
    }

    const BETWEEN_BOTH: &str = "src/room: src/room/one.rs src/room/other.rs";

    #[test]
    fn two_files_that_need_each_other_are_a_circle_however_they_say_so() {
        let one = "pub struct One;\nfn f(_: &super::other::Other) {}\n";
        for other in [
            "use super::one::One;",
            "use super::One;",
            "use crate::room::{self, One};",
            "use super::*; fn f() { One::g() }",
            "use self::super::one as first; fn f() { first::One::g() }",
            "fn f() { crate::room::one::g() }",
            "fn f() { use super::one; one::g() }",
            "fn f() { println!(\"{}\", super::one::g()) }",
            "fn f() { assert!(matches!(x, super::one::A if y)) }",
            "#[command(version = super::one::V)] struct A;",
            "type A = Vec<super::One>;",
        ] {
            let other = format!("pub struct Other;\n{other}");
            assert_eq!(two(one, &other), [BETWEEN_BOTH], "{other}");
        }
    }

    #[test]
    fn a_name_that_a_file_passes_on_is_needed_from_that_file() {
        let one = "pub use std::fs::File;\npub struct One;\nfn f(_: &super::other::Other) {}\n";
        let other = "pub struct Other;\nuse super::one::File;";
        assert_eq!(two(one, other), [BETWEEN_BOTH]);
        let own = "pub use super::other::Other;\npub struct One;";
        assert_eq!(two(own, "pub struct Other;\nuse super::one::Other as Same;"), [BETWEEN_BOTH]);
    }

    #[test]
    fn an_arrow_one_way_and_the_declarations_of_a_room_are_no_circle() {
        let one = "pub struct One;\nfn f(_: &super::other::Other) {}\n";
        for other in [
            "pub struct Other;",
            "pub struct Other; // use super::one::One;",
            "pub struct Other; const A: &str = \"super::one::g()\";",
            "pub struct Other;\n#[cfg(test)]\nmod tests { use super::super::One; }",
        ] {
            assert!(two(one, other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_room_that_uses_a_child_that_needs_it_is_a_circle() {
        let child = ("src/room/one.rs", "use super::Options; pub struct One(Options);");
        let circle = ["src/room: src/room/mod.rs src/room/one.rs"];
        for code in ["fn f() { One::g() }", "fn f(_: One) {}", "struct A { one: one::One }"] {
            let text = format!("mod one;\npub use one::One;\npub struct Options;\n{code}");
            assert_eq!(said(&[("src/room/mod.rs", &text), child]), circle, "{code}");
        }
        let wiring = "mod one;\npub use one::One;\npub struct Options;\n";
        assert!(said(&[("src/room/mod.rs", wiring), child]).is_empty());
        let passed_on = "mod one;\npub use one::File;\npub struct Options;\n";
        let passing = ("src/room/one.rs", "pub use std::fs::File;\nuse super::Options;");
        assert!(said(&[("src/room/mod.rs", passed_on), passing]).is_empty());
        let code = "mod one;\nuse one::Way;\npub struct Options;\nfn f() { x.go() }\n";
        let child = ("src/room/one.rs", "use super::Options; pub trait Way { fn go(&self); }");
        assert_eq!(said(&[("src/room/mod.rs", code), child]), circle, "a trait needs no name");
    }

    #[test]
    fn methods_of_one_type_in_two_files_that_call_each_other_are_a_circle() {
        let one = "pub struct One { inner: Inner }\npub struct Inner;\n\
                   impl One { fn f(&self) { self.g() } fn h(&self) {} }\n";
        for method in ["self.h()", "Self::h(self)", "write!(f, \"{}\", self.h())"] {
            let other = format!("use super::One;\nimpl One {{ fn g(&self) {{ {method} }} }}");
            assert_eq!(two(one, &other), [BETWEEN_BOTH], "{method}");
        }
        // The type is defined in a third file, and neither of the two names the other.
        let three = |g: &str, h: &str| {
            said(&[
                ("src/room/mod.rs", "mod a; mod b; mod run; use run::Run;"),
                ("src/room/run.rs", "pub struct Run { deep: Deep } pub struct Deep;"),
                ("src/room/a.rs", g),
                ("src/room/b.rs", h),
            ])
        };
        let (a, b) =
            ("use super::Run; impl Run { fn g(&self)", "use super::Run; impl Run { fn h(&self)");
        let both = ["src/room: src/room/a.rs src/room/b.rs"];
        let back = format!("{b} {{ [1].map(|_| self.g()); }} }}");
        assert_eq!(three(&format!("{a} {{ self.h() }} }}"), &back), both);
        assert!(three(&format!("{a} {{ }} }}"), &back).is_empty());
        let parameter = "use super::Run; impl Run { fn g(&self) {} } fn i(run: &Run) { run.h() }";
        assert_eq!(three(parameter, &back), both);
        for hidden in ["if let Some(run) = x { run.h() }", "f(|run| run.h())"] {
            let text = format!("{a} {{}} }} fn i(run: &Run) {{ {hidden} }}");
            assert!(three(&text, &back).is_empty(), "{hidden}");
        }
        let after = format!("{a} {{}} }} fn i(run: &Run) {{ f(|run| x); run.h() }}");
        assert_eq!(three(&after, &back), both);
        let variable = "use super::Run; impl Run { fn g(&self) { let r = Run { x }; r.h() } }";
        assert_eq!(three(variable, &back), both);
        let field = "use super::run::{Deep, Run}; impl Run { fn g(&self) { self.deep.d() } }";
        let of_deep = format!("{back} use super::run::Deep; impl Deep {{ fn d(&self) {{}} }}");
        assert_eq!(three(field, &of_deep), both);
    }

    #[test]
    fn folders_that_need_each_other_are_a_circle_also_where_their_files_are_none() {
        let files = [
            ("src/room/mod.rs", "mod low; mod high;"),
            ("src/room/low/mod.rs", "pub mod a; pub mod b;"),
            ("src/room/low/a.rs", "use super::super::high::A;"),
            ("src/room/low/b.rs", "pub struct B;"),
            ("src/room/high.rs", "use super::low::b::B; pub struct A;"),
        ];
        assert_eq!(said(&files), ["src/room: high low"]);
    }

    #[test]
    fn rooms_that_need_each_other_are_a_circle() {
        let house = House::example(&[
            ("src/lib.rs", "mod one; mod other;"),
            ("src/one.rs", "use crate::other::Other; pub struct One;"),
            ("src/other.rs", "pub struct Other;\nfn f(_: crate::one::One) {}"),
        ]);
        let breaches = breaches(&of_folders(&house));
        assert_eq!(
            breaches.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["src/one.rs:1: src: a circle of one, other:\
              \n    one -> other by crate::other::Other (src/one.rs:1)\
              \n    other -> one by crate::one::One (src/other.rs:2)"]
        );
    }
}
