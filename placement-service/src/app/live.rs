//! The state with which requests are served now. A reload replaces it: requests in flight keep the state that they began
//! with, the next ones get the new one, and no connection is closed.

use crate::http;
use crate::http::state::App;
use axum::Router;
use axum::extract::Request;
use parking_lot::RwLock;
use std::sync::Arc;
use tower::ServiceExt;

/// The current state and its routes.
#[derive(Clone)]
pub struct LiveApp(Arc<RwLock<Current>>);

struct Current {
    app: App,
    main: Router,
    mira: Router,
    session_service: Router,
}

/// One of the listeners.
#[derive(Clone, Copy)]
pub(super) enum Listener {
    Main,
    Mira,
    SessionService,
}

impl From<App> for LiveApp {
    fn from(app: App) -> Self {
        Self(Arc::new(RwLock::new(Current::new(app))))
    }
}

impl LiveApp {
    /// The current state.
    #[must_use]
    pub fn app(&self) -> App {
        self.0.read().app.clone()
    }

    /// Serves the next requests with another state.
    pub(super) fn replace(&self, app: App) {
        let current = Current::new(app);
        *self.0.write() = current;
    }

    /// Routes each request by the state at its begin.
    pub(super) fn router(&self, listener: Listener) -> Router {
        let live = self.clone();
        Router::new().fallback(move |request: Request| {
            let router = live.0.read().router(listener).clone();
            router.oneshot(request)
        })
    }
}

impl Current {
    fn new(app: App) -> Self {
        Self {
            main: http::router(app.clone()),
            mira: http::mira_router(app.clone()),
            session_service: http::session_service_router(app.clone()),
            app,
        }
    }

    const fn router(&self, listener: Listener) -> &Router {
        match listener {
            Listener::Main => &self.main,
            Listener::Mira => &self.mira,
            Listener::SessionService => &self.session_service,
        }
    }
}
