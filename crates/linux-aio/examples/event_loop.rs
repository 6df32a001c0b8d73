//! Kernel AIO in an epoll(7) loop: the context's eventfd says when callbacks are due. A read fills
//! two buffers, and its callback cancels a poll that would never end.

use std::os::fd::OwnedFd;
use std::{error::Error, fs::File};

use linux_aio::{Buffer, Context, Op, OpKind, Part, PollFlags};
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: event_loop FILE")?;
    let mut context = Context::with_eventfd(2)?;
    let eventfd = context.eventfd().ok_or("it was made with one")?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, eventfd, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;

    let (silent, _writer) = std::io::pipe()?;
    let poll = Op::new(OwnedFd::from(silent), OpKind::Poll(PollFlags::IN));
    let ticket = context.queue_with(
        poll,
        Box::new(|_, done| {
            let is_silent = done.ready().is_some_and(|events| events.is_empty());
            println!("the poll found nothing: {is_silent}");
        }),
    )?;
    let parts = [16, 4080].map(|len_bytes| Part::whole(Buffer::new(vec![0; len_bytes])));
    let read = Op::new(File::open(path)?, OpKind::ReadVectored(parts.into()));
    context.queue_with(
        read,
        Box::new(move |context, done| {
            if let (OpKind::ReadVectored(parts), Ok(count)) = (done.op.kind, done.result) {
                let first = String::from_utf8_lossy(&parts[0].buffer);
                println!("read {count} bytes: {first:?}, and {} more", count.saturating_sub(16));
            }
            match context.cancel(ticket) {
                Ok(cancel) => println!("the cancel: {cancel:?}"),
                Err(error) => println!("the cancel: {error}"),
            }
        }),
    )?;
    context.submit();

    while context.in_flight() > 0 {
        let mut events = Vec::with_capacity(8);
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        // Each is the context's. A wait of 0 calls the callbacks that are due.
        for _event in events {
            context.run(0, None)?;
        }
    }
    Ok(())
}
