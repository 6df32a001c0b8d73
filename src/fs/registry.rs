//! The temporary names that stand at the moment, and the directories that have more rights than
//! they are to have, for the case that the process ends at once.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::time::{Duration, Instant};

use super::identity::FileId;
use super::names::unlink_if;
use super::node::Node;
use crate::sys::memory;

/// How many threads put names down without waiting for each other.
const SHELVES: usize = 64;

/// How long the end of the process waits for a filesystem that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long it waits for threads that may be over.
const SHORT_PATIENCE: Duration = Duration::from_millis(100);

static ALL: [Mutex<Option<Shelf>>; SHELVES] = [const { Mutex::new(None) }; SHELVES];

/// The names that some of the threads made.
#[derive(Default)]
struct Shelf {
    names: HashMap<u64, Arc<Name>>,
    next: u64,
}

/// A name, and the file that it was made for.
pub(super) struct Name {
    pub dir: Arc<OwnedFd>,
    pub name: OsString,
    pub id: FileId,
}

impl Name {
    /// A name that is to be made.
    pub fn new(dir: &Arc<OwnedFd>, name: OsString) -> Arc<Self> {
        Arc::new(Self { dir: Arc::clone(dir), name, id: FileId::default() })
    }

    /// Removes the name, unless another file has it.
    pub fn unlink(&self) -> io::Result<()> {
        unlink_if(&self.dir, &self.name, self.id)
    }
}

/// A name that is registered for as long as this lives.
pub(super) struct Standing {
    name: Arc<Name>,
    place: Option<(usize, u64)>,
}

impl Standing {
    /// Registers it no longer.
    pub fn withdraw(&mut self) {
        if let Some((shelf, key)) = self.place.take()
            && let Some(shelf) = &mut *lock(shelf)
        {
            shelf.names.remove(&key);
        }
    }
}

impl Deref for Standing {
    type Target = Name;

    fn deref(&self) -> &Name {
        &self.name
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// The right to make names, until it is dropped.
pub(super) struct OpenShelf {
    place: usize,
    shelf: MutexGuard<'static, Option<Shelf>>,
}

impl OpenShelf {
    /// Makes room for one name more, so that a name that stands does not wait for memory; ENOMEM
    /// without any.
    pub fn make_room(&mut self) -> io::Result<()> {
        let names = &mut self.shelf.get_or_insert_default().names;
        let room = memory::may_fail(|| names.try_reserve(1));
        room.map_err(|_| io::Error::from_raw_os_error(libc::ENOMEM))
    }

    /// Registers a name that this file has now.
    pub fn put(&mut self, mut name: Arc<Name>, id: FileId) -> Standing {
        Arc::get_mut(&mut name).expect("no one else knows a name that is new").id = id;
        let shelf = self.shelf.get_or_insert_default();
        let key = shelf.next;
        shelf.next += 1;
        shelf.names.insert(key, Arc::clone(&name));
        Standing { name, place: Some((self.place, key)) }
    }
}

/// The calling thread's shelf.
pub(super) fn shelf() -> OpenShelf {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: Cell<usize> =
            Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % SHELVES);
    }
    let place = PLACE.get();
    OpenShelf { place, shelf: lock(place) }
}

/// How many directories are remembered at once, each of which keeps a descriptor.
const OPENED_UP_MAX: usize = 64;

/// Directories that have rights for the time of the work, with their modes before.
static ALL_OPENED_UP: Mutex<Vec<(Arc<OwnedFd>, u32)>> = Mutex::new(Vec::new());

/// A directory whose owner has all rights until its mode is set again.
pub struct OpenedUp {
    dir: Arc<OwnedFd>,
}

impl OpenedUp {
    /// Gives a directory a mode. Should the process end at once, it gets `mode_before` back.
    pub fn new(dir: &Arc<OwnedFd>, mode: u32, mode_before: u32) -> io::Result<Self> {
        let mut all = all_opened_up();
        if all.len() < OPENED_UP_MAX {
            all.push((Arc::clone(dir), mode_before));
        }
        let opened = Self { dir: Arc::clone(dir) };
        drop(all);
        Node::of(dir)?.set_mode(mode)?;
        Ok(opened)
    }
}

impl Drop for OpenedUp {
    fn drop(&mut self) {
        all_opened_up().retain(|(dir, _)| !Arc::ptr_eq(dir, &self.dir));
    }
}

fn all_opened_up() -> MutexGuard<'static, Vec<(Arc<OwnedFd>, u32)>> {
    ALL_OPENED_UP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives all of them their modes back, and keeps more from being opened up.
fn close_up() {
    let all = all_opened_up();
    for (dir, mode) in all.iter() {
        let _untold = Node::of(dir).and_then(|dir| dir.set_mode(*mode));
    }
    std::mem::forget(all);
}

fn lock(place: usize) -> MutexGuard<'static, Option<Shelf>> {
    ALL[place].lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all temporary names that stand, and makes whatever thread would make another one wait
/// for ever: to be called when the process is about to end. Where a filesystem does not answer,
/// names stay.
pub fn remove_temporaries() {
    let (done, is_done) = mpsc::channel();
    let until = Instant::now() + PATIENCE;
    let remover = std::thread::Builder::new().name("remover".to_owned()).spawn(move || {
        (0..SHELVES).for_each(|place| clear(place, until));
        // What stood in them needed the rights to go.
        close_up();
        done.send(())
    });
    if remover.is_ok() {
        // In vain or not, the process ends.
        let _ended = is_done.recv_timeout(PATIENCE);
    }
}

/// Removes all temporary names that stand, as far as that needs no memory and the threads that make
/// names go on: to be called when the process is about to end for want of memory.
pub fn remove_temporaries_at_once() {
    let until = Instant::now() + SHORT_PATIENCE;
    (0..SHELVES).for_each(|place| clear(place, until));
}

fn clear(place: usize, until: Instant) {
    let shelf = loop {
        match ALL[place].try_lock() {
            Ok(shelf) => break shelf,
            Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    for name in shelf.iter().flat_map(|shelf| shelf.names.values()) {
        // There is no one left to be told.
        let _untold = name.unlink();
    }
    std::mem::forget(shelf);
}
