//! What the process tells about itself: logs to stderr, metrics for Prometheus, traces by OpenTelemetry. `main` and `app`
//! start it; everything else speaks to it by the macros of `tracing` and `metrics`. It must not know the product.

mod logs;
mod metrics;
mod traces;

pub use self::logs::{LogSettings, QUIET, Telemetry, start};
pub use self::metrics::{Kind, METRICS, Metric, Metrics};
pub use self::traces::TraceSettings;
