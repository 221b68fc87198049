//! Real engines with their real clients: Jupyter, Hocuspocus, Streamlit. Each test starts a stack with the configuration of
//! an example page in `placement-service/docs/engines`, and runs the Node tests in `tests/engines`, which start the
//! engines. `make engines` runs the ignored ones, too.

use crate::node;
use berth_harness::control::Control;
use berth_harness::{Result, Stack, paths, render};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const OPERATOR_SECRET: &str = "secret-of-an-operator";
/// The accounts of the Node tests. The password of each is `NAME-password`.
const ACCOUNTS: [&str; 2] = ["ada", "ben"];

/// `berth.yaml` of an example page. A copy is written into `dir`.
fn example_config(page: &str, dir: &Path) -> Result<Value> {
    let file = format!("placement-service/docs/engines/{page}.md");
    let text = fs::read_to_string(paths::repository_root().join(&file))?;
    let block = text.split("`berth.yaml`:\n\n```yaml\n").nth(1);
    let block = block.and_then(|rest| rest.split("```").next());
    let block = block.ok_or_else(|| format!("{file} has no berth.yaml"))?;
    let copy = dir.join("example.yaml");
    fs::write(&copy, block)?;
    render::read_yaml(&copy)
}

/// What a test changes in the example.
#[derive(Default)]
struct Changes {
    /// A patch of the first route.
    route: Value,
    /// A patch of the first pool.
    pool: Value,
    /// A patch of the service's configuration.
    service: Value,
}

/// Runs a file of Node tests with the configuration of a page, two gateways, and these changes.
async fn run(page: &str, file: &str, tests: usize, changes: Changes) -> Result<()> {
    let packages = paths::repository_root().join("tests/engines/node_modules");
    node::require(&packages, "npm ci --prefix tests/engines")?;
    let dir = tempfile::tempdir()?;
    let list = dir.path().join("engines.yaml");
    fs::write(&list, json!({"engines": []}).to_string())?;

    let mut config = example_config(page, dir.path())?;
    let path = config.pointer_mut("/pools/0/discovery/file/path");
    *path.ok_or("the example has no list of engines")? = json!(list);
    render::merge(
        &mut config,
        &json!({"api": {"clients": [{"name": "ops", "role": "operator", "secret": {"inline": OPERATOR_SECRET}}]}}),
    );
    for (part, patch) in [
        ("/routes/0", changes.route),
        ("/pools/0", changes.pool),
        ("", changes.service),
    ] {
        if let (Some(part), Value::Object(_)) = (config.pointer_mut(part), &patch) {
            render::merge(part, &patch);
        }
    }
    let mut stack = Stack::builder()
        .engines(0)
        .envoys(2)
        .service_config(&config)
        .start()
        .await?;
    let service = stack.service.take().ok_or("no service")?;
    for name in ACCOUNTS {
        service.add_account(name, &format!("{name}-password"), &["user"])?;
    }
    let service_url = format!("http://{}", service.addr);
    let control = Control::start(service).await?;
    let gateways = std::iter::once(&stack.envoy).chain(&stack.further_envoys);
    let urls: Vec<String> = gateways
        .map(|envoy| format!("http://{}", envoy.http))
        .collect();
    let env = [
        ("BERTH_URLS", json!(urls).to_string()),
        ("BERTH_SERVICE", service_url),
        ("BERTH_CONTROL", format!("http://{}", control.addr)),
        ("BERTH_OPERATOR_SECRET", OPERATOR_SECRET.to_owned()),
        ("BERTH_ENGINES_FILE", list.display().to_string()),
        // For the parts of the browser tests.
        ("BERTH_URL", format!("http://{}", stack.address())),
        ("BERTH_APP", format!("http://{}", stack.app.addr)),
        ("BERTH_ENGINES", "[]".to_owned()),
    ];
    node::run("engines", &[file], tests, 240, &env).await
}

#[tokio::test]
async fn jupyter_servers_keep_kernels_contents_and_terminals_of_an_account() -> Result<()> {
    run("jupyter", "jupyter.test.mjs", 3, Changes::default()).await
}

#[tokio::test]
#[ignore = "make engines"]
async fn jupyter_pages_outlive_faults_and_logouts() -> Result<()> {
    let changes = Changes {
        route: json!({"affinity": {"replace_after": "3s"}}),
        service: json!({"probe": {"interval": "1s"}}),
        ..Changes::default()
    };
    run("jupyter", "jupyter-faults.test.mjs", 3, changes).await
}

#[tokio::test]
#[ignore = "make engines"]
async fn sessions_of_idle_jupyter_pages_end() -> Result<()> {
    let changes = Changes {
        service: json!({"session": {"idle_timeout": "8s"}}),
        ..Changes::default()
    };
    run("jupyter", "jupyter-idle.test.mjs", 1, changes).await
}

#[tokio::test]
async fn editors_of_a_document_meet_on_one_server_while_servers_are_replaced() -> Result<()> {
    let changes = Changes {
        pool: json!({"drain_duration": "1s"}),
        ..Changes::default()
    };
    run("hocuspocus", "hocuspocus.test.mjs", 3, changes).await
}

#[tokio::test]
async fn a_streamlit_page_its_widgets_and_uploads_reach_one_server() -> Result<()> {
    run("streamlit", "streamlit.test.mjs", 2, Changes::default()).await
}
