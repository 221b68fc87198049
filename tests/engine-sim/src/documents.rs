//! The engine's documents: which exist and which are in memory. A document is loaded once, at its first open, and
//! stays in memory.

use crate::options::Document;
use std::{collections::BTreeMap, time::Duration};
use tokio::{sync::OnceCell, time::sleep};

/// The folder prefix that clients may send with the name of a document.
const FOLDER: &str = "/doc/";

struct DocumentEntry {
    mb: u32,
    loaded: OnceCell<()>,
}

/// Every document of one engine.
pub(crate) struct Documents {
    all: BTreeMap<String, DocumentEntry>,
    load_time: Duration,
}

impl Documents {
    /// `load`: how long the first open of each document takes.
    pub(crate) fn new(documents: &[Document], load: Duration) -> Self {
        let entry = |document: &Document| {
            let (mb, loaded) = (document.mb, OnceCell::new());
            (document.name.clone(), DocumentEntry { mb, loaded })
        };
        let all = documents.iter().map(entry).collect();
        Self {
            all,
            load_time: load,
        }
    }

    /// Loads the document if necessary. Returns its name without the folder; `None`: there is no such document.
    pub(crate) async fn open(&self, name: &str) -> Option<String> {
        let name = name.strip_prefix(FOLDER).unwrap_or(name);
        let entry = self.all.get(name)?;
        entry.loaded.get_or_init(|| sleep(self.load_time)).await;
        Some(name.to_owned())
    }

    /// Every document's name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.all.keys().map(String::as_str)
    }

    /// The names of the documents in memory.
    pub(crate) fn loaded_names(&self) -> Vec<String> {
        self.loaded_documents()
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The memory of all loaded documents, in MB.
    pub(crate) fn loaded_mb(&self) -> f64 {
        self.loaded_documents()
            .map(|(_, entry)| f64::from(entry.mb))
            .sum()
    }

    fn loaded_documents(&self) -> impl Iterator<Item = (&String, &DocumentEntry)> {
        self.all
            .iter()
            .filter(|(_, entry)| entry.loaded.initialized())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_document_is_loaded_once_for_all() {
        let all = [Document::new("a.qvf", 70), Document::new("b.qvf", 5)];
        let documents = Documents::new(&all, Duration::from_secs(2));
        let started_at = Instant::now();
        let results = tokio::join!(documents.open("a.qvf"), documents.open("/doc/a.qvf"));
        assert_eq!(results.0, results.1);
        assert_eq!(started_at.elapsed(), Duration::from_secs(2));
        documents.open("a.qvf").await.unwrap();
        assert_eq!(started_at.elapsed(), Duration::from_secs(2));
        assert_eq!(documents.loaded_names(), ["a.qvf"]);
        assert!((documents.loaded_mb() - 70.0).abs() < 0.001);
    }

    #[tokio::test]
    async fn only_known_documents_open() {
        let documents = Documents::new(&[Document::new("a.qvf", 1)], Duration::ZERO);
        for name in [
            "b.qvf",
            "/doc/b.qvf",
            "",
            "/doc/",
            "/docs/a.qvf",
            "doc/a.qvf",
        ] {
            assert_eq!(documents.open(name).await, None, "{name}");
        }
        assert!(documents.loaded_names().is_empty());
    }
}
