//! The Rust SDK: workflows and tasks as async functions of this process.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use riverrun_worker::sdk::{Ctx, Result, TaskCtx, Worker};
//!
//! async fn order(ctx: Ctx, order: u64) -> Result<String> {
//!     let charge: String = ctx.step("charge", || async { Ok(format!("charge of {order}")) }).await?;
//!     ctx.sleep(Duration::from_hours(24)).await?;
//!     let address: String = ctx.signal("address").await?;
//!     ctx.call::<()>("ship", &(order, address)).await?;
//!     Ok(charge)
//! }
//!
//! async fn ship(_: TaskCtx, (order, address): (u64, String)) -> Result<()> {
//!     println!("order {order} goes to {address}");
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     let worker = Worker::builder("http://127.0.0.1:7733").workflow("order", order).task("ship", ship).build()?;
//!     Ok(worker.run_until_signal().await?)
//! }
//! ```
//!
//! `docs/guides/rust.md` is the guide. The code of a workflow is executed by [`machine`], which is pure: events of the run's journal in,
//! polls of the code's future, acts out. [`run`] joins one with the clock and the server, [`attempts`] holds those under way.

mod attempts;
mod client;
mod context;
mod core;
mod error;
mod history;
mod machine;
mod registry;
mod run;
mod step;
mod task;
#[cfg(test)]
mod tests;
mod ticket;
mod wait;
mod worker;

pub use client::{Client, ClientError, Handle, Starting};
pub use context::Ctx;
pub use error::{Error, Result};
pub use riverrun_kernel::driver::OnParentEnd;
pub use riverrun_kernel::{RunId, State};
pub use step::{Retry, Step, StepInfo};
pub use task::TaskCtx;
pub use tokio_util::sync::CancellationToken;
pub use wait::{Call, Run, Signal, Sleep, Start, Target};
pub use worker::{Builder, Worker};
