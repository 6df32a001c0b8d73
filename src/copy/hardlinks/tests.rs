//! Names that are met in every order.

use super::*;
use crate::fs::{self, Numbers, Settled};
use crate::tree::{Entry, EntryKind, Folder, Kept, OpenDirs};
use std::fs::File;

fn dir(folder: &std::path::Path) -> Arc<Dir> {
    let side = || Folder { file: File::open(folder).unwrap().into(), path: folder.to_owned() };
    Arc::clone(Dir::root(side(), side(), &OpenDirs::new(1)).unwrap().dir())
}

fn entry(name: &str) -> Admitted {
    Admitted::to_fresh(Entry {
        name: name.into(),
        renamed: None,
        kind: EntryKind::File,
        ino: None,
        followed: false,
        is_stream: false,
    })
}

fn original(dir: &Arc<Dir>) -> Arc<Original> {
    Arc::new(Original {
        dir: Arc::clone(dir),
        name: "1".into(),
        copy: None,
        size_bytes: 0,
        hash: None,
        kept: Kept::All,
    })
}

/// A file with `names` names, as it is found.
fn file(folder: &std::path::Path, names: u32) -> (Stat, Identity) {
    let file = File::create(folder.join("1")).unwrap();
    for n in 2..=names {
        std::fs::hard_link(folder.join("1"), folder.join(n.to_string())).unwrap();
    }
    let stat = fs::stat(&file).unwrap();
    (stat, Identity::of(&file, &stat, fs::trust(&file).numbers))
}

/// What is to be done with one more name of a file.
fn meet(
    table: &HardLinks,
    dir: &Arc<Dir>,
    (source, identity): (Stat, Identity),
    (reach, role): (Reach, NameRole),
    name: &str,
) -> Turn {
    let (dir, entry, others) = (Arc::clone(dir), entry(name), reach.others(&source));
    let source = Seen { stat: source, settled: Settled::LONG };
    table.claim(FoundName { dir, entry, source, identity, others }, role, Place::default())
}

/// More files than are kept in memory, in two directories, and then their other names in another
/// order.
#[test]
#[cfg_attr(miri, ignore = "Miri has no openat")]
fn files_that_went_to_the_archive_come_back_for_their_other_names() {
    const FILES: usize = RECENT_MAX + 3000;
    let folder = tempfile::tempdir().unwrap();
    let (root, table) = (dir(folder.path()), HardLinks::default());
    let dirs = ["one", "two"].map(|name| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let open = || File::open(folder.path().join(name)).unwrap();
        let stat = fs::stat(open()).unwrap();
        let pair = crate::tree::ChildPair {
            source: open().into(),
            source_name: name.into(),
            followed: false,
            on_the_way: false,
            stat,
            target: Arc::new(open().into()),
            target_name: name.into(),
            target_stat: stat,
            counterpart: crate::tree::Counterpart::Made,
        };
        Arc::clone(Dir::child(&root, pair).dir())
    });
    let (source, look) = file(folder.path(), 3);
    let identity = |n: usize| look.numbered(n as u64 + 1);
    let meet = |n: usize, name: &str| {
        let role = (Reach::ByNames, NameRole::MayBeFirst);
        meet(&table, &root, (source, identity(n)), role, name)
    };
    let named = |n: usize| Original {
        dir: Arc::clone(&dirs[n % 2]),
        name: format!("first{n}").into(),
        copy: (!n.is_multiple_of(3)).then(|| identity(n + FILES)),
        size_bytes: n as u64,
        hash: (!n.is_multiple_of(5)).then_some([n as u8; 32]),
        kept: if n.is_multiple_of(7) { Kept::Part } else { Kept::All },
    };
    for n in 0..FILES {
        let Turn::Copy(_, Some(claim)) = meet(n, "first") else { panic!("{n} is new") };
        assert!(table.made(claim, &Arc::new(named(n))).is_empty());
        assert!(table.lock().files.len() <= RECENT_MAX);
    }
    assert_eq!(table.lock().archive.len(), FILES - RECENT_MAX);
    // Twice, since each has two other names. After the second nothing is left of it.
    for round in 0..2 {
        for n in (0..FILES).map(|n| n * 7919 % FILES) {
            let Turn::Link(name, to, Certainty::Shown) = meet(n, "other") else {
                panic!("{n} is known")
            };
            let Original { name: first, copy, size_bytes, hash, kept, dir } = &*to;
            let wanted = named(n);
            assert_eq!((first, copy), (&wanted.name, &wanted.copy), "{n} in round {round}");
            assert_eq!((*size_bytes, *hash, *kept), (n as u64, wanted.hash, wanted.kept));
            let id = |dir: &Arc<Dir>| FileId::of(&fs::stat(&dir.open().unwrap().target).unwrap());
            assert_eq!(id(dir), id(&wanted.dir), "{n} in round {round}");
            assert_eq!(name.identity, identity(n));
        }
    }
    assert!(table.lock().files.is_empty() && table.lock().archive.len() == 0);
    assert!(table.take_fault().is_none());
}

