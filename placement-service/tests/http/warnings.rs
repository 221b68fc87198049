//! The warnings of the services under test.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use tracing::Level;

/// The warnings of all services of this program, which run on threads of their own.
static WARNINGS: LazyLock<SharedLog> = LazyLock::new(|| {
    let log = SharedLog::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    let subscriber = subscriber.with_max_level(Level::WARN).with_ansi(false);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    log
});

#[derive(Clone, Default)]
struct SharedLog(Arc<Mutex<Vec<u8>>>);

impl Write for SharedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A position in the log.
pub(crate) struct Warnings(usize);

impl Warnings {
    pub(crate) fn start() -> Self {
        Self(WARNINGS.0.lock().unwrap().len())
    }

    /// The lines since the last call.
    pub(crate) fn take(&mut self) -> String {
        let log = WARNINGS.0.lock().unwrap();
        let lines = String::from_utf8(log[self.0..].to_vec()).unwrap();
        self.0 = log.len();
        lines
    }
}
