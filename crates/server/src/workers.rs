//! Workers, as they are shown.

use axum::Json as Answer;
use axum::extract::State;
use riverrun_kernel::WorkerView;
use riverrun_kernel::driver::ANY_ADDRESS;
use riverrun_wire::http::{WorkerItem, Workers};

use crate::app::Shared;
use crate::problem::Refused;

/// `GET /v1/workers`
pub(crate) async fn workers(State(app): State<Shared>) -> Result<Answer<Workers>, Refused> {
    let workers = app.engine.workers().await?;
    // The server's own caller of addresses is no news while it is told of no function.
    let is_plain = |worker: &&WorkerView| worker.spec.functions.iter().eq([ANY_ADDRESS]);
    let items = workers.iter().filter(|worker| !is_plain(worker)).map(item).collect();
    Ok(Answer(Workers { items }))
}

fn item(worker: &WorkerView) -> WorkerItem {
    WorkerItem {
        id: worker.id.0,
        name: worker.spec.name.to_string(),
        namespace: worker.spec.namespace.to_string(),
        queues: worker.spec.queues.iter().cloned().collect(),
        functions: worker.spec.functions.iter().cloned().collect(),
        slots: worker.spec.slots,
        attempts: worker.attempts.iter().map(ToString::to_string).collect(),
        draining: worker.draining,
        trouble: worker.trouble.as_deref().map(str::to_owned),
    }
}
