//! The HTTP interface of a node: the API under `/v1`, the worker socket, health and metrics.
//!
//! Handlers extract, make one call to the engine, and map its answer. What a request may do is decided in one place (the `guard` module), what a path
//! takes and gives stands in one table (the `routes` module), from which the OpenAPI document is made. Nothing here decides about runs. Main function: [`serve`].

mod app;
mod baichuan;
mod callbacks;
mod calls;
mod config;
mod definitions;
mod error_pages;
mod events;
mod extract;
mod fnf;
mod graph;
mod guard;
mod history;
mod journal;
mod keys;
mod logbook;
mod metrics;
mod openapi;
mod options;
mod pages;
mod paging;
mod problem;
mod queue_metrics;
mod queues;
mod read_once;
mod room;
mod routes;
mod runs;
mod schedules;
mod serve;
mod socket;
mod stall;
mod start;
mod store;
mod workers;

pub use config::{
    AccessKey, Address, CallConfig, CallbackConfig, CallbackSecret, FnfConfig, INSTANCE_HEADER, Limits,
    MetricSource, ServeError, ServerConfig, is_strong_token,
};
pub use openapi::document as openapi_document;
pub use serve::serve;
