//! The rules of the house: who may need whom, and how wide and long things are. Each rule lives in
//! `tests/rules`, beside small examples that it is seen to reject.
//! `.ci/house` prints the figures.

use std::path::Path;
use std::sync::OnceLock;

mod rules;

use rules::form;
use rules::{Breach, House, arrows, circles, evidence, pointers, skips};

/// Types that may be named only in these files and folders below `src`, so that nothing further
/// down takes a bundle of all that stands above it.
const ONLY_AT_THE_TOP: &[(&str, &[&str])] = &[("Services", &["copy/mod.rs", "copy/work/"])];

fn house() -> &'static House {
    static HOUSE: OnceLock<House> = OnceLock::new();
    HOUSE.get_or_init(|| House::repository(Path::new(env!("CARGO_MANIFEST_DIR"))))
}

fn assert_none(breaches: &[Breach]) {
    let list: String = breaches.iter().map(|breach| format!("{breach}\n")).collect();
    assert!(breaches.is_empty(), "{} breaches:\n{list}", breaches.len());
}

#[test]
fn the_files_of_a_room_need_each_other_in_no_circle() {
    assert_none(&circles::breaches(&circles::of_files(house())));
}

#[test]
fn the_folders_of_a_room_need_each_other_in_no_circle() {
    assert_none(&circles::breaches(&circles::of_folders(house())));
}

#[test]
fn the_tables_name_every_room_and_are_in_layers() {
    assert_none(&arrows::in_tables(house()));
}

#[test]
fn rooms_import_only_what_stands_below_them() {
    assert_none(&arrows::back(house()));
    assert!(arrows::checked(house()) > 30, "the imports were found");
}

#[test]
fn what_architecture_points_at_is_there() {
    assert_none(&pointers::broken(house()));
}

#[test]
fn the_tests_that_documents_name_are_there() {
    assert_none(&evidence::missing(house()));
}

#[test]
fn lines_have_at_most_100_columns() {
    assert_none(&form::wide_lines(house()));
}

#[test]
fn functions_have_at_most_60_lines_of_code() {
    assert_none(&form::long_functions(house()));
}

#[test]
fn parameters_take_apart_at_most_two_parts() {
    assert_none(&form::wide_parameters(house()));
}

#[test]
fn unsafe_code_lives_in_sys_alone() {
    assert_none(&form::unsafe_code(house()));
}

#[test]
fn files_stay_readable() {
    assert_none(&form::long_files(house()));
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
fn the_rules_see_every_file() {
    assert_none(&rules::unread_files(house()));
}

/// Prints the figures, and holds nothing: `.ci/house` calls it.
#[test]
fn figures() {
    let house = house();
    let rules = [
        ("files that no module declares", rules::unread_files(house)),
        ("circles of files", circles::breaches(&circles::of_files(house))),
        ("circles of folders", circles::breaches(&circles::of_folders(house))),
        ("faults of the tables of rooms", arrows::in_tables(house)),
        ("arrows back", arrows::back(house)),
        ("lines over 100 columns", form::wide_lines(house)),
        ("functions over 60 lines", form::long_functions(house)),
        ("parameters of more than two parts", form::wide_parameters(house)),
        ("unsafe outside sys", form::unsafe_code(house)),
        ("files over 620 lines", form::long_files(house)),
        ("names below their place", form::below_the_top(house, ONLY_AT_THE_TOP)),
    ];
    println!("\n{}", rules::figures::table(house, &rules));
}
