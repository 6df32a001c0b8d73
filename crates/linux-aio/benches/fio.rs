//! Measures direct reads of one file by each engine against `fio --ioengine=libaio`, alternating.
//!
//! ```sh
//! cargo bench --bench fio -- [--rounds N] [--dir DIR]
//! ```
//!
//! DIR has to be on the device under test; the default is the build's folder. It needs fio. Each
//! line shows the median of the rounds' rates, and the medians of the rounds' ratios to fio and to
//! the kernel's engine, so that a slow spell of the machine burdens both sides.

use std::cell::RefCell;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use async_executor::LocalExecutor;
use linux_aio::future::{AsyncHandle, Driver, Order};
use linux_aio::{Context, Done, Engine, Op, OpKind, Pool, Posix, SharedFd, Threads};

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

/// What one run reads, and where it is in it.
struct Job {
    file: SharedFd,
    pool: Pool,
    offsets: Box<dyn Iterator<Item = u64>>,
    block_bytes: usize,
}

impl Job {
    fn new(setting: &Setting, path: &Path) -> Fallible<Self> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?;
        let block_bytes = setting.block_bytes;
        let mut order: Vec<u64> = (0..setting.total_bytes / block_bytes as u64).collect();
        if setting.random {
            fastrand::Rng::with_seed(1).shuffle(&mut order);
        }
        Ok(Self {
            file: file.into(),
            pool: Pool::new(setting.depth, block_bytes)?,
            offsets: Box::new(order.into_iter().map(move |block| block * block_bytes as u64)),
            block_bytes,
        })
    }

    /// The reads that it begins with: one for each buffer.
    fn first(&mut self) -> Vec<Op> {
        let op = |buffer| Some(Op::read(self.file.clone(), buffer, self.offsets.next()?));
        std::iter::from_fn(|| self.pool.get()).map_while(op).collect()
    }

    /// The read that follows one that is over, into its buffer.
    fn next(&mut self, done: Done) -> Fallible<Option<Op>> {
        if done.result? != self.block_bytes {
            return Err("a short read".into());
        }
        Ok(match (done.op.kind, self.offsets.next()) {
            (OpKind::Read(part), Some(offset)) => {
                Some(Op::new(done.op.file, OpKind::Read(part)).at(offset))
            }
            _ => None,
        })
    }
}

/// The rate of what reads a job's file.
fn measured(
    setting: &Setting,
    path: &Path,
    read: impl FnOnce(&mut Job) -> Fallible<()>,
) -> Fallible<Rate> {
    let mut job = Job::new(setting, path)?;
    let (begun, cpu_begun) = (Instant::now(), cpu_time());
    read(&mut job)?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Rate {
        bytes_per_s: setting.total_bytes as f64 / seconds,
        cpu_s_per_s: (cpu_time() - cpu_begun).as_secs_f64() / seconds,
    })
}

/// Reads through an engine. Every buffer that comes back goes out again at once.
fn read_through(engine: &mut dyn Engine, job: &mut Job) -> Fallible<()> {
    for op in job.first() {
        engine.queue(op)?;
    }
    let mut done = Vec::new();
    while engine.in_flight() > 0 {
        engine.submit();
        engine.reap(1, None, &mut done)?;
        for done in done.drain(..) {
            if let Some(op) = job.next(done)? {
                engine.queue(op)?;
            }
        }
    }
    Ok(())
}

/// Reads by a stream of operations, on one thread.
fn read_by_stream(driver: &mut Driver, job: &mut Job) -> Fallible<()> {
    let mut reads = driver.handle().completions(Order::Completed);
    job.first().into_iter().for_each(|op| reads.push(op));
    driver.block_on(async {
        while let Some(done) = reads.next().await {
            if let Some(op) = job.next(done)? {
                reads.push(op);
            }
        }
        Ok(())
    })?
}

/// Reads by as many tasks as buffers, each of which awaits one read after the other, on one thread.
fn read_by_tasks(driver: &mut Driver, job: &mut Job) -> Fallible<()> {
    let (first, job) = (job.first(), RefCell::new(job));
    let (job, handle, executor) = (&job, driver.handle(), LocalExecutor::new());
    let read_on = |mut op: Op, handle: AsyncHandle| async move {
        loop {
            let done = handle.op(op).await;
            match job.borrow_mut().next(done)? {
                Some(next) => op = next,
                None => return Fallible::Ok(()),
            }
        }
    };
    let tasks: Vec<_> =
        first.into_iter().map(|op| executor.spawn(read_on(op, handle.clone()))).collect();
    driver.block_on(executor.run(async {
        for task in tasks {
            task.await?;
        }
        Ok(())
    }))?
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

const NAMES: [&str; 7] = [
    "fio libaio",
    "kernel",
    "kernel, system calls only",
    "kernel, async stream",
    "kernel, async tasks",
    "posix",
    "threads",
];

/// The rate of one of [`NAMES`].
fn rate(side: usize, setting: &Setting, path: &Path) -> Fallible<Rate> {
    let depth = setting.depth;
    let engine: Box<dyn Engine> = match side {
        0 => return fio(setting, path),
        1 => Box::new(Context::new(depth as u32)?),
        2 => {
            let mut context = Context::new(depth as u32)?;
            context.set_system_calls_only(true);
            Box::new(context)
        }
        3 | 4 => {
            let read = if side == 3 { read_by_stream } else { read_by_tasks };
            let mut driver = Driver::new(depth as u32)?;
            return measured(setting, path, |job| read(&mut driver, job));
        }
        5 => Box::new(Posix::new(depth, None)),
        _ => Box::new(Threads::new(depth.min(32), depth, None)?),
    };
    let mut engine = engine;
    measured(setting, path, |job| read_through(&mut *engine, job))
}

fn measure(setting: &Setting, path: &Path, rounds: usize) -> Fallible<()> {
    let mut rates: [Vec<Rate>; NAMES.len()] = Default::default();
    for round in 0..rounds {
        for n in 0..NAMES.len() {
            let side = (n + round) % NAMES.len();
            let rate = rate(side, setting, path)?;
            rates[side].push(rate);
        }
    }
    println!("\n{}, medians of {rounds}", setting.name);
    println!("| engine | MB/s | operations/s | CPU s/s | of fio | of kernel |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, side) in NAMES.iter().zip(&rates) {
        let rate = median(side.iter().map(|rate| rate.bytes_per_s).collect());
        let cpu = median(side.iter().map(|rate| rate.cpu_s_per_s).collect());
        let ratio_to = |other: &[Rate]| {
            let pairs = side.iter().zip(other);
            median(pairs.map(|(rate, other)| rate.bytes_per_s / other.bytes_per_s).collect())
        };
        let (of_fio, of_kernel) = (ratio_to(&rates[0]), ratio_to(&rates[1]));
        let operations = rate / setting.block_bytes as f64;
        println!(
            "| {name} | {:.0} | {operations:.0} | {cpu:.2} | {of_fio:.2} | {of_kernel:.2} |",
            rate / 1e6
        );
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
