//! What becomes of something that stands where a copy has to go: cp(1)'s rules, in cp's order.
//! Pure: facts in, verdict out.

use crate::copy::options::{Action, Existing, OnExisting};
use crate::error::Cause;
use crate::fs::{Age, FileType, Grain};
use crate::report::Skip;
use crate::tree::EntryKind;

/// What is known of a source and of what stands at its copy's name.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub existing: &'a Existing,
    pub action: Action,
    /// The source's kind, and whether a symbolic link was followed to it.
    pub kind: EntryKind,
    pub is_followed: bool,
    /// The kind of what stands there, and how many names it has.
    pub stands: FileType,
    pub stands_names: u64,
    /// How its modification time stands to the source's.
    pub age: Age,
    pub relation: Relation,
    /// It is the copy of an earlier operand.
    pub is_made: bool,
    /// Its backup would take the name of the source.
    pub is_own_backup: bool,
    /// What was answered to the question whether it may be replaced.
    pub answer: Option<bool>,
}

/// What source and destination have to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are different files.
    Strangers,
    /// They are one file under two names.
    SameFile,
    /// They are one name of one file.
    SameName,
    /// The source is a symbolic link that leads to what stands there. Over it, the data would be
    /// lost.
    LeadsToIt,
}

/// What is to be done.
#[derive(Debug)]
pub enum Verdict {
    /// It goes in the moment in which the copy takes its name.
    Replace,
    /// It stays, which is no failure.
    Skip(Skip),
    /// The file is named as its own copy: the copy is its backup.
    BackUp,
    /// It is older unless the filesystem cuts times to this grain at least. When that is known, the
    /// facts have to be judged again.
    FindGrain(Grain),
    /// The question has to be asked, and the facts judged again with the answer.
    Ask,
    /// It stays, which is a failure.
    Refuse(Cause),
}

/// Decides.
pub fn judge(facts: &Facts<'_>) -> Verdict {
    let existing = facts.existing;
    match existing.rule {
        OnExisting::Skip => return Verdict::Skip(Skip::Exists),
        OnExisting::Refuse => return Verdict::Refuse(Cause::Exists),
        OnExisting::Replace | OnExisting::Ask => {}
    }
    if let Some(verdict) = judge_relation(facts) {
        return verdict;
    }
    match facts.age {
        Age::NotOlder if existing.only_older => return Verdict::Skip(Skip::NotOlder),
        Age::OlderUnlessCut(needed) if existing.only_older => {
            return Verdict::FindGrain(needed);
        }
        _ => {}
    }
    match (existing.rule, facts.answer) {
        (OnExisting::Ask, None) => return Verdict::Ask,
        (OnExisting::Ask, Some(false)) => return Verdict::Skip(Skip::Declined),
        _ => {}
    }
    if facts.stands == FileType::Directory {
        return Verdict::Refuse(Cause::DirectoryInTheWay);
    }
    if facts.is_made && !existing.keeps_all() {
        return Verdict::Refuse(Cause::SameName);
    }
    if let Some(cause) = refuse_without_leave(facts) {
        return Verdict::Refuse(cause);
    }
    match facts.is_own_backup {
        true => Verdict::Refuse(Cause::BackupIsSource),
        false => Verdict::Replace,
    }
}

/// What follows from source and destination being one file; nothing where one may replace the
/// other.
fn judge_relation(facts: &Facts<'_>) -> Option<Verdict> {
    let Facts { existing, relation, .. } = facts;
    let (backs_up, is_same_name) = (existing.backup.is_some(), *relation == Relation::SameName);
    let is_it = matches!(relation, Relation::SameFile | Relation::SameName);
    match () {
        () if *relation == Relation::Strangers => None,
        // Asked for twice over: the copy becomes its backup, as in cp.
        () if is_same_name && backs_up && existing.force && facts.kind == EntryKind::File => {
            Some(Verdict::BackUp)
        }
        () if facts.action == Action::HardLink => Some(Verdict::Skip(Skip::SameFile)),
        () if is_same_name => Some(Verdict::Refuse(Cause::SameFile)),
        // Moving aside what a followed link leads to would leave the link without an end.
        () if backs_up && facts.is_followed => Some(Verdict::Refuse(Cause::SameFile)),
        () if backs_up => None,
        () if is_it && facts.stands == FileType::Symlink => Some(Verdict::Skip(Skip::SameFile)),
        () if existing.remove && is_it && !facts.is_followed && facts.stands_names > 1 => None,
        () => Some(Verdict::Refuse(Cause::SameFile)),
    }
}