#[test]
fn of_the_names_that_a_full_copy_cannot_have_one_is_copied_and_the_others_linked_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file, table) = (dir(folder.path()), file(folder.path(), 9), HardLinks::default());
    let meet = |name| meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), name);
    let Turn::Copy(_, Some(claim)) = meet("1") else { panic!("the first is copied") };
    let first = original(&dir);
    assert!(table.made(claim, &first).is_empty());
    let next = ["2", "3", "4"].map(|name| match meet(name) {
        Turn::Link(name, to, Certainty::Shown) if Arc::ptr_eq(&to, &first) => *name,
        _ => panic!("they are linked to the first"),
    });
    let [two, three, four] = next;
    let Turn::Copy(_, Some(claim)) = table.full(two, &first) else { panic!("2 is copied") };
    assert!(matches!(table.full(three, &first), Turn::Wait), "3 waits for the copy of 2");
    let second = original(&dir);
    assert_eq!(table.made(claim, &second).len(), 1);
    for turn in [table.full(four, &first), meet("5")] {
        let Turn::Link(_, to, Certainty::Shown) = turn else { panic!("the others are linked") };
        assert!(Arc::ptr_eq(&to, &second));
    }
}

#[test]
fn names_wait_for_the_first_and_the_last_one_empties_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file, table) = (dir(folder.path()), file(folder.path(), 4), HardLinks::default());
    let Turn::Copy(_, Some(claim)) =
        meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), "1")
    else {
        panic!("the first is copied")
    };
    assert!(matches!(
        meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), "2"),
        Turn::Wait
    ));
    let waiting = table.made(claim, &original(&dir));
    assert_eq!(
        waiting.iter().map(|waiting| waiting.name.entry.name.to_str().unwrap()).collect::<Vec<_>>(),
        ["2"]
    );
    assert!(!dir.release(), "a name that waits holds its directory");
    for name in ["3", "4"] {
        assert!(matches!(
            meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), name),
            Turn::Link(..)
        ));
    }
    assert!(table.lock().files.is_empty());
    assert!(dir.release(), "and a name that is linked at once does not");
}

#[test]
fn the_next_name_takes_over_from_one_that_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file, table) = (dir(folder.path()), file(folder.path(), 3), HardLinks::default());
    let Turn::Copy(_, Some(claim)) =
        meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), "1")
    else {
        panic!("the first is copied")
    };
    for name in ["2", "3"] {
        assert!(matches!(
            meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), name),
            Turn::Wait
        ));
    }
    let (_, claim) = table.failed(claim).unwrap();
    let (_, claim) = table.failed(claim).unwrap();
    assert!(table.failed(claim).is_none());
    assert!(table.lock().files.is_empty());
}

#[test]
fn other_names_wait_for_the_one_that_has_to_be_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file, table) = (dir(folder.path()), file(folder.path(), 4), HardLinks::default());
    for name in ["2", "3"] {
        assert!(matches!(
            meet(&table, &dir, file, (Reach::ByNames, NameRole::Further), name),
            Turn::Wait
        ));
    }
    let Turn::Copy(first, Some(claim)) =
        meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), "1")
    else {
        panic!("the first is copied")
    };
    assert_eq!(first.name, "1");
    assert!(matches!(
        meet(&table, &dir, file, (Reach::ByNames, NameRole::Further), "4"),
        Turn::Wait
    ));
    assert!(table.unclaimed().is_empty());
    assert_eq!(table.made(claim, &original(&dir)).len(), 3);
    assert!(table.lock().files.is_empty());
}

#[test]
fn if_the_first_name_does_not_come_another_one_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file, table) = (dir(folder.path()), file(folder.path(), 3), HardLinks::default());
    for name in ["2", "3"] {
        assert!(matches!(
            meet(&table, &dir, file, (Reach::ByNames, NameRole::Further), name),
            Turn::Wait
        ));
    }
    let (next, claim) = table.unclaimed().pop().unwrap();
    assert_eq!(next.name.entry.name, "3");
    assert!(table.unclaimed().is_empty());
    let waiting = table.made(claim, &original(&dir));
    assert_eq!(
        waiting.iter().map(|waiting| waiting.name.entry.name.to_str().unwrap()).collect::<Vec<_>>(),
        ["2"]
    );
}

#[test]
fn a_file_with_one_name_needs_no_claim() {
    let folder = tempfile::tempdir().unwrap();
    let table = HardLinks::default();
    assert!(matches!(
        meet(
            &table,
            &dir(folder.path()),
            file(folder.path(), 1),
            (Reach::ByNames, NameRole::MayBeFirst),
            "1"
        ),
        Turn::Copy(_, None)
    ));
    assert!(table.lock().files.is_empty());
}

#[test]
fn names_that_links_lead_to_are_never_all_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file, table) = (dir(folder.path()), file(folder.path(), 1), HardLinks::default());
    let Turn::Copy(_, Some(claim)) =
        meet(&table, &dir, file, (Reach::ByLinks, NameRole::MayBeFirst), "1")
    else {
        panic!("the first is copied")
    };
    assert!(table.made(claim, &original(&dir)).is_empty());
    for name in ["2", "3", "4"] {
        assert!(matches!(
            meet(&table, &dir, file, (Reach::ByLinks, NameRole::MayBeFirst), name),
            Turn::Link(..)
        ));
    }
}

