//! Random files through random settings: the copy equals the source, and the hash equals a hash of
//! the whole.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

use aiocp::copy::{Destination, DirectMode, EngineKind, Operands, Options, Sparse, copy};
use aiocp::report::{Event, Sink, Totals};
use proptest::prelude::*;

/// Collects events.
#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Sink for Heard {
    fn event(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
    fn wants_files(&self) -> bool {
        true
    }
}

/// A file as runs of data and holes, in bytes.
fn file() -> impl Strategy<Value = Vec<(bool, usize)>> {
    let edge = prop_oneof![
        Just(0usize),
        Just(1),
        Just(4095),
        Just(4096),
        Just(65_536),
        0..300_000usize,
        0..3_000_000usize
    ];
    prop::collection::vec((any::<bool>(), edge), 1..5)
}

fn options() -> impl Strategy<Value = Options> {
    let direct = prop_oneof![Just(DirectMode::Auto), Just(DirectMode::Never)];
    let sparse = prop_oneof![Just(Sparse::Auto), Just(Sparse::Always), Just(Sparse::Never)];
    let engine = prop_oneof![
        Just(EngineKind::Auto),
        Just(EngineKind::Kernel),
        Just(EngineKind::Posix),
        Just(EngineKind::Threads)
    ];
    let sizes = (12..22u32, 1..9usize);
    (direct, sparse, engine, sizes, any::<bool>()).prop_map(
        |(direct, sparse, engine, (block, queue_depth), sync)| Options {
            direct,
            sparse,
            engine,
            hash: true,
            sync,
            queue_depth,
            block_bytes: 1 << block,
            threads: 2,
            ..Options::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_copy_equals_its_source(runs in file(), options in options(), cold in any::<bool>()) {
        let folder = common::folder();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        let file = fs::File::create(&source).unwrap();
        let mut at = 0;
        for (n, (data, len)) in runs.iter().enumerate() {
            if *data {
                file.write_all_at(&common::noise(*len, n as u64), at).unwrap();
            }
            at += *len as u64;
        }
        file.set_len(at).unwrap();
        if cold {
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
        let destination = Destination::Exact(target.clone());
        let sources = std::slice::from_ref(&source);
        let (operands, refused) = Operands::resolve(sources, &destination, &options).unwrap();
        prop_assert!(refused.is_empty());
        let (heard, totals) = (Heard::default(), Totals::default());
        copy(&operands, &options, &heard, &totals).unwrap();
        let contents = fs::read(&source).unwrap();
        prop_assert!(fs::read(&target).unwrap() == contents, "the contents differ");
        let events = heard.0.into_inner().unwrap();
        let [Event::Copied(copied)] = &events[..] else { panic!("{events:?}") };
        prop_assert_eq!(copied.hash, Some(*blake3::hash(&contents).as_bytes()));
        prop_assert_eq!(copied.size_bytes, at);
        let written = Totals::get(&totals.written_bytes);
        let holes = Totals::get(&totals.hole_bytes);
        prop_assert_eq!(written + holes, at);
    }
}
