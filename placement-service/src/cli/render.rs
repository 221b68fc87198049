//! `berth render`: writes the files of the edge from the configuration, or compares them with those on disk.

use super::{ConfigFile, Failure, print};
use berth_placement::config::load;
use berth_placement::render::{self, RenderError, RenderedFile, Source, Target, difference};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(crate) struct RenderArgs {
    /// For what
    target: Target,
    #[command(flatten)]
    config: ConfigFile,
    /// The folder of the files; without it, they are printed.
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Write nothing; fail with the differences if the files of the folder are not what would be written.
    #[arg(long, requires = "output")]
    check: bool,
}

pub(super) fn run(args: &RenderArgs) -> Result<(), Failure> {
    let path = args.config.display_path();
    let text = args.config.read()?;
    let loaded = load::from_text(&text).map_err(|faults| Failure::from_faults(path, &faults))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let read = |file: &Path| std::fs::read_to_string(file);
    let source = Source {
        name: &name.to_string_lossy(),
        text: &text,
    };
    let files =
        render::render(args.target, &loaded.config, source, &read).map_err(
            |error| match error {
                RenderError::Config(faults) => Failure::from_faults(path, &faults),
                RenderError::Template { .. } => Failure::from(error),
            },
        )?;
    match &args.output {
        None => print(&concatenate(&files)),
        Some(folder) if args.check => compare(&files, folder),
        Some(folder) => files.iter().try_for_each(|file| write(file, folder)),
    }
}

/// One file as it is; several as YAML documents, each with its name.
fn concatenate(files: &[RenderedFile]) -> String {
    if let [file] = files {
        return file.text.trim_end().to_owned();
    }
    let documents = files
        .iter()
        .map(|file| format!("# file: {}\n{}", file.name, file.text));
    let documents: Vec<String> = documents.collect();
    documents.join("---\n").trim_end().to_owned()
}

/// Replaces the file in one step, so that an Envoy that watches it never reads half of it. Leaves an equal file alone.
fn write(file: &RenderedFile, folder: &Path) -> Result<(), Failure> {
    let path = folder.join(file.name);
    let failure = |error| Failure(format!("{}: {error}", path.display()));
    if std::fs::read_to_string(&path).is_ok_and(|text| text == file.text) {
        return print(&format!("{}: unchanged", path.display()));
    }
    let new = folder.join(format!("{}.new", file.name));
    std::fs::create_dir_all(path.parent().unwrap_or(folder))
        .and_then(|()| std::fs::write(&new, &file.text))
        .and_then(|()| std::fs::rename(&new, &path))
        .map_err(failure)?;
    print(&format!("{}: written", path.display()))
}

fn compare(files: &[RenderedFile], folder: &Path) -> Result<(), Failure> {
    let mut differences = Vec::new();
    for file in files {
        let path = folder.join(file.name);
        match std::fs::read_to_string(&path) {
            Ok(text) => differences.extend(
                difference::describe(&text, &file.text)
                    .map(|lines| format!("{}: differs\n{lines}", path.display())),
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                differences.push(format!("{}: is missing", path.display()));
            }
            Err(error) => differences.push(format!("{}: {error}", path.display())),
        }
    }
    if differences.is_empty() {
        return print("ok");
    }
    Err(Failure(differences.join("\n")))
}
