//! What operators see: metrics and logs.

mod logs;
mod metrics;

pub use logs::{init as init_logs, set_level as set_log_level};
pub use metrics::{Metrics, serve as serve_metrics};
