//! Three lists of requests, by lio_listio: mixed and waited for, notified by a signal, and notified
//! by a thread.

use std::{error::Error, fs::File, sync::Arc, sync::mpsc};

use linux_aio::Op;
use linux_aio::posix::{ListedRequests, Notify, list_and_go, list_and_wait};
use signal_hook::{consts::SIGUSR1, iterator::Signals};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let path = std::env::args().nth(1).ok_or("usage: lio_listio FILE")?;
    let mut options = File::options();
    let file = options.read(true).write(true).create(true).truncate(true).open(path)?;
    let file = Arc::new(file);

    // LIO_WRITE, LIO_NOP, LIO_WRITE and LIO_READ, with LIO_WAIT.
    let zeros = Op::read(File::open("/dev/zero")?, vec![1; 100], 0);
    let head = Op::write(&file, b"head".to_vec(), 0);
    let body = Op::write(&file, b"and body".to_vec(), 4);
    let listed = list_and_wait(vec![Some(head), None, Some(body), Some(zeros)]);
    println!("waited for: {:?}", counts(listed)?);

    // The signal's handler has to be there first.
    let mut signals = Signals::new([SIGUSR1])?;
    let notify = Notify::Signal { number: SIGUSR1, value: 0 };
    let listed = list_and_go(reads(&file), notify);
    // Without an end of the list no signal comes.
    listed.outcome.as_ref().map_err(|error| error.to_string())?;
    let signal = signals.forever().next().ok_or("signals do not end")?;
    println!("notified by signal {signal}: {:?}", counts(listed)?);

    let (sender, receiver) = mpsc::channel();
    let call = move || sender.send("a thread").expect("it is waited for");
    let listed = list_and_go(reads(&file), Notify::Callback(Box::new(call)));
    listed.outcome.as_ref().map_err(|error| error.to_string())?;
    println!("notified by {}: {:?}", receiver.recv()?, counts(listed)?);
    Ok(())
}

fn reads(file: &Arc<File>) -> Vec<Option<Op>> {
    [0, 4, 100].map(|offset_bytes| Some(Op::read(file, vec![0; 50], offset_bytes))).into()
}

/// The count of each request, or the first error.
fn counts(listed: ListedRequests) -> Result<Vec<usize>> {
    listed.outcome?;
    let places = listed.requests.into_iter().flatten();
    places.map(|request| Ok(request?.wait().result?)).collect()
}
