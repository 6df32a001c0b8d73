#![doc = include_str!("../docs/guide.md")]

#[cfg(feature = "async")]
use crate::future;
use crate::kernel::{self, Context};
#[cfg(feature = "posix")]
use crate::posix::{self, Posix};
#[cfg(feature = "sim")]
use crate::sim;
#[cfg(feature = "threads")]
use crate::threads::Threads;
use crate::{Buffer, Done, Engine, Full, IoBuf, IoBufMut, Part, Pool, SharedBuffer, Wakeup};

pub mod libaio {
    #![doc = include_str!("../docs/libaio.md")]

    use crate::kernel::Context;
    use crate::{Done, Op, OpKind};
}

#[cfg(feature = "posix")]
pub mod posix_aio {
    #![doc = include_str!("../docs/posix_aio.md")]

    use crate::posix::{
        Cancelled, LIST_MAX, ListedRequests, Notify, Request, Suspended, cancel_all, list_and_go,
        list_and_wait, set_threads, suspend,
    };
    use crate::{Op, OpKind};
}

pub mod other_crates {
    #![doc = include_str!("../docs/other_crates.md")]
}
