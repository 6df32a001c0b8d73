//! How the loop knows an operation again.

/// What an operation's tag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// It is that of a block in flight, by its index in the loop's slab.
    Flight(usize),
    /// It is one of those that were handed in together.
    Ops {
        /// Their index in the loop's slab.
        batch: usize,
        /// Its place among them.
        index: usize,
    },
}

impl Tag {
    /// As an operation carries it.
    pub fn pack(self) -> u64 {
        match self {
            Self::Flight(index) => index as u64,
            Self::Ops { batch, index } => 1 << 63 | (batch as u64) << 32 | index as u64,
        }
    }

    /// From an operation.
    pub fn unpack(tag: u64) -> Self {
        match tag >> 63 {
            0 => Self::Flight(tag as usize),
            _ => Self::Ops { batch: (tag << 1 >> 33) as usize, index: tag as u32 as usize },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_survives_its_way_through_an_engine() {
        let ops = |batch, index| Tag::Ops { batch, index };
        for tag in [Tag::Flight(0), Tag::Flight(7), ops(0, 0), ops(3, 5), ops(1 << 30, 1 << 31)] {
            assert_eq!(Tag::unpack(tag.pack()), tag);
        }
    }
}