/// Why something stays that only `--backup` or `--remove-destination` would replace.
fn refuse_without_leave(facts: &Facts<'_>) -> Option<Cause> {
    let Facts { existing, action, kind, .. } = facts;
    if existing.backup.is_some() || existing.remove {
        return None;
    }
    let is_link = matches!(action, Action::HardLink | Action::SymbolicLink);
    let is_allowed = existing.force || existing.rule == OnExisting::Ask;
    if is_link && *kind == EntryKind::File && !is_allowed {
        return Some(Cause::LinkInstead);
    }
    match (kind, EntryKind::of_mode(facts.stands)) {
        (EntryKind::File, EntryKind::Special(special)) => Some(Cause::SpecialInTheWay(special)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::options::{Backup, BackupNames};
    use crate::error::SpecialKind;

    /// The flags of cp, as the command line hands them on.
    fn flags(flags: &str) -> (Existing, Action) {
        let mut existing = Existing::default();
        let mut action = Action::Copy;
        let backup = |names| Some(Backup { names, suffix: "~".into() });
        for flag in flags.split_whitespace() {
            match flag {
                "-n" => existing.rule = OnExisting::Skip,
                "-i" => existing.rule = OnExisting::Ask,
                "-u" => existing.only_older = true,
                "none-fail" => existing.rule = OnExisting::Refuse,
                "-f" => existing.force = true,
                "-b" => existing.backup = backup(BackupNames::Existing),
                "numbered" => existing.backup = backup(BackupNames::Numbered),
                "remove" => existing.remove = true,
                "-l" => action = Action::HardLink,
                "-s" => action = Action::SymbolicLink,
                "attributes" => action = Action::Attributes,
                other => panic!("{other}"),
            }
        }
        (existing, action)
    }

    /// A newer file where an older one stands that has nothing to do with it.
    fn facts(existing: &Existing, action: Action) -> Facts<'_> {
        Facts {
            existing,
            action,
            kind: EntryKind::File,
            is_followed: false,
            stands: FileType::RegularFile,
            stands_names: 1,
            age: Age::Older,
            relation: Relation::Strangers,
            is_made: false,
            is_own_backup: false,
            answer: None,
        }
    }

    type Case = (&'static str, fn(&mut Facts<'_>), &'static str);

    fn check(cases: &[Case]) {
        for (row, (given, change, verdict)) in cases.iter().enumerate() {
            let (existing, action) = flags(given);
            let mut facts = facts(&existing, action);
            change(&mut facts);
            assert_eq!(
                format!("{:?}", judge(&facts)),
                *verdict,
                "row {row}, cp {given}: {facts:?}"
            );
        }
    }

    const SAME: fn(&mut Facts<'_>) = |facts| facts.relation = Relation::SameFile;
    const SAME_NAME: fn(&mut Facts<'_>) = |facts| facts.relation = Relation::SameName;
    const LEADS: fn(&mut Facts<'_>) = |facts| {
        (facts.relation, facts.kind) = (Relation::LeadsToIt, EntryKind::Link);
    };
    const SAME_LINK: fn(&mut Facts<'_>) = |facts| {
        (facts.relation, facts.kind) = (Relation::SameFile, EntryKind::Link);
        facts.stands = FileType::Symlink;
    };
    const DIRECTORY: fn(&mut Facts<'_>) = |facts| facts.stands = FileType::Directory;
    const FIFO: fn(&mut Facts<'_>) = |facts| facts.stands = FileType::Fifo;
    const YES: fn(&mut Facts<'_>) = |facts| facts.answer = Some(true);

    #[test]
    fn one_file_in_place_of_another() {
        check(&[
            ("", |_| (), "Replace"),
            ("-f", |_| (), "Replace"),
            ("-b", |_| (), "Replace"),
            ("-n", |_| (), "Skip(Exists)"),
            ("none-fail", |_| (), "Refuse(Exists)"),
            ("-u", |_| (), "Replace"),
            ("-u", |facts| facts.age = Age::NotOlder, "Skip(NotOlder)"),
            ("-u", |facts| facts.age = Age::OlderUnlessCut(Grain::Second), "FindGrain(Second)"),
            ("-u -b", |facts| facts.age = Age::NotOlder, "Skip(NotOlder)"),
            ("", |facts| facts.age = Age::NotOlder, "Replace"),
            ("-b", |facts| facts.age = Age::OlderUnlessCut(Grain::Second), "Replace"),
            ("-u -n", |facts| facts.age = Age::NotOlder, "Skip(Exists)"),
            ("attributes", |_| (), "Replace"),
        ]);
    }

    #[test]
    fn the_question_comes_after_what_needs_none_and_before_the_rest() {
        check(&[
            ("-i", |_| (), "Ask"),
            ("-i", |facts| facts.answer = Some(false), "Skip(Declined)"),
            ("-i", YES, "Replace"),
            ("-i -u", |facts| facts.age = Age::NotOlder, "Skip(NotOlder)"),
            ("-i", SAME, "Refuse(SameFile)"),
            ("-i", DIRECTORY, "Ask"),
            (
                "-i",
                |facts| (facts.stands, facts.answer) = (FileType::Directory, Some(true)),
                "Refuse(DirectoryInTheWay)",
            ),
            ("-i -l", YES, "Replace"),
        ]);
    }

    #[test]
    fn a_file_and_itself() {
        check(&[
            ("", SAME, "Refuse(SameFile)"),
            ("", SAME_NAME, "Refuse(SameFile)"),
            ("-f", SAME_NAME, "Refuse(SameFile)"),
            ("-b", SAME_NAME, "Refuse(SameFile)"),
            ("-b -f", SAME_NAME, "BackUp"),
            ("-b", SAME, "Replace"),
            ("-b -f", SAME, "Replace"),
            (
                "-b",
                |facts| (facts.relation, facts.is_followed) = (Relation::SameFile, true),
                "Refuse(SameFile)",
            ),
            ("-l", SAME, "Skip(SameFile)"),
            ("-l", SAME_NAME, "Skip(SameFile)"),
            ("-s", SAME, "Refuse(SameFile)"),
            ("remove", SAME, "Refuse(SameFile)"),
            (
                "remove",
                |facts| (facts.relation, facts.stands_names) = (Relation::SameFile, 2),
                "Replace",
            ),
            (
                "remove",
                |facts| {
                    (facts.relation, facts.stands_names) = (Relation::SameFile, 2);
                    facts.is_followed = true;
                },
                "Refuse(SameFile)",
            ),
            ("-n", SAME, "Skip(Exists)"),
        ]);
    }

    #[test]
    fn a_link_and_what_it_leads_to() {
        check(&[
            ("", LEADS, "Refuse(SameFile)"),
            ("-b", LEADS, "Replace"),
            ("-l", LEADS, "Skip(SameFile)"),
            ("", SAME_LINK, "Skip(SameFile)"),
            ("-b", SAME_LINK, "Replace"),
        ]);
    }

    #[test]
    fn what_is_no_regular_file_stands_there() {
        let link_to_fifo: fn(&mut Facts<'_>) =
            |facts| (facts.stands, facts.kind) = (FileType::Fifo, EntryKind::Link);
        let fifo_to_fifo: fn(&mut Facts<'_>) = |facts| {
            let fifo = EntryKind::Special(SpecialKind::Fifo);
            (facts.stands, facts.kind) = (FileType::Fifo, fifo);
        };
        check(&[
            ("", DIRECTORY, "Refuse(DirectoryInTheWay)"),
            ("-f", DIRECTORY, "Refuse(DirectoryInTheWay)"),
            ("-b", DIRECTORY, "Refuse(DirectoryInTheWay)"),
            ("remove", DIRECTORY, "Refuse(DirectoryInTheWay)"),
            ("", FIFO, "Refuse(SpecialInTheWay(Fifo))"),
            ("-f", FIFO, "Refuse(SpecialInTheWay(Fifo))"),
            ("-b", FIFO, "Replace"),
            ("remove", FIFO, "Replace"),
            ("", link_to_fifo, "Replace"),
            ("", fifo_to_fifo, "Replace"),
            ("", |facts| facts.stands = FileType::Symlink, "Replace"),
        ]);
    }

    #[test]
    fn links_instead_of_copies_replace_when_told_to() {
        check(&[
            ("-l", |_| (), "Refuse(LinkInstead)"),
            ("-s", |_| (), "Refuse(LinkInstead)"),
            ("-l -f", |_| (), "Replace"),
            ("-s -f", |_| (), "Replace"),
            ("-l -b", |_| (), "Replace"),
            ("-l remove", |_| (), "Replace"),
            ("-l", |facts| facts.kind = EntryKind::Link, "Replace"),
            ("-l -f", FIFO, "Refuse(SpecialInTheWay(Fifo))"),
        ]);
    }

    #[test]
    fn copies_of_this_run_and_the_source_s_own_name_are_kept() {
        check(&[
            ("", |facts| facts.is_made = true, "Refuse(SameName)"),
            ("-b", |facts| facts.is_made = true, "Refuse(SameName)"),
            ("numbered", |facts| facts.is_made = true, "Replace"),
            ("-b", |facts| facts.is_own_backup = true, "Refuse(BackupIsSource)"),
        ]);
    }
}
