//! A service that runs inside the test process, and a client for it.

use berth_placement::app::Listeners;
use berth_placement::app::{self, secrets, stores};
use berth_placement::config::load;
use berth_placement::core::clock::{Clock, ManualClock, SystemClock};
use berth_placement::core::http_client;
use berth_placement::http::state::App;
use berth_placement::login::accounts::{AccountError, Accounts};
use berth_placement::login::password::Passwords;
use berth_store::StoreError;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;
use sqlx::SqlitePool;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const PASSWORD: &str = "demo-password";
/// Configuration of a service that caches sessions for longer than any test waits.
pub(crate) const LONG_CACHE: &str = "session: { cookie: { secure: false }, cache: 60s }";

/// A service on a free port, with the account `demo`.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    /// The listeners that are compatible with Mira and with the older session service, if configured.
    pub(crate) mira: Option<SocketAddr>,
    pub(crate) session_service: Option<SocketAddr>,
    pub(crate) clock: Arc<ManualClock>,
    /// The state of its routes.
    pub(crate) app: App,
    dir: Arc<TempDir>,
    client: reqwest::Client,
    stop: oneshot::Sender<()>,
    server_task: JoinHandle<()>,
}

/// A response with its complete body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The reason of a problem. Checks that the problem is complete.
    pub(crate) fn reason(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert!(!problem["title"].as_str().unwrap().is_empty());
        problem["reason"].as_str().unwrap().to_owned()
    }

    pub(crate) fn cookies(&self) -> Vec<&str> {
        let all = self.headers.get_all("set-cookie").iter();
        all.map(|v| v.to_str().unwrap()).collect()
    }
}

