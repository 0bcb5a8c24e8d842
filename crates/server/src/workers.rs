//! Workers and queues, as they are shown.

use axum::Json as Answer;
use axum::extract::State;
use riverrun_kernel::driver::ANY_ADDRESS;
use riverrun_kernel::{QueueDepth, WorkerView};
use riverrun_wire::http::{QueueView, Queues, WorkerItem, Workers};

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

/// `GET /v1/queues`
pub(crate) async fn queues(State(app): State<Shared>) -> Result<Answer<Queues>, Refused> {
    let workers = app.engine.workers().await?;
    let depths = app.engine.queue_depths().await?;
    let items = depths
        .into_iter()
        .map(|QueueDepth { namespace, queue, function, waiting }| {
            let takes =
                |worker: &&WorkerView| !worker.draining && worker.spec.serves(&namespace, &queue, &function);
            let serving = workers.iter().filter(takes).count();
            QueueView {
                namespace: namespace.to_string(),
                queue: queue.to_string(),
                function: function.to_string(),
                waiting,
                workers: serving,
                unserved: serving == 0,
            }
        })
        .collect();
    Ok(Answer(Queues { items }))
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
    }
}
