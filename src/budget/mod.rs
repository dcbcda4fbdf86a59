//! What a request sets aside from budgets before it is sent.

pub mod estimate;
