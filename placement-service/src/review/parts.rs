//! The parts of the files that rules look at, wherever they are: in Envoy's bootstrap, in a file of discovery, in a
//! patch of Istio. Names of fields may be in snake case or in camel case, as Envoy accepts both.

use super::{EdgeFile, Finding};
use serde_json::Value;
use std::borrow::Cow;

/// The end of the type of Wasm filters.
pub(super) const WASM: &str = ".wasm.v3.Wasm";

/// A parsed document of a file.
pub(super) struct Document<'a> {
    file: &'a str,
    /// The place of the document in its file: empty for the only one.
    path: String,
    tree: Value,
}

/// A part of a document.
#[derive(Clone)]
pub(super) struct Part<'a> {
    file: &'a str,
    path: String,
    value: Cow<'a, Value>,
}

/// Every part of all files.
#[derive(Default)]
pub(super) struct Parts<'a> {
    /// HTTP connection managers.
    pub(super) managers: Vec<Part<'a>>,
    /// Routes with a match and a target.
    pub(super) routes: Vec<Part<'a>>,
    /// Virtual hosts with their domains.
    pub(super) virtual_hosts: Vec<Part<'a>>,
    /// Clusters whose engines a header selects.
    pub(super) engine_clusters: Vec<Part<'a>>,
    /// Wasm filters.
    pub(super) filters: Vec<Part<'a>>,
    /// The settings of the Berth filter.
    pub(super) settings: Vec<Part<'a>>,
    /// Bootstraps of Envoy, and patches of them.
    pub(super) bootstraps: Vec<Part<'a>>,
}

/// Parses the files. A file that is no YAML is a finding.
pub(super) fn parse<'a>(files: &'a [EdgeFile], findings: &mut Vec<Finding>) -> Vec<Document<'a>> {
    let mut documents = Vec::new();
    for file in files {
        match serde_saphyr::from_multiple::<Value>(&file.text) {
            Ok(trees) => {
                let several = trees.len() > 1;
                let trees = trees.into_iter().enumerate();
                documents.extend(trees.map(|(index, tree)| Document {
                    file: &file.name,
                    path: if several {
                        format!("[{index}]")
                    } else {
                        String::new()
                    },
                    tree,
                }));
            }
            Err(_) => findings.push(Finding {
                file: file.name.clone(),
                path: String::new(),
                message: "is no valid YAML".to_owned(),
            }),
        }
    }
    documents
}

impl<'a> Parts<'a> {
    pub(super) fn collect(documents: &'a [Document<'a>]) -> Self {
        let mut parts = Self::default();
        for document in documents {
            parts.visit(Part {
                file: document.file,
                path: document.path.clone(),
                value: Cow::Borrowed(&document.tree),
            });
        }
        parts
    }

    fn visit(&mut self, part: Part<'a>) {
        let kind = part.text("@type").unwrap_or_default();
        if kind.ends_with(".HttpConnectionManager") {
            self.managers.push(part.clone());
        }
        if kind.ends_with(WASM) {
            if let Some(settings) = part
                .get("config")
                .and_then(|config| config.get("configuration"))
            {
                self.settings
                    .extend(settings.get("value").and_then(Part::unpacked));
            }
            self.filters.push(part.clone());
        }
        if let Some(settings) = part.get("plugin_config") {
            self.settings.push(settings);
        }
        if part.get("domains").is_some() {
            self.virtual_hosts.push(part.clone());
        }
        if part.get("match").is_some()
            && part
                .get("route")
                .is_some_and(|route| route.value.is_object())
        {
            self.routes.push(part.clone());
        }
        let selection = part.at("original_dst_lb_config.use_http_header");
        if selection.is_some_and(|selection| selection.value() == &Value::Bool(true)) {
            self.engine_clusters.push(part.clone());
        }
        let patch = part.text("apply_to") == Some("BOOTSTRAP");
        if part.get("static_resources").is_some() {
            self.bootstraps.push(part.clone());
        } else if patch && let Some(value) = part.get("patch").and_then(|patch| patch.get("value"))
        {
            self.bootstraps.push(value);
        }
        for child in part.children() {
            self.visit(child);
        }
    }
}

