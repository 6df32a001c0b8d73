//! Places that are used again.

/// A list whose places are used again, so that an index can be an operation's tag.
pub struct Slab<T>(Vec<Option<T>>, Vec<usize>);

impl<T> Slab<T> {
    /// Adds a value and says where.
    pub fn insert(&mut self, value: T) -> usize {
        let index = self.1.pop().unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[index] = Some(value);
        index
    }

    /// The value at an index that is in use.
    pub fn get(&mut self, index: usize) -> &mut T {
        self.0[index].as_mut().expect("the index is in use")
    }

    /// Takes the value at an index that is in use.
    pub fn remove(&mut self, index: usize) -> T {
        self.1.push(index);
        self.0[index].take().expect("the index is in use")
    }

    /// The value at an index, if it is in use.
    pub fn find(&self, index: usize) -> Option<&T> {
        self.0.get(index).and_then(Option::as_ref)
    }

    /// All values.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.0.into_iter().flatten()
    }

    /// Whether no index is in use.
    pub fn is_empty(&self) -> bool {
        self.0.len() == self.1.len()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self(Vec::new(), Vec::new())
    }
}
