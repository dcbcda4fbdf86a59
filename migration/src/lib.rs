//! The schema of Tollgate's database, step by step.
