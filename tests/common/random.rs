//! Property tests with a printed seed. `AIOCP_SEED=... cargo test ...` runs the same cases again;
//! `AIOCP_CASES=...` sets their number.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fmt::Debug;

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};

/// The commands under test mostly wait, so several cases run at once.
const THREADS: u32 = 8;

/// Checks a property with `cases` random cases, or AIOCP_CASES. A failing case is shrunk and shown.
pub fn property<S: Strategy>(
    cases: u32,
    strategy: impl Fn() -> S + Sync,
    check: impl Fn(S::Value) -> TestCaseResult + Sync,
) where
    S::Value: Debug,
{
    shrunk_property(cases, 500, strategy, check);
}

/// [`property`] with cases that take long, so that a failing one is shrunk in fewer steps.
pub fn shrunk_property<S: Strategy>(
    cases: u32,
    max_shrink_iters: u32,
    strategy: impl Fn() -> S + Sync,
    check: impl Fn(S::Value) -> TestCaseResult + Sync,
) where
    S::Value: Debug,
{
    let seed = std::env::var("AIOCP_SEED").unwrap_or_else(|_| {
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).unwrap();
        format!("{:016x}", u64::from_ne_bytes(bytes))
    });
    let cases = std::env::var("AIOCP_CASES").map_or(cases, |cases| cases.parse().unwrap());
    let run = &|thread: u32| {
        let rng = TestRng::from_seed(
            RngAlgorithm::ChaCha,
            blake3::hash(format!("{seed} {thread}").as_bytes()).as_bytes(),
        );
        let config = Config {
            cases: cases.div_ceil(THREADS),
            failure_persistence: None,
            max_shrink_iters,
            ..Config::default()
        };
        let failure = TestRunner::new_with_rng(config, rng).run(&strategy(), &check).err();
        failure.map(|failure| format!("AIOCP_SEED={seed}: {failure}"))
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || run(thread))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
