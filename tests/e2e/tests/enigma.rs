//! enigma.js, the client library that applications use, through Envoy with a login cookie alone.

use berth_harness::{Result, Stack};

const PATHS: [&str; 3] = [
    "/app/sales.qvf",
    "/doc/doc/drugcases.qvf",
    "/doc/session-doc",
];

#[tokio::test]
async fn enigma_js_works_on_all_three_routes() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    let answers = stack.open_with_enigma(&cookie, &PATHS).await?;
    let paths: Vec<&str> = answers.iter().filter_map(|a| a["path"].as_str()).collect();
    assert_eq!(paths, PATHS);
    for answer in &answers {
        assert_eq!(answer["qSessionState"], "SESSION_ATTACHED", "{answer}");
        assert!(answer["qComponentVersion"].is_string(), "{answer}");
        assert!(answer["title"].is_string(), "{answer}");
    }
    Ok(())
}
