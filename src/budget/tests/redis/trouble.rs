//! A Redis that is away, late, flushed, or not fit for use.
