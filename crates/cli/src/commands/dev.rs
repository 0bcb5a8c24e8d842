//! `riverrun dev`: a folder served while somebody works on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::args::{Dev, Limits};
use crate::client::Client;
use crate::config;
use crate::data_dir;
use crate::error::CliError;
use crate::executor::Executor;
use crate::exit::Exit;
use crate::flow_file;
use crate::node::{Node, NodeError, Setup};
use crate::printer::{Printer, bold, dim, good};
use crate::signals;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// Folders that hold no code of the user's.
const SKIPPED: &[&str] = &["__pycache__", "node_modules", "target"];

/// When each file was last changed.
type Stamps = BTreeMap<PathBuf, SystemTime>;

/// Serves the folder until told to stop.
pub async fn dev(printer: &Printer, args: Dev) -> Result<Exit, CliError> {
    if !args.folder.is_dir() {
        return Err(CliError::usage(format!("{} is not a folder", args.folder.display()), "check the path"));
    }
    data_dir::create(&args.data)?;
    let setup = Setup {
        data: &args.data,
        listen: &args.listen,
        token: None,
        token_file: None,
        is_passing: false,
        allow_hosts: Vec::new(),
        config: config::read(args.node.config.as_deref())?,
        accept_unknown_tasks: false,
        node: args.node.clone(),
        limits: Limits::standard(),
    };
    let node = Node::start(setup).await.map_err(NodeError::into_cli)?;
    printer.note(&format!("serves {} at {}, and looks for changes", args.folder.display(), bold(node.url())));
    let mut bench = Bench {
        printer,
        client: Client::new(node.url(), None, "default")?,
        functions: args.functions.clone().unwrap_or_else(|| args.folder.join("functions")),
        args: &args,
        flows: Stamps::new(),
        code: Stamps::new(),
        executor: None,
    };
    let done = tokio::select! {
        error = bench.work() => Err(error),
        () = signals::end_requested() => Ok(Exit::Ok),
        error = node.broken() => return Err(error),
    };
    if let Some(executor) = bench.executor.take() {
        executor.stop().await;
    }
    node.stop().await;
    done
}

/// What is served, as of the last look.
struct Bench<'a> {
    printer: &'a Printer,
    client: Client,
    functions: PathBuf,
    args: &'a Dev,
    flows: Stamps,
    code: Stamps,
    executor: Option<Executor>,
}

impl Bench<'_> {
    /// Looks, again and again. Mistakes are shown and waited for; they end nothing.
    async fn work(&mut self) -> CliError {
        loop {
            self.serve_functions().await;
            self.deploy_flows().await;
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn deploy_flows(&mut self) {
        let found = stamps(&self.args.folder, &["yaml", "yml"], Some(&self.functions));
        let changed: Vec<_> = found.iter().filter(|(file, at)| self.flows.get(*file) != Some(at)).collect();
        for (file, _) in changed {
            if !is_flow(file) {
                continue;
            }
            if let Err(error) = self.deploy(file).await {
                self.printer.error(&error);
            }
        }
        self.flows = found;
    }

    async fn deploy(&self, file: &Path) -> Result<(), CliError> {
        let flow = flow_file::load(self.printer, file)?;
        let name = flow_file::default_name(file);
        let deployed = self.client.deploy(&name, &flow.source).await?;
        if deployed.created {
            let version = dim(&format!("version {}", deployed.definition.version));
            self.printer.note(&format!("{} {name} {version}", good("deployed")));
        }
        Ok(())
    }

    async fn serve_functions(&mut self) {
        let found = stamps(&self.functions, &["py"], None);
        if found == self.code {
            return;
        }
        if let Some(executor) = self.executor.take() {
            executor.stop().await;
        }
        self.code = found;
        if self.code.is_empty() {
            return;
        }
        let Dev { code, data, .. } = self.args;
        match Executor::start(self.printer, &self.client, code, &self.functions, Some(data), true, false)
            .await
        {
            Ok(executor) => {
                let names: Vec<_> = executor.functions().into_iter().collect();
                self.printer.note(&format!("{} {}", good("serving"), names.join(", ")));
                self.executor = Some(executor);
            }
            Err(error) => self.printer.error(&error),
        }
    }
}

/// Files of some kinds below a folder, without another folder.
fn stamps(folder: &Path, ends: &[&str], without: Option<&Path>) -> Stamps {
    let mut found = Stamps::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        let hidden =
            name.to_string_lossy().starts_with('.') || SKIPPED.iter().any(|skipped| name == *skipped);
        if hidden || without == Some(path.as_path()) {
            continue;
        }
        let Ok(about) = entry.metadata() else {
            continue;
        };
        if about.is_dir() {
            found.extend(stamps(&path, ends, without));
        } else if path.extension().and_then(|end| end.to_str()).is_some_and(|end| ends.contains(&end)) {
            found.insert(path, about.modified().unwrap_or(SystemTime::UNIX_EPOCH));
        }
    }
    found
}

/// Whether a YAML file says that it is a flow: other files may lie in the folder.
fn is_flow(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| {
        line.split_once(':').is_some_and(|(key, value)| {
            key.trim_matches(['"', '\'']) == "type" && value.trim().trim_matches(['"', '\'']) == "flow"
        })
    })
}
