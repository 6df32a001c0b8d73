//! The rules of the house: who may need whom, and how wide and long things are. Each rule lives in
//! `tests/rules`, beside small examples that it is seen to reject.
//! `.ci/house` prints the figures.

use std::path::Path;
use std::sync::OnceLock;

mod rules;

use rules::form;
use rules::{Breach, House, arrows, circles, evidence, pointers, shown, skips, traces};

/// Types that may be named only in these files and folders below `src`, so that nothing further
/// down takes a bundle of all that stands above it.
const ONLY_AT_THE_TOP: &[(&str, &[&str])] = &[("Services", &["copy/mod.rs", "copy/work/"])];

/// Items of a package in a hundred that have an example, of those that do something.
const SHOWN_PERCENT: usize = 80;

/// Items that need none: questions that are answered by a number or a flag, and what the example of
/// its trait or its type shows.
const OBVIOUS: &[&str] = &[
    "Context::capacity",
    "Context::in_flight",
    "Context::reads_the_ring",
    "Engine::in_flight",
    "Handle::capacity",
    "Handle::in_flight",
    "OpKind::parts",
    "Pool::buffer_bytes",
    "SetupError::kind",
    "SignalMask::blocks",
    "IoBuf::stable_ptr",
    "IoBuf::len_bytes",
    "IoBufMut::stable_mut_ptr",
    "Faults::shorten",
    "Faults::fail",
    "Faults::delay",
    "Faults::grain_bytes",
];

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| House::repository(Path::new(env!("CARGO_MANIFEST_DIR"))))
}

/// Packages of the workspace, which the rules for code hold for as well.
const PACKAGES: [&str; 1] = ["crates/linux-aio"];

/// The packages that are there: a source package of the repository's own has no others.
fn packages() -> impl Iterator<Item = (&'static str, &'static House)> {
    static HOUSES: OnceLock<Vec<(&str, House)>> = OnceLock::new();
    let houses = HOUSES.get_or_init(|| {
        let folder = |package: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(package);
        let there = PACKAGES.into_iter().filter(|package| folder(package).exists());
        there.map(|package| (package, House::repository(&folder(package)))).collect()
    });
    houses.iter().map(|(package, house)| (*package, house))
}

/// What breaks a rule in the repository's own package and in the others.
fn everywhere(rule: fn(&House) -> Vec<Breach>) -> Vec<Breach> {
    let mut breaches = rule(house());
    for (package, house) in packages() {
        let named =
            |breach: Breach| Breach { file: format!("{package}/{}", breach.file), ..breach };
        breaches.extend(rule(house).into_iter().map(named));
    }
    breaches
}

fn circles_of_files(house: &House) -> Vec<Breach> {
    circles::breaches(&circles::of_files(house))
}

fn circles_of_folders(house: &House) -> Vec<Breach> {
    circles::breaches(&circles::of_folders(house))
}

fn assert_none(breaches: &[Breach]) {
    let list: String = breaches.iter().map(|breach| format!("{breach}\n")).collect();
    assert!(breaches.is_empty(), "{} breaches:\n{list}", breaches.len());
}

#[test]
fn the_files_of_a_room_need_each_other_in_no_circle() {
    assert_none(&everywhere(circles_of_files));
}

#[test]
fn the_folders_of_a_room_need_each_other_in_no_circle() {
    assert_none(&everywhere(circles_of_folders));
}

#[test]
fn the_tables_name_every_room_and_are_in_layers() {
    assert_none(&everywhere(arrows::in_tables));
}

#[test]
fn rooms_import_only_what_stands_below_them() {
    assert_none(&everywhere(arrows::back));
    assert!(arrows::checked(house()) > 30, "the imports were found");
    for (package, house) in packages() {
        assert!(arrows::checked(house) > 10, "those of {package} were found");
    }
}

#[test]
fn what_architecture_points_at_is_there() {
    assert_none(&everywhere(pointers::broken));
}

#[test]
fn the_tests_that_documents_name_are_there() {
    assert_none(&everywhere(evidence::missing));
}

#[test]
fn lines_have_at_most_100_columns() {
    assert_none(&form::wide_lines(house()));
}

#[test]
fn functions_have_at_most_60_lines_of_code() {
    assert_none(&everywhere(form::long_functions));
}

#[test]
fn parameters_take_apart_at_most_two_parts() {
    assert_none(&everywhere(form::wide_parameters));
}

#[test]
fn packages_show_their_interface_by_examples() {
    for (_, house) in packages() {
        assert_none(&shown::hidden(house, SHOWN_PERCENT, OBVIOUS));
        assert!(shown::interface(house).len() > 50, "the interface was found");
    }
}

#[test]
fn unsafe_code_lives_in_sys_alone() {
    assert_none(&everywhere(form::unsafe_code));
}

#[test]
fn calls_that_signals_interrupt_are_made_again() {
    assert_none(&form::uncovered_calls(house()));
}

#[test]
fn files_stay_readable() {
    assert_none(&everywhere(form::long_files));
}

#[test]
fn what_belongs_at_the_top_is_named_there_alone() {
    assert_none(&form::below_the_top(house(), ONLY_AT_THE_TOP));
}

#[test]
fn tests_leave_things_out_in_one_way() {
    assert_none(&skips::of_their_own(house()));
}

#[test]
fn tests_call_what_can_be_missing_in_one_way() {
    assert_none(&skips::called_alone(house()));
}

#[test]
fn what_tests_call_is_installed_by_ci() {
    assert_none(&skips::not_installed(house()));
}

#[test]
fn tests_read_traces_as_whole_calls() {
    assert_none(&traces::read_by_lines(house()));
}

#[test]
fn the_rules_see_every_file() {
    assert_none(&everywhere(rules::unread_files));
}

/// Prints the figures, and holds nothing: `.ci/house` calls it.
#[test]
fn figures() {
    let house = house();
    let rules = [
        ("files that no module declares", everywhere(rules::unread_files)),
        ("circles of files", everywhere(circles_of_files)),
        ("circles of folders", everywhere(circles_of_folders)),
        ("faults of the tables of rooms", everywhere(arrows::in_tables)),
        ("arrows back", everywhere(arrows::back)),
        ("lines over 100 columns", form::wide_lines(house)),
        ("functions over 60 lines", everywhere(form::long_functions)),
        ("parameters of more than two parts", everywhere(form::wide_parameters)),
        ("unsafe outside sys", everywhere(form::unsafe_code)),
        ("calls not made again", form::uncovered_calls(house)),
        ("files over 620 lines", everywhere(form::long_files)),
        ("names below their place", form::below_the_top(house, ONLY_AT_THE_TOP)),
    ];
    println!("\n{}", rules::figures::table(house, &rules));
    for (package, house) in packages() {
        println!("{package}\n{}", rules::figures::table(house, &[]));
    }
}
