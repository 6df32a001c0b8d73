//! Places that are used again.

/// A list whose places are used again, so that an index can be an operation's tag.
pub struct Slab<T> {
    values: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slab<T> {
    /// Adds a value and says where.
    pub fn insert(&mut self, value: T) -> usize {
        let index = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            self.values.len() - 1
        });
        self.values[index] = Some(value);
        index
    }

    /// The value at an index that is in use.
    pub fn get(&mut self, index: usize) -> &mut T {
        self.values[index].as_mut().expect("the index is in use")
    }

    /// Takes the value at an index that is in use.
    pub fn remove(&mut self, index: usize) -> T {
        self.free.push(index);
        self.values[index].take().expect("the index is in use")
    }

    /// The value at an index, if it is in use.
    pub fn find(&self, index: usize) -> Option<&T> {
        self.values.get(index).and_then(Option::as_ref)
    }

    /// All values.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.values.into_iter().flatten()
    }

    /// Whether no index is in use.
    pub fn is_empty(&self) -> bool {
        self.values.len() == self.free.len()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}