/// Another file with the numbers of one, as a look finds it.
fn another(folder: &std::path::Path, numbers: Numbers, contents: &str) -> (Stat, Identity) {
    std::fs::write(folder.join("other"), contents).unwrap();
    let other = File::open(folder.join("other")).unwrap();
    let (mut stat, one) = (fs::stat(&other).unwrap(), File::open(folder.join("1")).unwrap());
    let one = fs::stat(&one).unwrap();
    (stat.st_dev, stat.st_ino, stat.st_nlink) = (one.st_dev, one.st_ino, one.st_nlink);
    (stat.st_mtime, stat.st_mtime_nsec) = (one.st_mtime, one.st_mtime_nsec);
    (stat, Identity::of(&other, &stat, numbers))
}

const FIRST: (Reach, NameRole) = (Reach::ByNames, NameRole::MayBeFirst);

#[test]
fn another_file_with_the_number_of_one_is_copied_by_itself_and_has_its_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file, table) = (dir(folder.path()), file(folder.path(), 2), HardLinks::default());
    let Turn::Copy(_, Some(first)) = meet(&table, &dir, file, FIRST, "1") else {
        panic!("the first is copied")
    };
    // Of the size, and with the time: the handle tells. Of another size: that does.
    for (numbers, contents) in [(Numbers::Own, ""), (Numbers::Fleeting, "longer")] {
        let other = another(folder.path(), numbers, contents);
        let Turn::Copy(_, Some(second)) = meet(&table, &dir, other, FIRST, "other") else {
            panic!("it is no name of the first")
        };
        assert!(matches!(meet(&table, &dir, other, FIRST, "its other"), Turn::Wait));
        let waiting = table.made(second, &original(&dir));
        assert_eq!(waiting[0].certainty == Certainty::Shown, numbers == Numbers::Own);
    }
    assert!(table.made(first, &original(&dir)).is_empty());
    assert!(matches!(meet(&table, &dir, file, FIRST, "2"), Turn::Link(.., Certainty::Shown)));
    let in_doubt = table.lock().files.values().map(Vec::len).sum::<usize>();
    assert_eq!(in_doubt, 1, "one name may yet come");
}

#[test]
fn a_name_of_which_no_more_is_known_is_in_doubt_and_asks_for_the_next_place() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file, table) = (dir(folder.path()), file(folder.path(), 3), HardLinks::default());
    let file = (file.0, file.1.without_proof());
    let Turn::Copy(_, Some(first)) = meet(&table, &dir, file, FIRST, "1") else {
        panic!("the first is copied")
    };
    let (stat, identity) = another(folder.path(), Numbers::Fleeting, "");
    let other = (stat, identity.without_proof());
    assert!(matches!(meet(&table, &dir, other, FIRST, "2"), Turn::Wait));
    let [Waiting { certainty: Certainty::InDoubt(place), .. }] =
        &table.made(first, &original(&dir))[..]
    else {
        panic!("it waits in doubt")
    };
    let Turn::Link(name, _, Certainty::InDoubt(again)) = meet(&table, &dir, other, FIRST, "2")
    else {
        panic!("contents have to be looked at")
    };
    assert_eq!(again, *place);
    let Turn::Copy(_, Some(second)) = table.claim(*name, NameRole::MayBeFirst, again) else {
        panic!("it was found to be none of the first")
    };
    assert!(table.failed(second).is_none());
    // What an earlier run finished needs no contents.
    let finished = (Reach::ByNames, NameRole::Finished);
    assert!(matches!(meet(&table, &dir, other, finished, "2"), Turn::Copy(_, None)));
}

/// Two workers meet two names that an earlier run finished: none is linked once more.
#[test]
#[cfg_attr(miri, ignore = "Miri has no openat")]
fn a_finished_name_stands_before_any_other_is_met() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, table) = (dir(folder.path()), HardLinks::default());
    let (stat, identity) = file(folder.path(), 3);
    let (source, others) = (Seen { stat, settled: Settled::LONG }, 2);
    let found = |name| {
        let dir = Arc::clone(&dir);
        FoundName { dir, entry: entry(name), source, identity, others }
    };
    let further = table.claim(found("3"), NameRole::Further, Place::default());
    assert!(matches!(further, Turn::Wait), "the first is yet to be met");
    let standing = original(&dir);
    let (Turn::Copy(_, None), waiting) = table.finished(found("1"), &standing) else {
        panic!("nothing is left to be claimed")
    };
    assert_eq!(waiting.len(), 1);
    let (Turn::Link(_, linked, Certainty::Shown), waiting) =
        table.finished(found("2"), &original(&dir))
    else {
        panic!("it waits for nothing")
    };
    assert!(Arc::ptr_eq(&linked, &standing) && waiting.is_empty());
}