impl<'a> Part<'a> {
    /// Whether this part is in another one.
    pub(super) fn is_in(&self, other: &Self) -> bool {
        let suffix = self.path.strip_prefix(&other.path);
        self.file == other.file && suffix.is_some_and(|suffix| suffix.starts_with('.'))
    }

    /// The field of that name; `name` is in snake case.
    pub(super) fn get(&self, name: &str) -> Option<Self> {
        let camel = camel_case(name);
        let found = [name, &camel].into_iter().find_map(|name| {
            let value = self.field(name)?;
            Some((name, value))
        });
        let (name, value) = found?;
        Some(self.child(&format!(".{name}"), value))
    }

    /// The field of exactly that name, which may contain dots.
    pub(super) fn get_exact(&self, name: &str) -> Option<Self> {
        let value = self.field(name)?;
        Some(self.child(&format!(".{name}"), value))
    }

    /// The part at a path of fields, such as `service.timeout`.
    pub(super) fn at(&self, path: &str) -> Option<Self> {
        let mut names = path.split('.');
        let first = self.get(names.next()?)?;
        names.try_fold(first, |part, name| part.get(name))
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let camel = camel_case(name);
        let value = self
            .value
            .get(name)
            .or_else(|| self.value.get(camel.as_str()));
        value?.as_str()
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        match &self.value {
            Cow::Borrowed(Value::Array(items)) => {
                let items = items.iter().enumerate();
                let part = |(index, item)| self.child(&format!("[{index}]"), Cow::Borrowed(item));
                items.map(part).collect()
            }
            Cow::Owned(Value::Array(items)) => {
                let items = items.iter().cloned().enumerate();
                let part = |(index, item)| self.child(&format!("[{index}]"), Cow::Owned(item));
                items.map(part).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn value(&self) -> &Value {
        &self.value
    }

    /// Whether the path of the part has this field.
    pub(super) fn is_below(&self, field: &str) -> bool {
        let camel = camel_case(field);
        self.path
            .split(['.', '['])
            .any(|name| name == field || name == camel)
    }

    /// A finding about this part.
    pub(super) fn report(&self, message: impl Into<String>, findings: &mut Vec<Finding>) {
        self.report_at("", message, findings);
    }

    /// A finding about the whole file of this part.
    pub(super) fn report_whole(&self, message: impl Into<String>, findings: &mut Vec<Finding>) {
        findings.push(Finding {
            file: self.file.to_owned(),
            path: String::new(),
            message: message.into(),
        });
    }

    /// A finding about a field of this part, which may be missing.
    pub(super) fn report_at(
        &self,
        field: &str,
        message: impl Into<String>,
        findings: &mut Vec<Finding>,
    ) {
        let dot = if field.is_empty() || self.path.is_empty() {
            ""
        } else {
            "."
        };
        findings.push(Finding {
            file: self.file.to_owned(),
            path: format!("{}{dot}{field}", self.path),
            message: message.into(),
        });
    }

    /// A value that is given as a text of JSON or YAML, as a tree.
    fn unpacked(self) -> Option<Self> {
        let Some(text) = self.value.as_str() else {
            return Some(self);
        };
        let tree: Value = serde_saphyr::from_str(text).ok()?;
        Some(Self {
            value: Cow::Owned(tree),
            ..self
        })
    }

    fn field(&self, name: &str) -> Option<Cow<'a, Value>> {
        match &self.value {
            Cow::Borrowed(value) => value.get(name).map(Cow::Borrowed),
            Cow::Owned(value) => value.get(name).cloned().map(Cow::Owned),
        }
    }

    fn children(&self) -> Vec<Self> {
        let Cow::Borrowed(Value::Object(fields)) = &self.value else {
            return self.items();
        };
        let fields = fields.iter();
        fields
            .map(|(name, value)| self.child(&format!(".{name}"), Cow::Borrowed(value)))
            .collect()
    }

    fn child(&self, step: &str, value: Cow<'a, Value>) -> Self {
        let path = format!("{}{step}", self.path);
        Self {
            file: self.file,
            path: path.trim_start_matches('.').to_owned(),
            value,
        }
    }
}

/// `apply_to` becomes `applyTo`.
fn camel_case(name: &str) -> String {
    let mut upper = false;
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                text.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => text.push(c),
        }
    }
    text
}
