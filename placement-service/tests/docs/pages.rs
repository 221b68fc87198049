//! Reads the Markdown pages of the repository: headings, tables, fenced blocks, text without code.

use std::path::{Path, PathBuf};

/// Folders that contain other people's pages.
const SKIPPED: [&str; 4] = ["target", ".tools", "node_modules", ".git"];

pub(crate) struct Page {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// One fenced block.
pub(crate) struct Block<'a> {
    /// What follows the fence, such as `sh not-run`.
    pub(crate) info: &'a str,
    pub(crate) text: String,
}

pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.unwrap().canonicalize().unwrap()
}

/// Every page of the repository.
pub(crate) fn all() -> Vec<Page> {
    let mut pages = Vec::new();
    files(&root(), "md", &mut |path, text| {
        pages.push(Page { path, text });
    });
    assert!(pages.len() > 20, "the pages are not found");
    pages
}

/// One page, by its path from the root.
pub(crate) fn page(path: &str) -> Page {
    let path = root().join(path);
    let text = std::fs::read_to_string(&path).unwrap();
    Page { path, text }
}

/// Calls `visit` for each file with this extension.
pub(crate) fn files(dir: &Path, extension: &str, visit: &mut dyn FnMut(PathBuf, String)) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                files(&path, extension, visit);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            let text = std::fs::read_to_string(&path).unwrap();
            visit(path, text);
        }
    }
}

impl Page {
    pub(crate) fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let mut open: Option<Block<'_>> = None;
        for line in self.text.lines() {
            match (line.strip_prefix("```"), &mut open) {
                (Some(info), None) => {
                    let text = String::new();
                    open = Some(Block { info, text });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) => block.text += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: an open block", self.path.display());
        blocks
    }

    /// The lines outside of blocks.
    pub(crate) fn prose(&self) -> Vec<&str> {
        let mut code = false;
        let mut lines = Vec::new();
        for line in self.text.lines() {
            if line.starts_with("```") {
                code = !code;
            } else if !code {
                lines.push(line);
            }
        }
        lines
    }

    /// Level and text of each heading.
    pub(crate) fn headings(&self) -> Vec<(usize, &str)> {
        let lines = self.prose().into_iter();
        lines
            .filter_map(|line| {
                let text = line.trim_start_matches('#');
                let level = line.len() - text.len();
                let text = text.strip_prefix(' ')?;
                (level > 0).then_some((level, text))
            })
            .collect()
    }

    /// What follows a heading of level 2, up to the next one.
    pub(crate) fn section(&self, heading: &str) -> &str {
        let begin = format!("\n## {heading}\n");
        let section = self.text.split(&begin).nth(1);
        let section = section.unwrap_or_else(|| panic!("no section {heading}"));
        section.split("\n## ").next().unwrap()
    }
}

/// The cells of each row, but for head and rule of each table. `\|` is part of a cell.
pub(crate) fn rows(section: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut lines = section.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(row) = line.strip_prefix("| ") else {
            continue;
        };
        let head = lines.peek().is_some_and(|next| next.starts_with("| ---"));
        if head || line.starts_with("| ---") {
            continue;
        }
        let row = row.replace("\\|", "\u{1}");
        let cells = row.trim_end_matches('|').split('|');
        rows.push(
            cells
                .map(|cell| cell.trim().replace('\u{1}', "|"))
                .collect(),
        );
    }
    rows
}

/// What stands between backticks.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