impl Site {
    /// Starts a service with the defaults, a cookie without `Secure`, and `more` lines of YAML.
    pub(crate) async fn start(more: &str) -> Self {
        let now_ms = SystemClock.now_ms();
        let clock = Arc::new(ManualClock::new(now_ms));
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), clock, more).await
    }

    async fn start_in(dir: Arc<TempDir>, clock: Arc<ManualClock>, more: &str) -> Self {
        // A section that `more` does not contain gets these values. The timeouts are long because a busy machine may
        // be slow, and most tests are not about timeouts.
        let sqlite = format!(
            "store: {{ kind: sqlite, path: {}, timeout: 10s }}",
            dir.path().join("berth.db").display()
        );
        let usual = [
            ("store:", sqlite.as_str()),
            ("probe:", "probe: { timeout: 10s }"),
            ("placement:", "placement: { engine_timeout: 10s }"),
            ("session:", "session: { cookie: { secure: false } }"),
            ("login:", "login: { rate: null }"),
        ];
        let usual = usual.iter().filter(|(name, _)| !more.contains(name));
        let usual: Vec<_> = usual.map(|(_, yaml)| *yaml).collect();
        let yaml = format!("{}\n{more}", usual.join("\n"));
        let config = load::from_text(&yaml).unwrap().config;
        let key = |name: &str| (name == "BERTH_TOKEN_KEY").then(|| "k".repeat(40));
        let secrets = secrets::fetch(&config, &key).unwrap();
        let of_store = secrets::fetch_store(&config.store, &key).unwrap();
        let stores = stores::open(&config, of_store).await.unwrap();
        let accounts = Accounts::new(
            stores.accounts.unwrap(),
            clock.clone(),
            Passwords::new().unwrap(),
        );
        let roles = ["user".to_owned()];
        match accounts.add("demo", &roles, PASSWORD.to_owned()).await {
            // The account exists after a restart, and a read-only store takes no accounts.
            Ok(_) | Err(AccountError::Exists(_) | AccountError::Store(StoreError::ReadOnly)) => {}
            Err(fault) => panic!("no account: {fault}"),
        }
        let mut config = config;
        config.listen = ([127, 0, 0, 1], 0).into();
        let listeners = Listeners::bind(&config).await.unwrap();
        let app = app::build(config, secrets, clock.clone()).await.unwrap();
        let at = |listener: &TcpListener| listener.local_addr().unwrap();
        let address = at(&listeners.main);
        let mira = listeners.mira.as_ref().map(at);
        let session_service = listeners.session_service.as_ref().map(at);
        let of_routes = app.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            app::run(app, listeners, stopped).await.unwrap();
        });
        Self {
            address,
            mira,
            session_service,
            clock,
            app: of_routes,
            dir,
            client: http_client::client_builder().build().unwrap(),
            stop,
            server_task: served,
        }
    }

    /// Shuts the service down gracefully.
    pub(crate) async fn shut_down(self) -> (Arc<TempDir>, Arc<ManualClock>) {
        self.stop.send(()).unwrap();
        self.server_task.await.unwrap();
        (self.dir, self.clock)
    }

    /// Shuts the service down gracefully and starts it again on the same store.
    pub(crate) async fn restart(self, more: &str) -> Self {
        let (dir, clock) = self.shut_down().await;
        Self::start_in(dir, clock, more).await
    }

    /// Starts another service on the same store and clock.
    pub(crate) async fn start_replica(&self, more: &str) -> Self {
        Self::start_in(self.dir.clone(), self.clock.clone(), more).await
    }

    pub(crate) fn directory(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_at(self.address, method, path)
    }

    /// A request to one of the service's listeners.
    pub(crate) fn request_at(&self, at: SocketAddr, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{at}{path}"))
    }

    pub(crate) async fn get(&self, path: &str, cookie: &str) -> Answer {
        let request = self.request(Method::GET, path);
        send_request(request.header("cookie", cookie)).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: impl ToString) -> Answer {
        let request = self.request(Method::POST, path).body(body.to_string());
        send_request(request.header("content-type", "application/json")).await
    }

    pub(crate) fn post_form(&self, path: &str, body: &str) -> RequestBuilder {
        let content_type = "application/x-www-form-urlencoded";
        let request = self.request(Method::POST, path).body(body.to_owned());
        request.header("content-type", content_type)
    }

    /// Logs in as `demo`. Returns the session id.
    pub(crate) async fn login(&self) -> String {
        let body = format!("username=demo&password={PASSWORD}");
        let answer = send_request(self.post_form("/login", &body)).await;
        assert_eq!(answer.status, 303, "{answer:?}");
        session_id(&answer)
    }

    /// `POST /v1/tokens`.
    pub(crate) async fn token(&self, session: &str) -> Answer {
        let body = serde_json::json!({ "session": session });
        self.post_json("/v1/tokens", body).await
    }

    /// The `session_ref` of a session.
    pub(crate) async fn session_ref(&self, session: &str) -> String {
        let token = self.token(session).await.json();
        token["session_ref"].as_str().unwrap().to_owned()
    }

    /// Direct access to the database of the store.
    pub(crate) async fn database(&self) -> SqlitePool {
        let path = self.dir.path().join("berth.db");
        let url = format!("sqlite://{}", path.display());
        SqlitePool::connect(&url).await.unwrap()
    }

    /// The store fails until the table has its old name again.
    pub(crate) async fn rename_table(&self, from: &str, to: &str) {
        let statement = format!("ALTER TABLE {from} RENAME TO {to}");
        let statement = sqlx::query(sqlx::AssertSqlSafe(statement));
        // Existing connections may know the tables by their old names, so this opens a new one.
        statement.execute(&self.database().await).await.unwrap();
    }

    pub(crate) async fn session_rows(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM sessions");
        count.fetch_one(&self.database().await).await.unwrap()
    }

    /// The value of a metric; 0 when it is absent.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics", "").await.text;
        let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(name));
        lines
            .next()
            .map_or(0, |value| value.trim().parse().unwrap())
    }

    /// From now on the store fails for every request about sessions.
    pub(crate) async fn break_store(&self) {
        let database = self.database().await;
        sqlx::query("DROP TABLE sessions")
            .execute(&database)
            .await
            .unwrap();
    }
}

/// Repeats the check until it succeeds, for at most 30 seconds.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The session id in the login cookie that the answer sets. A device cookie may come with it.
pub(crate) fn session_id(answer: &Answer) -> String {
    let cookies = answer.cookies().into_iter();
    let logins: Vec<_> = cookies.filter(|set| !set.contains("-device=")).collect();
    let [cookie] = logins[..] else {
        panic!("not one cookie: {answer:?}");
    };
    let value = cookie.split(['=', ';']).nth(1).unwrap();
    value.to_owned()
}

pub(crate) async fn send_request(request: RequestBuilder) -> Answer {
    let response: Response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}
