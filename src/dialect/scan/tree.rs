//! What a dialect wants to know of a JSON document, as a tree of names.

/// One place in a document, and what to do with the value that stands there. What no node names is skipped.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Node<F: 'static> {
    /// Members that matter when the value is an object.
    pub members: &'static [(&'static str, Node<F>)],
    /// What each element is when the value is an array.
    pub items: Option<&'static Node<F>>,
    /// Told when an object or array opens here, and when an object closes that has members that matter.
    pub mark: Option<F>,
    /// What to do with a value that is a string, a number, a boolean or null.
    pub leaf: Leaf<F>,
}

/// What happens to a scalar.
#[derive(Clone, Copy, Debug)]
pub(in super::super) enum Leaf<F> {
    /// Nothing.
    Skip,
    /// It is handed over.
    Take(F),
    /// It is generated text: its bytes are counted. An object or array in its place is counted as it is written.
    Count,
}

/// An object of which some members matter.
pub(in super::super) const fn object<F: Copy>(members: &'static [(&'static str, Node<F>)]) -> Node<F> {
    Node { members, items: None, mark: None, leaf: Leaf::Skip }
}

/// An array whose elements matter.
pub(in super::super) const fn array<F: Copy>(items: &'static Node<F>) -> Node<F> {
    Node { members: &[], items: Some(items), mark: None, leaf: Leaf::Skip }
}

/// A scalar that is handed over.
pub(in super::super) const fn take<F: Copy>(field: F) -> Node<F> {
    Node { members: &[], items: None, mark: None, leaf: Leaf::Take(field) }
}

/// Generated text.
pub(in super::super) const fn count<F: Copy>() -> Node<F> {
    Node { members: &[], items: None, mark: None, leaf: Leaf::Count }
}

impl<F: Copy> Node<F> {
    /// Tells when an object opens and closes here.
    pub const fn marked(self, field: F) -> Self {
        Self { mark: Some(field), ..self }
    }

    /// The value may also be a scalar, which is handed over.
    pub const fn or_take(self, field: F) -> Self {
        Self { leaf: Leaf::Take(field), ..self }
    }

    /// The value may also be an array of these.
    pub const fn or_array(self, items: &'static Self) -> Self {
        Self { items: Some(items), ..self }
    }

    /// The node of a member.
    pub fn member(&self, name: &[u8]) -> Option<&'static Self> {
        self.members.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, node)| node)
    }
}
