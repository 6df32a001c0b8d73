//! Measures direct reads of one file by each engine against `fio --ioengine=libaio`, alternating.
//!
//! ```sh
//! cargo bench --bench fio -- [--rounds N] [--dir DIR]
//! ```
//!
//! DIR has to be on the device under test; the default is the build's folder. It needs fio. Each
//! line shows the median of the rounds' rates, and the median of the rounds' ratios to fio, so that
//! a slow spell of the machine burdens both sides.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linux_aio::{Context, Engine, Op, OpKind, Pool, Posix, Threads};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// How to read, and how much.
struct Setting {
    name: &'static str,
    block_bytes: usize,
    depth: usize,
    random: bool,
    /// The part of the file that one run reads.
    total_bytes: u64,
}

const GIB: u64 = 1 << 30;

/// 4 KiB x 128 is bound by the cost of an operation; 1 MiB x 16 is bound by the device.
const SETTINGS: [Setting; 3] = [
    Setting {
        name: "4 KiB x 128",
        block_bytes: 4096,
        depth: 128,
        random: false,
        total_bytes: GIB / 2,
    },
    Setting {
        name: "4 KiB x 128, random",
        block_bytes: 4096,
        depth: 128,
        random: true,
        total_bytes: GIB / 8,
    },
    Setting {
        name: "1 MiB x 16",
        block_bytes: 1 << 20,
        depth: 16,
        random: false,
        total_bytes: 2 * GIB,
    },
];

/// A rate in bytes a second, and the processor time per second.
#[derive(Clone, Copy)]
struct Rate {
    bytes_per_s: f64,
    cpu_s_per_s: f64,
}

fn cpu_time() -> Duration {
    let tick =
        |time: rustix::time::Timespec| Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    tick(rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime))
}

/// Reads through an engine. Every buffer that comes back goes out again at once.
fn read_through(engine: &mut dyn Engine, setting: &Setting, path: &Path) -> Fallible<Rate> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?;
    let file = Arc::new(OwnedFd::from(file));
    let pool = Pool::new(setting.depth, setting.block_bytes)?;
    let blocks = setting.total_bytes / setting.block_bytes as u64;
    let mut order: Vec<u64> = (0..blocks).collect();
    if setting.random {
        fastrand::Rng::with_seed(1).shuffle(&mut order);
    }
    let mut offsets = order.into_iter().map(|block| block * setting.block_bytes as u64);
    let (begun, cpu_begun) = (Instant::now(), cpu_time());
    let mut done = Vec::new();
    while let Some(buffer) = pool.get() {
        let Some(offset) = offsets.next() else { break };
        engine.queue(Op::read(Arc::clone(&file), buffer, offset))?;
    }
    while engine.in_flight() > 0 {
        engine.submit();
        engine.reap(1, None, &mut done)?;
        for done in done.drain(..) {
            if done.result? != setting.block_bytes {
                return Err("a short read".into());
            }
            if let (OpKind::Read(part), Some(offset)) = (done.op.kind, offsets.next()) {
                let again = Op::new(done.op.file, OpKind::Read(part)).at(offset);
                engine.queue(again)?;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Rate {
        bytes_per_s: setting.total_bytes as f64 / seconds,
        cpu_s_per_s: (cpu_time() - cpu_begun).as_secs_f64() / seconds,
    })
}

fn fio(setting: &Setting, path: &Path) -> Fallible<Rate> {
    let output = Command::new("fio")
        .args([
            "--name=read",
            "--ioengine=libaio",
            "--direct=1",
            "--readonly",
            "--output-format=terse",
        ])
        .arg(format!("--rw={}", if setting.random { "randread" } else { "read" }))
        .arg(format!("--bs={}", setting.block_bytes))
        .arg(format!("--iodepth={}", setting.depth))
        .arg(format!("--size={}", setting.total_bytes))
        .arg(format!("--filename={}", path.display()))
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    // fio(1), terse version 3: field 6 is KiB read, 9 the milliseconds, 88 and 89 user and system
    // CPU in per cent.
    let field = |n: usize| {
        text.trim().split(';').nth(n - 1).map(|f| f.trim_end_matches('%')).unwrap_or_default()
    };
    let number = |n: usize| field(n).parse::<f64>().map_err(|_| format!("fio said: {text}"));
    Ok(Rate {
        bytes_per_s: number(6)? * 1024.0 / (number(9)? / 1000.0),
        cpu_s_per_s: (number(88)? + number(89)?) / 100.0,
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn measure(setting: &Setting, path: &Path, rounds: usize) -> Fallible<()> {
    const NAMES: [&str; 5] =
        ["fio libaio", "kernel", "kernel, system calls only", "posix", "threads"];
    let mut rates: [Vec<Rate>; 5] = Default::default();
    for round in 0..rounds {
        for n in 0..NAMES.len() {
            let side = (n + round) % NAMES.len();
            let depth = setting.depth;
            let rate = match side {
                0 => fio(setting, path)?,
                1 => read_through(&mut Context::new(depth as u32)?, setting, path)?,
                2 => {
                    let mut context = Context::new(depth as u32)?;
                    context.set_system_calls_only(true);
                    read_through(&mut context, setting, path)?
                }
                3 => read_through(&mut Posix::new(depth, None), setting, path)?,
                _ => read_through(&mut Threads::new(depth.min(32), depth, None)?, setting, path)?,
            };
            rates[side].push(rate);
        }
    }
    println!(
        "\n{}, medians of {rounds}\n| engine | MB/s | operations/s | CPU s/s | of fio |",
        setting.name
    );
    println!("| --- | --- | --- | --- | --- |");
    for (name, side) in NAMES.iter().zip(&rates) {
        let rate = median(side.iter().map(|rate| rate.bytes_per_s).collect());
        let cpu = median(side.iter().map(|rate| rate.cpu_s_per_s).collect());
        let ratio = median(
            side.iter()
                .zip(&rates[0])
                .map(|(rate, fio)| rate.bytes_per_s / fio.bytes_per_s)
                .collect(),
        );
        let operations = rate / setting.block_bytes as f64;
        println!("| {name} | {:.0} | {operations:.0} | {cpu:.2} | {ratio:.2} |", rate / 1e6);
    }
    Ok(())
}

fn make_file(path: &Path, size_bytes: u64) -> Fallible<()> {
    if std::fs::metadata(path).is_ok_and(|stat| stat.len() == size_bytes) {
        return Ok(());
    }
    let mut file = File::create(path)?;
    let mut random = fastrand::Rng::with_seed(2);
    let mut bytes = vec![0; 1 << 20];
    for _ in 0..size_bytes / bytes.len() as u64 {
        random.fill(&mut bytes);
        file.write_all(&bytes)?;
    }
    Ok(file.sync_all()?)
}

fn main() -> Fallible<()> {
    let (mut rounds, mut dir, mut arguments) =
        (7, PathBuf::from(env!("CARGO_TARGET_TMPDIR")), std::env::args().skip(1));
    while let Some(flag) = arguments.next() {
        match (&*flag, arguments.next()) {
            ("--rounds", Some(value)) => rounds = value.parse()?,
            ("--dir", Some(value)) => dir = value.into(),
            // cargo bench adds this one.
            ("--bench", _) => {}
            _ => return Err(format!("unknown argument {flag}").into()),
        }
    }
    let path = dir.join("fio-bench-file");
    make_file(&path, 2 * GIB)?;
    for setting in &SETTINGS {
        measure(setting, &path, rounds)?;
    }
    Ok(std::fs::remove_file(path)?)
}
